// Short notices at the page's foot, and words that only screen readers get.

import { find, h, iconButton } from "./dom.js";
import { t } from "./texts.js";

const SHOWN_MS = 5000;
const MOST = 3;

/** `act`: {label, run}. A bad one stays until it is closed. Returns what closes it. */
export function notify(text, { bad = false, act = null } = {}) {
  const place = find("#notices");
  const close = () => notice.remove();
  const notice = h(
    bad ? "div.notice.bad" : "div.notice",
    { role: bad ? "alert" : null },
    h("span", {}, text),
    act && h("button", { type: "button", onclick: () => (close(), act.run()) }, act.label),
    iconButton("close", t("base.close"), close),
  );
  for (const other of [...place.children]) if (other.firstElementChild.textContent === text) other.remove(); // said once is enough
  place.append(notice);
  while (place.children.length > MOST) place.firstElementChild.remove();
  if (!bad) setTimeout(close, SHOWN_MS);
  return close;
}

let voice = null;

export function announce(text) {
  if (!voice) {
    voice = h("div.unseen", { role: "status" });
    document.body.append(voice);
  }
  voice.textContent = "";
  setTimeout(() => (voice.textContent = text), 60); // or the same words twice would be said once
}
