// Keys for all of the page; those of the message field are the composer's.

import { find, findAll } from "../base/dom.js";

const IS_MAC = navigator.platform.startsWith("Mac");

/** `acts`: new, side, copy, focus, stop: each a function. */
export function startShortcuts(acts) {
  if (IS_MAC) for (const key of findAll("#shortcuts kbd")) if (key.textContent === "Ctrl") key.textContent = "⌘";
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || find("dialog[open]") || find(".menu")) return;
    const act = chosen(event, acts);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

export const showShortcuts = () => find("#shortcuts").showModal();

function chosen(event, acts) {
  const { code, key } = event;
  if (key === "Escape") return acts.stop;
  if (IS_MAC ? event.metaKey : event.ctrlKey) {
    if (event.altKey) return null;
    if (event.shiftKey) return { KeyO: acts.new, KeyC: acts.copy }[code];
    return { KeyB: acts.side }[code];
  }
  if (event.altKey || event.target.closest("input, textarea, select")) return null;
  return { "/": acts.focus, "?": showShortcuts }[key];
}
