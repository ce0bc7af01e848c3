// An entry of the journal: what was asked and answered, and the configuration of then.

import { api } from "../base/api.js";
import { copy } from "../base/clipboard.js";
import { h, iconButton } from "../base/dom.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { openDialog } from "./dialogs.js";
import { duration, moment, number, NONE } from "./format.js";
import { jsonBlock } from "./json.js";
import { status } from "./table.js";

export async function showEntry(id, onclose) {
  let entry;
  try {
    entry = await api("GET", `/api/v1/admin/journal/${encodeURIComponent(id)}`);
  } catch (error) {
    showProblem(error, () => showEntry(id, onclose));
    return onclose();
  }
  const told = words(entry);
  openDialog(
    entry.type,
    [
      h("p.hint", {}, t("admin.read_is_told")),
      facts(entry),
      told.length > 0 && h("section.said", { "aria-label": t("admin.conversation") }, h("h3", {}, t("admin.conversation")), ...told),
      content(t("admin.request"), entry.request, !told.length),
      content(t("admin.response"), entry.response, !told.length),
      entry.config && jsonBlock(t("admin.configuration"), entry.config, { open: false }),
    ],
    { wide: true, onclose },
  );
}

function facts(entry) {
  const rows = [
    [t("admin.when"), moment(entry.request_dt)],
    [t("admin.who"), entry.username ?? NONE],
    [t("admin.from"), entry.user ?? NONE],
    [t("admin.model"), entry.model ?? NONE],
    [t("admin.status"), status(entry)],
    [t("admin.tokens_in_out"), `${number(entry.prompt_tokens)} → ${number(entry.completion_tokens)}`],
    [t("admin.ttft"), duration(entry.ttft_ms)],
    [t("admin.took"), duration(entry.duration_ms)],
    [t("admin.ended_by"), entry.finish_reason ?? NONE],
    [t("admin.request_id"), copied(entry.request_id, t("admin.request_id"))],
    [t("admin.entry_id"), copied(entry.id, t("admin.entry_id"))],
  ];
  return h("dl.facts", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function copied(text, title) {
  if (!text) return NONE;
  const button = iconButton("copy", t("admin.copy_of", { title }), () => copy(text, button), { className: "icon small" });
  return [h("code.id", {}, text), button];
}

const content = (title, value, open) => (value === null ? h("p.hint", {}, t("admin.no_content", { title })) : jsonBlock(title, value, { open }));

/** What was said, of bodies that people can read so; nothing of those that are otherwise. */
function words({ request, response }) {
  const said = [];
  const system = request?.system ?? request?.instructions;
  if (typeof system === "string") said.push(["system", system]);
  const messages = request?.messages ?? (Array.isArray(request?.input) ? request.input : []);
  if (Array.isArray(messages)) for (const one of messages) said.push([one?.role ?? NONE, plain(one?.content)]);
  for (const name of ["prompt", "input", "input_prefix"]) if (typeof request?.[name] === "string") said.push([name, request[name]]);
  if (!said.length) return [];
  const choice = response?.choices?.[0];
  const answer = choice?.message?.content ?? choice?.text ?? response?.content ?? response?.output?.map?.((item) => plain(item?.content)).join("\n");
  if (answer !== undefined && answer !== null) said.push(["assistant", plain(answer)]);
  if (response?.error?.message) said.push(["error", response.error.message]);
  return said.filter(([, text]) => text).map(([role, text]) => h("div", {}, h("b", {}, role), h("pre", { tabIndex: 0 }, text)));
}

function plain(value) {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return "";
  return value.map((part) => (typeof part === "string" ? part : part?.text ?? `[${part?.type ?? NONE}]`)).join("\n");
}
