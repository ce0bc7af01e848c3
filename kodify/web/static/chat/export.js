// A chat as a file.

import { api } from "../base/api.js";
import { save } from "../base/clipboard.js";
import { t } from "../base/texts.js";
import { collectionTitle } from "./collections.js";
import { linkOf, placeOf } from "./sources.js";

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

function said({ content, diff, error, sources }) {
  const fence = "`".repeat(Math.max(3, longestRun(diff ?? "") + 1));
  const changes = diff && `${fence}diff\n${diff.trimEnd()}\n${fence}`;
  return [content.trim(), rests(sources), changes, error && `> ${error}`].filter(Boolean).join("\n\n");
}

function rests(sources) {
  if (!sources?.length) return "";
  return `**${t("chat.sources")}**\n\n${sources.map((source, at) => `${at + 1}. ${cited(source)}`).join("\n")}`;
}

/** Whatever its path and title are, they are only text. */
function cited(source) {
  const name = asCode(source.path);
  const url = linkOf(source);
  const facts = [placeOf(source), source.title, collectionTitle(source.collection)].filter(Boolean).map(plain);
  return [url && !/[<>\s]/.test(url) ? `[${name}](<${url}>)` : name, ...facts].join(" · ");
}

const longestRun = (text) => Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));

const oneLine = (text) => text.replace(/\s+/g, " ").trim();

const plain = (text) => oneLine(text).replace(/[\\`*_[\]<>&#~|!]/g, "\\$&");

function asCode(text) {
  const fence = "`".repeat(longestRun(text) + 1);
  const space = fence.length > 1 ? " " : "";
  return `${fence}${space}${oneLine(text)}${space}${fence}`;
}

function moment(time) {
  const date = new Date(typeof time === "number" ? time * 1000 : time);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}

function fileName(title) {
  const plain = (title || "chat").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return plain.slice(0, 60).toLowerCase() || "chat";
}
