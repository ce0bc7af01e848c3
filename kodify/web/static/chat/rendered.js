// HTML of answers: what the page adds to it.

import { fragment, h, findAll, iconButton } from "../base/dom.js";
import { copy } from "../base/clipboard.js";
import { t } from "../base/texts.js";

/** The server's HTML as elements, with a head on each piece of code. */
export function rendered(html) {
  const made = fragment(html);
  for (const block of findAll(".code", made)) block.prepend(codeHead(block));
  for (const link of findAll("a[href]", made)) link.target = "_blank";
  return made;
}

function codeHead(block) {
  const button = iconButton("copy", t("chat.copy_code"), () => copy(block.querySelector("code").textContent, button));
  button.classList.add("small");
  button.dataset.label = "chat.copy_code";
  return h("div.code-head", {}, h("b", {}, block.dataset.language || ""), button);
}
