// The field in which one writes, with its files, actions and buttons.

import { find } from "../base/dom.js";
import { Actions } from "./actions.js";
import { split, withFiles } from "./attachments.js";
import { Files } from "./files.js";

const SIZES_ITSELF = CSS.supports("field-sizing", "content");

export class Composer {
  /** `onSend({message, edit})`, `onAct({message, action})`, `onStop()`, `onEditLast()`. The first two may refuse: then
   * what was written stays. */
  constructor({ onSend, onAct, onStop, onEditLast }) {
    Object.assign(this, { onSend, onAct, onStop, onEditLast });
    this.form = find("#composer");
    this.field = find("#question");
    this.sendButton = find("#send");
    this.stopButton = find("#stop");
    this.edited = null; // the message that is being changed
    this.isBusy = false;
    this.drafts = new Map();
    this.actions = new Actions((name, file) => this.act(name, file));
    this.files = new Files(() => this.changed());
    if (SIZES_ITSELF) this.field.style.setProperty("field-sizing", "content");
    this.listen();
  }

  listen() {
    this.form.addEventListener("submit", (event) => (event.preventDefault(), this.send()));
    this.field.addEventListener("input", () => this.changed());
    this.field.addEventListener("keydown", (event) => this.press(event));
    this.field.addEventListener("paste", (event) => this.paste(event));
    this.stopButton.addEventListener("click", () => this.onStop());
    find("#editing button").addEventListener("click", () => this.leaveEditing());
  }

  get text() {
    return this.field.value.trim();
  }

  get isEmpty() {
    return !this.text && !this.files.list.length;
  }

  set text(value) {
    this.field.value = value;
    this.changed();
  }

  changed() {
    this.actions.offer(this.edited ? null : (this.files.list.at(-1) ?? null));
    this.sendButton.disabled = this.isBusy || this.isEmpty;
    if (SIZES_ITSELF) return;
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  /** While an answer is made there is a stop button in place of the other. */
  setBusy(isBusy, mayStop) {
    const hadFocus = document.activeElement === this.sendButton || document.activeElement === this.stopButton;
    this.isBusy = isBusy;
    this.form.classList.toggle("busy", isBusy);
    this.stopButton.hidden = !mayStop;
    this.sendButton.hidden = mayStop;
    this.changed();
    if (hadFocus) this.field.focus();
  }

  press(event) {
    if (event.isComposing || event.keyCode === 229) return; // an input method's Enter chooses a word
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!this.sendButton.disabled) this.send();
    } else if (event.key === "ArrowUp" && this.isEmpty && !this.edited) {
      event.preventDefault();
      this.onEditLast();
    }
  }

  paste(event) {
    const { files } = event.clipboardData;
    if (files.length) {
      event.preventDefault();
      this.files.add([...files]);
    } else if (this.files.addPasted(event.clipboardData.getData("text/plain"))) event.preventDefault();
  }

  async send() {
    if (this.isEmpty || this.isBusy) return;
    const { edited } = this;
    await this.hand(() => this.onSend({ message: withFiles(this.text, this.files.list), edit: edited?.id }));
  }

  async act(name, file) {
    if (this.isBusy) return;
    await this.hand(() => this.onAct(name, file, this.text));
  }

  /** What was written goes at once, and comes back where it could not be sent. */
  async hand(send) {
    const kept = { value: this.field.value, files: this.files.list, edited: this.edited };
    const sent = send();
    this.edit(null);
    this.clear();
    if (await sent) return;
    this.field.value = kept.value;
    this.files.set(kept.files);
    this.edit(kept.edited);
  }

  clear() {
    this.files.set([]);
    this.text = "";
  }

  /** Takes an earlier message into the field, to be sent in place of itself. */
  edit(message) {
    this.edited?.element.classList.remove("edited");
    this.edited = message;
    find("#editing").hidden = !message;
    message?.element.classList.add("edited");
    this.changed();
  }

  beginEditing(message) {
    const { message: text, files } = split(message.content);
    this.files.set(files);
    this.edit(message);
    this.text = text;
    this.focus();
  }

  leaveEditing() {
    if (!this.edited) return false;
    this.edit(null);
    this.clear();
    this.focus();
    return true;
  }

  focus() {
    this.field.focus();
    this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }

  /** What is being written belongs to its chat. */
  switchTo(from, to) {
    if (from === to) return;
    if (this.edited) this.leaveEditing();
    this.drafts.set(from, { text: this.field.value, files: this.files.list });
    const draft = this.drafts.get(to) ?? { text: "", files: [] };
    this.files.set(draft.files);
    this.text = draft.text;
  }
}
