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
    const watch = new ResizeObserver(() => this.keep());
    for (const each of [this.area, ...this.area.children]) watch.observe(each);
  }

  get below() {
    return this.area.scrollHeight - this.area.scrollTop - this.area.clientHeight;
  }

  /** Only who goes up leaves the end: what has grown since the last look is no movement of the reader's. */
  look() {
    const { scrollTop } = this.area;
    if (scrollTop < this.top - 1) this.isAtEnd = this.below < 2;
    else if (this.below < NEAR) this.isAtEnd = true;
    this.top = scrollTop;
    this.button.hidden = this.isAtEnd || this.below < NEAR;
  }

  /** After the conversation has grown. */
  keep() {
    if (this.isAtEnd) this.toEnd();
    else this.button.hidden = this.below < NEAR;
  }

  toEnd() {
    this.isAtEnd = true;
    this.button.hidden = true;
    this.area.scrollTop = this.area.scrollHeight;
    this.top = this.area.scrollTop;
  }
}
