// What this replica is answering now, looked at again and again; each can be ended.

import { api } from "../base/api.js";
import { confirm } from "../base/dialogs.js";
import { h } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { duration, number, NONE } from "./format.js";
import { nothing, table, tableRow } from "./table.js";

const EVERY_MS = 2000;
const PATH = "/api/v1/admin/running";

export class Running {
  constructor(place) {
    this.place = place;
    this.timer = 0;
  }

  open() {
    this.head = h("p.hint", { role: "status" });
    this.rows = h("div.rows");
    this.known = new Map(); // id to its row, which stays while it runs: a focused button must not go away
    this.body = null;
    this.place.replaceChildren(h("div.tools", {}, this.head), this.rows);
    return this.look();
  }

  close() {
    clearTimeout(this.timer);
    this.turn = null;
  }

  async look() {
    const turn = (this.turn = {});
    clearTimeout(this.timer);
    try {
      if (!document.hidden) {
        const found = await api("GET", PATH);
        if (turn !== this.turn) return;
        this.show(found);
      }
    } catch (error) {
      if (turn !== this.turn) return;
      this.head.textContent = t("admin.running_lost");
      if (error.status === 401 || error.status === 403) return showProblem(error);
    }
    this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  show({ replica, data }) {
    this.head.textContent = t("admin.running_here", { count: number(data.length), replica });
    const columns = this.columns();
    const current = new Map(
      data.map((one) => {
        const fresh = tableRow(columns, one);
        const row = this.known.get(one.id);
        if (!row) return [one.id, fresh];
        columns.forEach((column, at) => column.moves && row.cells[at].replaceWith(fresh.cells[at].cloneNode(true)));
        return [one.id, row];
      }),
    );
    const hadFocus = this.rows.contains(document.activeElement);
    this.known = current;
    if (!data.length) {
      this.body = null;
      this.rows.replaceChildren(nothing(t("admin.nothing_runs"), "clock"));
    } else {
      if (!this.body) {
        this.rows.replaceChildren(table(t("admin.running"), columns, []));
        this.body = this.rows.querySelector("tbody");
      }
      const rows = [...current.values()];
      for (const row of [...this.body.rows]) if (!rows.includes(row)) row.remove();
      rows.forEach((row, at) => this.body.rows[at] !== row && this.body.insertBefore(row, this.body.rows[at] ?? null));
    }
    if (hadFocus && !this.rows.contains(document.activeElement)) this.place.closest("main").focus();
  }

  columns() {
    return [
      { title: t("admin.who"), cell: (one) => one.user ?? one.address ?? NONE },
      { title: t("admin.route"), cell: (one) => h("code", {}, one.route) },
      { title: t("admin.model"), cell: (one) => one.model, extra: true },
      { title: t("admin.runs_for"), cell: (one) => duration(one.running_ms), numeric: true, moves: true },
      { title: t("admin.tokens_in_out"), cell: (one) => `${number(one.prompt_tokens)} → ${number(one.completion_tokens)}`, numeric: true, moves: true },
      { title: t("admin.kind"), cell: (one) => t(one.streams ? "admin.streamed" : "admin.whole"), extra: true },
      { title: t("admin.request_id"), cell: (one) => h("code.id", { title: one.request_id }, one.request_id), extra: true },
      {
        title: t("admin.acts"),
        acts: true,
        cell: (one) =>
          h("button.small", { type: "button", "aria-label": t("admin.end_of", { who: one.user ?? one.address ?? NONE, route: one.route }), onclick: () => this.end(one) }, t("admin.end")),
      },
    ];
  }

  async end(one) {
    const who = one.user ?? one.address ?? NONE;
    if (!(await confirm({ title: t("admin.end_title"), text: t("admin.end_text", { who }), yes: t("admin.end"), danger: true }))) return;
    try {
      await api("DELETE", `${PATH}/${one.id}`);
      notify(t("admin.ended_told", { who }));
    } catch (error) {
      if (error.status === 404) notify(t("admin.ended_already"));
      else showProblem(error);
    }
    await this.look();
  }
}
