// What answers are drawn from: collections, chosen in the settings, told and dropped at the composer.

import { api } from "../base/api.js";
import { find, findAll, h, icon } from "../base/dom.js";
import { announce } from "../base/notices.js";
import { language, onLanguage, t } from "../base/texts.js";

const MOST = 10; // of one chat, as the server has it

let known = null; // those that can be searched, by name; null until the server has told
const titles = new Map(); // also of those that are gone meanwhile

/** The title of a collection; its name where the server has never told one. */
export const collectionTitle = (name) => titles.get(name) ?? name;

export class Collections {
  /** `onChosen(names)`: others were chosen, in the settings. `onDropped()`: answers shall be drawn from none.
   * `onKnown()`: the server has told which ones there are. */
  constructor({ onChosen, onDropped, onKnown }) {
    Object.assign(this, { onChosen, onDropped, onKnown });
    this.names = []; // that are chosen
    this.told = ""; // what the list was made of
    this.field = find("#collections");
    this.list = find("ul", this.field);
    this.chip = find("#drawn");
    this.opener = find("#drawn-open");
    this.dropper = find("#drawn-drop");
    this.field.addEventListener("change", () => this.take());
    this.dropper.addEventListener("click", () => this.drop());
    onLanguage(() => this.show());
  }

  /** Asks which ones there are. Where that fails, what was known stays. */
  async load() {
    try {
      const { data } = await api("GET", "/api/v1/collections");
      known = new Map(data.filter((one) => one.searchable).map((one) => [one.name, one]));
      for (const { name, title } of data) titles.set(name, title);
    } catch {
      return; // the page works without them
    }
    this.show();
    this.onKnown();
  }

  /** Those that are chosen and can't be searched any more. */
  get lost() {
    return known ? this.names.filter((name) => !known.has(name)) : [];
  }

  choose(names) {
    this.names = names;
    this.show();
  }

  take() {
    this.names = findAll("input:checked", this.list).map((input) => input.value);
    this.showChosen();
    this.onChosen(this.names);
  }

  drop() {
    this.choose([]);
    this.onDropped();
    find("#question").focus();
    announce(t("chat.drawn_dropped"));
  }

  /** Where the choice begins. */
  focus() {
    (find("input:checked", this.list) ?? find("input", this.list))?.focus();
  }

  show() {
    const offered = [...(known?.keys() ?? []), ...this.lost];
    const shown = known ? offered : this.names;
    this.field.hidden = !shown.length;
    const told = JSON.stringify([language(), ...shown.map((name) => [name, collectionTitle(name), this.remark(name)])]);
    if (told !== this.told) this.showList(shown);
    this.told = told;
    this.showChosen();
  }

  /** Only where there are others: a finger may be on it. */
  showList(names) {
    const focused = document.activeElement?.closest?.("#collections input")?.value;
    this.list.replaceChildren(...names.map((name) => this.entry(name)));
    if (focused !== undefined) find(`input[value="${CSS.escape(focused)}"]`, this.list)?.focus();
  }

  remark(name) {
    return this.lost.includes(name) ? t("chat.collection_away") : known?.get(name)?.repository;
  }

  entry(name) {
    const remark = this.remark(name);
    const input = h("input", { type: "checkbox", name: "collection", value: name });
    const words = h("span", {}, h("b", {}, collectionTitle(name)), remark && h("small", {}, remark));
    return h(this.lost.includes(name) ? "li.lost" : "li", {}, h("label", {}, input, words));
  }

  /** What depends on the choice alone. */
  showChosen() {
    const isFull = this.names.length >= MOST;
    for (const input of findAll("input", this.list)) {
      input.checked = this.names.includes(input.value);
      input.disabled = isFull && !input.checked;
    }
    this.chip.hidden = !this.names.length && !known?.size;
    this.chip.classList.toggle("set", this.names.length > 0);
    this.chip.classList.toggle("lost", this.lost.length > 0);
    this.dropper.hidden = !this.names.length;
    const shown = this.names.map(collectionTitle);
    const label = shown.length ? t("chat.drawn_from", { names: shown.join(", ") }) : t("chat.collections_choose");
    this.opener.title = label;
    this.opener.setAttribute("aria-label", label);
    const more = shown.length > 1 ? ` +${shown.length - 1}` : "";
    const drawing = icon(this.lost.length ? "alert" : "book");
    this.opener.replaceChildren(drawing, h("span", {}, shown[0] ?? t("chat.collections_short")), more && h("small", {}, more));
  }
}
