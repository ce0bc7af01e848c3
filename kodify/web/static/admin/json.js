// JSON as people read it: indented, coloured, copied.

import { copy } from "../base/clipboard.js";
import { h, icon, iconButton } from "../base/dom.js";
import { t } from "../base/texts.js";

const MOST_COLOURED = 200_000; // characters: beyond it colours cost more than they tell
const PARTS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A titled block; open or to be opened. */
export function jsonBlock(title, value, { open = true } = {}) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const button = iconButton("copy", t("admin.copy_of", { title }), () => copy(text, button));
  const shown = h("pre.json", { tabIndex: 0, "aria-label": title, role: "region" });
  const block = h("details", { open }, h("summary", {}, icon("chevron"), h("h3", {}, title)), shown);
  const fill = () => shown.childNodes.length || shown.append(...coloured(text));
  if (open) fill();
  else block.addEventListener("toggle", fill, { once: true });
  return h("div.block", {}, block, button);
}

function coloured(text) {
  if (text.length > MOST_COLOURED) return [text];
  const pieces = [];
  let end = 0;
  for (const found of text.matchAll(PARTS)) {
    const [whole, string, colon] = found;
    const kind = string === undefined ? "j-value" : colon === undefined ? "j-text" : "j-key";
    pieces.push(text.slice(end, found.index), h(`span.${kind}`, {}, string ?? whole));
    end = found.index + (string ?? whole).length;
  }
  return [...pieces, text.slice(end)].filter((piece) => piece !== "");
}
