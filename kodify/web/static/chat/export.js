// A chat as a file.

import { api } from "../base/api.js";
import { save } from "../base/clipboard.js";
import { t } from "../base/texts.js";

export async function saveAs(kind, id) {
  const history = await api("GET", `/api/v1/chat/${encodeURIComponent(id)}/history`);
  const name = fileName(history.title);
  if (kind === "json") save(`${name}.json`, `${JSON.stringify(history, null, 2)}\n`, "application/json");
  else save(`${name}.md`, markdown(history), "text/markdown");
}

function markdown({ title, created_at: made, settings, messages }) {
  const head = [`# ${title || t("chat.new_title")}`, moment(made), settings?.model].filter(Boolean);
  const parts = messages.map((message) => `## ${t(message.role === "user" ? "chat.you" : "chat.assistant")}\n\n${said(message)}`);
  return `${[head[0], head.slice(1).join(" · "), ...parts].filter(Boolean).join("\n\n")}\n`;
}

function said({ content, diff, error }) {
  const fence = "`".repeat(Math.max(3, ...[...(diff ?? "").matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return [content.trim(), diff && `${fence}diff\n${diff.trimEnd()}\n${fence}`, error && `> ${error}`].filter(Boolean).join("\n\n");
}

function moment(time) {
  const date = new Date(typeof time === "number" ? time * 1000 : time);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}

function fileName(title) {
  const plain = (title || "chat").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return plain.slice(0, 60).toLowerCase() || "chat";
}
