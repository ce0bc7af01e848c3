// How answers are made: the model, the reader's level, the system prompt and the sampling. Kept for the next chats.

import { api } from "../base/api.js";
import { find, findAll, h } from "../base/dom.js";
import { language, onLanguage, t } from "../base/texts.js";

const KEPT = "kodify.settings";
const DIALS = { temperature: 1, top_p: 1 }; // where a dial stands while the model's default holds
const NAMES = ["model", "level", "system", "temperature", "top_p", "max_tokens"];

export class Settings {
  /** `onChanged(settings)`: the person has chosen otherwise. */
  constructor(onChanged) {
    this.onChanged = onChanged;
    this.dialog = find("#settings");
    this.model = find("#model");
    this.level = find("#level");
    this.chosen = kept();
    find("#settings-open").addEventListener("click", () => this.dialog.showModal());
    find("#settings-reset").addEventListener("click", () => this.reset());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("input", (event) => this.take(event.target));
    this.dialog.addEventListener("close", () => this.tell());
    for (const select of [this.model, this.level]) select.addEventListener("change", () => (this.take(select), this.tell()));
    onLanguage(() => this.show());
    this.show();
  }

  /** The models that can chat. Raises ApiError. */
  async load() {
    const { data } = await api("GET", "/v1/models");
    const names = data.map((model) => model.id);
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
    this.chosen = Object.fromEntries(NAMES.map((name) => [name, settings?.[name] ?? null]));
    this.show();
  }

  forNewChat() {
    this.adopt(kept());
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
    localStorage.setItem(KEPT, JSON.stringify(this.chosen));
    this.onChanged(this.value);
  }

  reset() {
    for (const name of ["system", ...Object.keys(DIALS), "max_tokens"]) this.chosen[name] = null;
    this.show();
  }

  show() {
    const { model, level, system, max_tokens: most } = this.chosen;
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
