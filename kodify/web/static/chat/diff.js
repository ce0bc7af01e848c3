// A unified diff in colours, to be copied or saved.

import { copy, save } from "../base/clipboard.js";
import { h, iconButton } from "../base/dom.js";
import { t } from "../base/texts.js";

const MOST_LINES = 4000; // shown; all are copied and saved

export function diffView(diff) {
  const lines = diff.replace(/\n$/, "").split("\n");
  const path = pathOf(lines);
  const code = h("code", {}, ...lines.slice(0, MOST_LINES).map((line) => h("span", { className: kindOf(line) }, line || " ")));
  if (lines.length > MOST_LINES) code.append(h("span.place", {}, "…"));
  const copyButton = iconButton("copy", t("chat.copy_diff"), () => copy(diff, copyButton));
  const name = `${(path.split("/").pop() || "changes").replace(/[^\w.-]/g, "_")}.patch`;
  const saveButton = iconButton("download", t("chat.save_diff"), () => save(name, diff, "text/x-diff"));
  copyButton.dataset.label = "chat.copy_diff";
  saveButton.dataset.label = "chat.save_diff";
  for (const button of [copyButton, saveButton]) button.classList.add("small");
  const counts = h("span.counts", {}, h("i", {}, `+${count(lines, "added")}`), " ", h("s", {}, `−${count(lines, "removed")}`));
  return h(
    "section.diff",
    { "aria-label": t("chat.diff_of", { path }) },
    h("div.code-head", {}, h("b", {}, path || t("chat.diff"), counts), h("span", {}, copyButton, saveButton)),
    h("pre", { tabIndex: 0 }, code),
  );
}

function kindOf(line) {
  if (line.startsWith("+++ ") || line.startsWith("--- ") || line.startsWith("diff ") || line.startsWith("index ")) return "file";
  if (line.startsWith("@@")) return "place";
  return { "+": "added", "-": "removed" }[line[0]] ?? "";
}

const count = (lines, kind) => lines.filter((line) => kindOf(line) === kind).length;

function pathOf(lines) {
  const named = lines.find((line) => line.startsWith("+++ ")) ?? "";
  return named.slice(4).split("\t")[0].replace(/^b\//, "");
}
