// Files in messages: how they are written into the text that the model reads, and found in it again.

import { h, icon } from "../base/dom.js";
import { bytes } from "../base/texts.js";

const LANGUAGES = {
  bash: "sh bash zsh", c: "c h", cpp: "cc cpp cxx hh hpp", csharp: "cs", css: "css", diff: "diff patch", dart: "dart", dockerfile: "dockerfile",
  elixir: "ex exs", go: "go", graphql: "graphql", groovy: "groovy gradle", haskell: "hs", html: "html htm", ini: "ini cfg conf", java: "java",
  javascript: "js mjs cjs jsx", json: "json", julia: "jl", kotlin: "kt kts", lua: "lua", make: "makefile mk", markdown: "md", objectivec: "m",
  ocaml: "ml", perl: "pl pm", php: "php", powershell: "ps1", protobuf: "proto", python: "py pyi", r: "r", ruby: "rb", rust: "rs", scala: "scala",
  sql: "sql", svelte: "svelte", swift: "swift", terraform: "tf", toml: "toml", tsx: "tsx", typescript: "ts mts", vue: "vue", xml: "xml", yaml: "yaml yml",
};
const BY_ENDING = new Map(Object.entries(LANGUAGES).flatMap(([name, endings]) => endings.split(" ").map((each) => [each, name])));
const FILE = /(?:^|\n\n)File `([^`\n]{1,300})`:\n(`{3,})([\w+#-]*)\n([\s\S]*?)\n?\2(?=\n\n|$)/g;

/** The language of a path, by its ending or its whole name; "" where it tells nothing. */
export function languageOf(path) {
  const name = path.split("/").pop().toLowerCase();
  return BY_ENDING.get(name.split(".").pop()) ?? "";
}

/** The message with its files behind it, each fenced by more backticks than it has in a row itself. */
export function withFiles(message, files) {
  return [message, ...files.map(fenced)].filter(Boolean).join("\n\n");
}

function fenced({ path, language, text }) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `File \`${path.replace(/[`\n]/g, "'")}\`:\n${fence}${language}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}`;
}

/** What `withFiles` was given. */
export function split(content) {
  const files = [];
  const message = content.replace(FILE, (all, path, fence, language, text) => (files.push({ path, language, text: `${text}\n` }), ""));
  return { message: message.trim(), files };
}

/** A file in a message, to be opened; its text is put in when it is. */
export function fileView({ path, text }) {
  const view = h("details", {}, h("summary", {}, icon("file"), h("b", {}, path), h("small", {}, bytes(text.length))));
  view.addEventListener("toggle", () => view.append(h("pre", { tabIndex: 0 }, text)), { once: true });
  return view;
}
