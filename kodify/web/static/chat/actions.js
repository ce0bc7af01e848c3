// What can be done with an attached file at one press.

import { api } from "../base/api.js";
import { find, h } from "../base/dom.js";
import { language, onLanguage, t } from "../base/texts.js";

const CHANGES = /\.(diff|patch)$/i;
const FOR_CHANGES = new Set(["commit-message", "review", "explain"]);

let known = [];

/** An action's title in the reader's language; its name where the server has it no more. */
export function actionTitle(name) {
  const action = known.find((each) => each.name === name);
  return action ? inLanguage(action.title) : name;
}

const inLanguage = (texts) => texts[language()] ?? texts.en;

export class Actions {
  /** `onAct(name, file)`: the person wants that of the file. */
  constructor(onAct) {
    this.onAct = onAct;
    this.place = find("#actions");
    this.file = null;
    onLanguage(() => this.show());
  }

  async load() {
    try {
      known = (await api("GET", "/v1/actions")).data;
    } catch {
      known = []; // the page works without them
    }
    this.show();
  }

  /** The file that the buttons are for; null where there is none. */
  offer(file) {
    this.file = file;
    this.show();
  }

  show() {
    const fitting = this.file ? known.filter(({ name }) => fits(name, this.file.path)) : [];
    this.place.hidden = !fitting.length;
    if (!fitting.length) return this.place.replaceChildren();
    const label = t("chat.actions_on", { name: this.file.path });
    this.place.setAttribute("aria-label", label);
    this.place.replaceChildren(h("span", {}, label), ...fitting.map((action) => this.button(action)));
  }

  button({ name, title, description }) {
    const onclick = () => this.onAct(name, this.file);
    return h("button.small", { type: "button", title: inLanguage(description), data: { action: name }, onclick }, inLanguage(title));
  }
}

/** A message for a commit is made of changes, and of changes no unit tests. */
function fits(name, path) {
  return CHANGES.test(path) ? FOR_CHANGES.has(name) : name !== "commit-message";
}
