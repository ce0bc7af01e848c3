// How answers are made: the model, the reader's level, the system prompt, the sampling, what they are drawn from. Kept for
// the next chats.

import { api } from "../base/api.js";
import { find, findAll, h } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { language, onLanguage, t } from "../base/texts.js";
import { Collections, collectionTitle } from "./collections.js";

const KEPT = "kodify.settings";
const DIALS = { temperature: 1, top_p: 1 }; // where a dial stands while the model's default holds
const NAMES = ["model", "level", "system", "temperature", "top_p", "max_tokens", "retrieval"];

export class Settings {
  /** `onChanged(settings)`: the person has chosen otherwise. `onKnown()`: it is known which collections there are. */
  constructor({ onChanged, onKnown }) {
    Object.assign(this, { onChanged, onKnown });
    this.dialog = find("#settings");
    this.model = find("#model");
    this.level = find("#level");
    this.chosen = kept();
    this.isForNew = false; // of a chat that has not begun
    this.collections = new Collections({
      onChosen: (names) => this.drawFrom(names),
      onDropped: () => (this.drawFrom([]), this.tell()),
      onKnown: () => (this.forget(), this.onKnown()),
    });
    find("#settings-open").addEventListener("click", () => this.open());
    find("#drawn-open").addEventListener("click", () => (this.open(), this.collections.focus()));
    find("#settings-reset").addEventListener("click", () => this.reset());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("input", (event) => this.take(event.target));
    this.dialog.addEventListener("close", () => this.tell());
    for (const select of [this.model, this.level]) select.addEventListener("change", () => (this.take(select), this.tell()));
    onLanguage(() => this.show());
    this.show();
  }

  open() {
    this.dialog.showModal();
    this.collections.load(); // there may be others by now
  }

  /** The models that can chat. Raises ApiError. */
  async load() {
    this.collections.load();
    const { data } = await api("GET", "/v1/models");
    const names = data.filter((model) => model.task === "generate").map((model) => model.id);
    if (!names.includes(this.chosen.model)) this.chosen.model = null;
    this.model.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    this.model.parentElement.hidden = names.length === 0;
    this.show();
  }

  /** What a chat is made with; what is null is the model's or the server's own. */
  get value() {
    return { ...this.chosen, model: this.chosen.model ?? (this.model.value || null) };
  }

  /** Those of a chat that is opened. */
  adopt(settings) {
    this.isForNew = false;
    this.chosen = Object.fromEntries(NAMES.map((name) => [name, settings?.[name] ?? null]));
    this.show();
  }

  forNewChat() {
    this.adopt(kept());
    this.isForNew = true;
    this.forget();
  }

  /** The chat that these are for has begun. */
  begin() {
    this.isForNew = false;
  }

  /** A chat that begins does not begin with what is gone. */
  forget() {
    const { lost } = this.collections;
    if (!this.isForNew || !lost.length) return;
    this.drawWithout(lost);
    this.keep();
    notify(t("chat.collections_lost", { names: lost.map(collectionTitle).join(", ") }));
  }

  drawFrom(names) {
    const { retrieval } = this.chosen;
    this.chosen.retrieval = names.length ? { ...retrieval, collection: names } : null;
  }

  drawWithout(names) {
    this.drawFrom(this.collections.names.filter((name) => !names.includes(name)));
    this.show();
  }

  take(field) {
    const name = field.name || field.id;
    if (!NAMES.includes(name)) return;
    const text = field.value.trim();
    const isNumber = name in DIALS || name === "max_tokens";
    if (isNumber && field.validity && !field.validity.valid) return;
    this.chosen[name] = text === "" ? null : isNumber ? Number(text) : text;
    this.showDials();
  }

  tell() {
    this.keep();
    return this.onChanged(this.value);
  }

  /** For the next chats. */
  keep() {
    localStorage.setItem(KEPT, JSON.stringify(this.chosen));
  }

  reset() {
    for (const name of ["system", ...Object.keys(DIALS), "max_tokens", "retrieval"]) this.chosen[name] = null;
    this.show();
  }

  show() {
    const { model, level, system, max_tokens: most, retrieval } = this.chosen;
    this.collections.choose([retrieval?.collection ?? []].flat());
    if (model && ![...this.model.options].some((option) => option.value === model)) {
      this.model.append(h("option", { value: model }, model)); // a chat's own, which is served no more
    }
    if (model) this.model.value = model;
    this.level.value = level ?? "";
    find("#system").value = system ?? "";
    find("#max_tokens").value = most ?? "";
    for (const [name, middle] of Object.entries(DIALS)) find(`#${name}`).value = this.chosen[name] ?? middle;
    this.showDials();
    find("#settings-open").classList.toggle("set", ["system", "temperature", "top_p", "max_tokens"].some((name) => this.chosen[name] !== null));
  }

  showDials() {
    const format = new Intl.NumberFormat(language(), { minimumFractionDigits: 2 });
    for (const output of findAll("output", this.dialog)) {
      const value = this.chosen[output.htmlFor.value];
      output.parentElement.classList.toggle("unset", value === null);
      output.textContent = value === null ? t("chat.default") : format.format(value);
    }
  }
}

function kept() {
  let found = {};
  try {
    found = JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    // somebody else wrote it
  }
  return Object.fromEntries(NAMES.map((name) => [name, found[name] ?? null]));
}
