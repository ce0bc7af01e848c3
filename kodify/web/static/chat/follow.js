// The conversation's scrolling: stays at the end while answers grow, unless the reader has gone elsewhere.

import { find } from "../base/dom.js";

const NEAR = 40; // pixels from the end that count as being there

export class Follow {
  constructor() {
    this.area = find("#scroll");
    this.button = find("#to-end");
    this.isAtEnd = true;
    this.top = 0;
    this.area.addEventListener("scroll", () => this.look(), { passive: true });
    this.button.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.keep()).observe(this.area);
  }

  look() {
    const { scrollTop, scrollHeight, clientHeight } = this.area;
    const wentUp = scrollTop < this.top - 1;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
    this.isAtEnd = isNear && (!wentUp || scrollHeight - scrollTop - clientHeight < 2);
    this.top = scrollTop;
    this.button.hidden = isNear;
  }

  /** After the conversation has grown. */
  keep() {
    if (this.isAtEnd) this.toEnd();
    else this.button.hidden = false;
  }

  toEnd() {
    this.isAtEnd = true;
    this.button.hidden = true;
    this.area.scrollTop = this.area.scrollHeight;
    this.top = this.area.scrollTop;
  }
}
