// An answer on the page, while it grows and when it is whole. What is settled is never made anew.

import { api } from "../base/api.js";
import { copy } from "../base/clipboard.js";
import { findAll, h, icon, iconButton } from "../base/dom.js";
import { t } from "../base/texts.js";
import { diffView } from "./diff.js";
import { rendered } from "./rendered.js";
import { Sources } from "./sources.js";
import { Tail } from "./tail.js";

const LONG = 20_000; // characters

export class Answer {
  /** `onGrown()`: after something new is to be seen. `onAgain()`: the person wants another answer. */
  constructor({ id, model }, { onGrown, onAgain }) {
    this.role = "assistant";
    this.id = id;
    this.onGrown = onGrown;
    this.onAgain = onAgain;
    this.status = "generating";
    this.content = "";
    this.error = "";
    this.parts = []; // settled, and not on the page yet
    this.html = ""; // settled, all of it
    this.end = 0; // so many characters of the content are settled
    this.frame = 0;
    this.tail = new Tail();
    this.settled = h("div.settled");
    this.waiting = h("div.waiting", { "aria-hidden": "true" }, h("i"), h("i"), h("i"));
    this.text = h("div.text", {}, this.settled, this.waiting, this.tail.element);
    this.model = h("small", {}, model ?? "");
    this.name = h("span");
    this.sources = new Sources();
    this.after = h("div");
    this.element = h("article.message.assistant.generating", {}, h("header", {}, icon("mark"), this.name, this.model), this.text, this.sources.element, this.after);
    this.element.querySelector("svg").classList.add("mark");
    this.showAfter();
  }

  /** How far it is here, for a socket that goes on from there. */
  get place() {
    return { id: this.id, characters: this.content.length, settled: this.end };
  }

  /** A piece as the socket sends it. False where characters before it are missing. */
  add({ message = "", offset = this.content.length, settled }) {
    if (offset > this.content.length) return false;
    this.content += message.slice(this.content.length - offset);
    if (settled && settled.end > this.end) {
      this.parts.push(settled.html);
      this.html += settled.html;
      this.end = settled.end;
    }
    this.frame ||= requestAnimationFrame(() => this.paint());
    return true;
  }

  /** What is known of it from elsewhere than the socket, where that is more. */
  catchUp(content) {
    if (content.length > this.content.length) this.add({ message: content, offset: 0 });
  }

  /** What was found for the question; undefined where nothing is told of it. */
  restOn(sources) {
    if (sources === undefined) return;
    this.sources.set(sources);
    this.onGrown();
  }

  paint() {
    this.frame = 0;
    if (this.parts.length) this.settled.append(...this.parts.map(rendered));
    this.parts = [];
    if (this.end < this.content.length) this.tail.show(this.content, this.end);
    else this.tail.clear();
    this.waiting.hidden = Boolean(this.content);
    this.onGrown();
  }

  /** It has come to its end: as history or the socket tell it. */
  finish({ status, content, html, error, model, finish_reason: reason, completion_tokens: tokens, diff, ...told }) {
    cancelAnimationFrame(this.frame);
    const complaint = told.complaint ?? told.action?.complaint ?? ""; // the socket's word, or history's: why no diff
    Object.assign(this, { status, content, reason, tokens, diff, complaint, error: error ?? "" });
    if (model) this.model.textContent = model;
    this.restOn(told.sources);
    this.element.classList.remove("generating");
    this.waiting.remove();
    this.complete(html);
    this.showAfter();
    this.onGrown();
  }

  /** The last of the HTML. What is settled already is made anew only where it would look otherwise (a link that was
   * defined later), and is not so long that a reader would wait for it. */
  complete(html) {
    this.paint();
    if (html === undefined || html === null) return;
    if (html.startsWith(this.html)) this.settled.append(rendered(html.slice(this.html.length)));
    else if (this.content.length < LONG) this.settled.replaceChildren(rendered(html));
    else return this.completeRest();
    this.tail.clear();
  }

  async completeRest() {
    try {
      const { html } = await api("POST", "/api/v1/render", { markdown: this.content.slice(this.end) });
      this.settled.append(rendered(html));
      this.tail.clear();
    } catch {
      // the rest stays plain text
    }
  }

  showAfter() {
    this.element.setAttribute("aria-label", t("chat.assistant"));
    this.name.textContent = t("chat.assistant");
    if (this.status === "generating") return;
    this.after.replaceChildren(
      ...[this.diff && diffView(this.diff), this.fault(), this.tools()].filter(Boolean),
    );
  }

  fault() {
    const text = {
      error: this.error || t("chat.answer_failed"),
      stopped: t("chat.stopped"),
      done: this.complaint || (this.reason === "length" ? t("chat.cut_by_length") : ""),
    }[this.status];
    if (!text && !this.error) return null;
    const mild = this.status !== "error";
    return h(mild ? "div.fault.mild" : "div.fault", { role: mild ? null : "alert" }, icon("alert"), h("span", {}, text || this.error));
  }

  tools() {
    const copyButton = iconButton("copy", t("chat.copy_answer"), () => copy(this.content, copyButton));
    const again = iconButton("again", t("chat.regenerate"), () => this.onAgain(this));
    again.classList.add("again");
    for (const button of [copyButton, again]) button.classList.add("small");
    const facts = this.tokens ? h("span.facts", {}, t("chat.tokens", { count: this.tokens })) : null;
    return h("div.tools", {}, this.content && copyButton, again, facts);
  }

  translate() {
    this.showAfter();
    this.sources.show();
    for (const button of findAll("[data-label]", this.settled)) {
      button.title = t(button.dataset.label);
      button.setAttribute("aria-label", button.title);
    }
  }
}
