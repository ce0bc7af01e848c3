// A user's tokens: made, shown by how they begin, revoked.

import { api } from "../base/api.js";
import { confirm } from "../base/dialogs.js";
import { h } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { askForm, field, openDialog, revealToken } from "./dialogs.js";
import { moment } from "./format.js";
import { nothing, table } from "./table.js";

export async function showTokens(user) {
  const path = `/api/v1/admin/users/${user.id}/tokens`;
  const place = h("div.rows");
  const button = h("button.primary", { type: "button", onclick: make }, t("admin.new_token"));
  openDialog(t("admin.tokens_of", { email: user.email }), [place, h("div.choices", {}, button)], { wide: true });
  await load();

  async function load() {
    try {
      const { data } = await api("GET", path);
      place.replaceChildren(data.length ? table(t("admin.tokens"), columns(), data) : nothing(t("admin.no_tokens"), "key"));
    } catch (error) {
      showProblem(error, load);
    }
  }

  function columns() {
    return [
      { title: t("admin.token"), cell: (token) => [h("code", {}, token.token), token.current && h("span.badge", {}, t("admin.yours"))] },
      { title: t("admin.made"), cell: (token) => moment(token.created_at), extra: true },
      { title: t("admin.works_until"), cell: (token) => (token.expires_at ? moment(token.expires_at) : t("admin.as_user")) },
      { title: t("admin.last_used"), cell: (token) => (token.last_used_at ? moment(token.last_used_at) : t("admin.never")) },
      {
        title: t("admin.acts"),
        cell: (token) => h("button.small", { type: "button", "aria-label": t("admin.revoke_this", { token: token.token }), onclick: () => revoke(token) }, t("admin.revoke")),
        acts: true,
      },
    ];
  }

  function make() {
    const days = field("days", t("admin.token_days"), { type: "number", min: 1, max: 36500, step: 1, inputMode: "numeric" }, t("admin.token_days_hint"));
    askForm(t("admin.new_token"), days, t("admin.make"), async (given) => {
      const made = await api("POST", path, { days: given.days ? Number(given.days) : null });
      load();
      revealToken(made.token, user.email);
    });
  }

  async function revoke(token) {
    const text = t(token.current ? "admin.revoke_own" : "admin.revoke_text", { token: token.token, email: user.email });
    if (!(await confirm({ title: t("admin.revoke_title"), text, yes: t("admin.revoke"), danger: true }))) return;
    try {
      await api("DELETE", `${path}/${token.id}`);
      notify(t("admin.revoked_told", { token: token.token }));
      await load();
    } catch (error) {
      showProblem(error);
    }
  }
}
