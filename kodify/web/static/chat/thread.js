// The messages on the page, in order; and what stands there when there are none.

import { find } from "../base/dom.js";
import { onLanguage } from "../base/texts.js";
import { Answer } from "./answer.js";
import { Follow } from "./follow.js";
import { UserMessage } from "./user_message.js";

export class Thread {
  /** `onEdit(userMessage)`, `onAgain(answer)`: what a person wants of a message. */
  constructor({ onEdit, onAgain }) {
    this.place = find("#thread");
    this.follow = new Follow();
    this.actions = { onEdit, onAgain, onGrown: () => this.follow.keep() };
    this.messages = [];
    onLanguage(() => this.translate());
  }

  translate() {
    for (const message of this.messages) message.translate();
  }

  get last() {
    return this.messages.at(-1) ?? null;
  }

  /** Which of the three is to be seen: "messages", "empty" or "gone". */
  display(what) {
    find("#empty").hidden = what !== "empty";
    find("#gone").hidden = what !== "gone";
    this.place.hidden = what !== "messages";
  }

  clear(what) {
    this.messages = [];
    this.place.replaceChildren();
    this.display(what);
    this.follow.toEnd();
  }

  find(id) {
    return this.messages.find((message) => message.id === id) ?? null;
  }

  addUser(message) {
    return this.append(new UserMessage(message, this.actions));
  }

  addAnswer(answer) {
    return this.append(new Answer(answer, this.actions));
  }

  append(message) {
    this.display("messages");
    this.messages.push(message);
    this.place.append(message.element);
    if (message.role === "user") this.follow.toEnd();
    else this.follow.keep();
    return message;
  }

  /** The message and all after it go. */
  dropFrom(id) {
    const at = this.messages.findIndex((message) => message.id === id);
    if (at < 0) return;
    for (const message of this.messages.splice(at)) message.element.remove();
  }

  /** What the server knows: messages that are here already stay the elements that they are. */
  reconcile(history) {
    const kept = new Map(this.messages.map((message) => [message.id, message]));
    this.messages = history.map((told) => {
      const here = kept.get(told.id);
      kept.delete(told.id);
      return here ? this.refresh(here, told) : this.make(told);
    });
    for (const message of kept.values()) message.element.remove();
    for (const [at, { element }] of this.messages.entries()) {
      if (this.place.children[at] !== element) this.place.insertBefore(element, this.place.children[at] ?? null);
    }
    this.display(this.messages.length ? "messages" : "empty");
    this.follow.keep();
  }

  make(told) {
    if (told.role === "user") return new UserMessage(told, this.actions);
    return this.refresh(new Answer(told, this.actions), told);
  }

  refresh(message, told) {
    if (message.role === "assistant") message.restOn(told.sources);
    if (message.role === "user") {
      if (message.content !== told.content) message.set(told);
    } else if (told.status === "generating") message.catchUp(told.content);
    else if (message.status === "generating") message.finish(told);
    return message;
  }
}
