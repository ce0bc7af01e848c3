// The end of an answer that is still being written: plain text, in pieces that the browser lays out once.

import { h } from "../base/dom.js";

const PIECE = 1500; // characters, about; a longer one would be laid out again with every token
const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*(\n|$)/;
const MAY_BE_FENCE = /^ {0,3}(`{0,2}|~{0,2})$/;

export class Tail {
  constructor() {
    this.element = h("div.tail");
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.element.classList.remove("in-code");
    this.from = -1;
    this.to = -1;
    this.last = null;
    this.isFull = false;
  }

  /** Shows text[from:], of a text that has only grown since. */
  show(text, from) {
    if (from !== this.from) this.begin(text, from);
    this.add(text.slice(this.to));
    this.to = text.length;
  }

  begin(text, from) {
    this.clear();
    this.from = from;
    this.to = from;
    const rest = text.slice(from, from + 2000);
    const blank = rest.length - rest.trimStart().length;
    const code = FENCE.exec(rest.slice(blank));
    this.to += rest.slice(0, blank).lastIndexOf("\n") + 1;
    if (!code) {
      if (MAY_BE_FENCE.test(rest.slice(blank))) this.from = -1; // a token may be a part of the mark: looked at anew next time
      return;
    }
    this.element.classList.add("in-code");
    if (code[2]) this.to = from + blank + code[0].length;
    else this.from = -1; // its first line is not whole yet: begun anew next time
  }

  add(text) {
    for (let at = 0; at < text.length; ) {
      if (this.last === null || this.isFull) {
        this.last = document.createTextNode("");
        this.element.append(h("div", {}, this.last));
      }
      const room = Math.max(0, PIECE - this.last.length);
      const line = text.length - at > room ? text.indexOf("\n", at + room) : -1;
      const end = line < 0 ? text.length : line + 1;
      this.last.appendData(text.slice(at, end));
      this.isFull = this.last.length >= PIECE && text[end - 1] === "\n"; // pieces end where lines do
      at = end;
    }
  }
}
