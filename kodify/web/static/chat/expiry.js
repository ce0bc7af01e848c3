// When a chat is deleted, in the bar above it.

import { find } from "../base/dom.js";
import { onLanguage, relativeTime, t } from "../base/texts.js";

const EACH_MINUTE_MS = 60_000;

/** Milliseconds from now on; endless where there is no such time. */
export function until(time) {
  if (time === null || time === undefined) return Infinity;
  return (typeof time === "number" ? time * 1000 : Date.parse(time)) - Date.now();
}

export class Expiry {
  /** `onExpired()`: the time has come. */
  constructor(onExpired) {
    this.onExpired = onExpired;
    this.time = null;
    this.place = find("#expiry");
    setInterval(() => this.show(), EACH_MINUTE_MS);
    onLanguage(() => this.show());
  }

  set(time) {
    clearTimeout(this.timer);
    this.time = time ?? null;
    const left = until(this.time);
    if (left < 2 ** 31) this.timer = setTimeout(() => this.onExpired(), Math.max(left, 0) + 1000);
    this.show();
  }

  show() {
    this.place.hidden = this.time === null;
    if (this.time === null) return;
    const when = relativeTime(until(this.time));
    find("span", this.place).textContent = t("chat.expires", { when });
    this.place.title = t("chat.expires_note", { when });
  }
}
