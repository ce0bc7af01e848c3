// What the user said, on the page: the text and its files.

import { copy } from "../base/clipboard.js";
import { h, iconButton } from "../base/dom.js";
import { t } from "../base/texts.js";
import { fileView, split } from "./attachments.js";

export class UserMessage {
  /** `onEdit(message)`: the person wants to change it. */
  constructor(message, { onEdit }) {
    this.role = "user";
    this.onEdit = onEdit;
    this.element = h("article.message.user");
    this.set(message);
  }

  set(message) {
    this.id = message.id;
    this.content = message.content;
    this.action = message.action ?? null;
    this.show();
  }

  show() {
    const { message, files } = split(this.content);
    this.element.setAttribute("aria-label", t("chat.you"));
    this.element.replaceChildren(
      h("div.attached", { hidden: !files.length }, ...files.map(fileView)),
      h("div.said", {}, message),
      this.tools(),
    );
  }

  tools() {
    const copyButton = iconButton("copy", t("chat.copy_message"), () => copy(this.content, copyButton));
    const edit = iconButton("edit", t("chat.edit"), () => this.onEdit(this));
    const buttons = this.action ? [copyButton] : [copyButton, edit];
    for (const button of buttons) button.classList.add("small");
    return h("div.tools", {}, ...buttons);
  }

  translate() {
    this.show();
  }
}
