// How much Kodify is used: figures of a period, by day, by user, model and route; and what became of completions.

import { api } from "../base/api.js";
import { h } from "../base/dom.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { chart, daily, daysOf } from "./chart.js";
import { compact, duration, number, percent, NONE } from "./format.js";
import { nothing, table } from "./table.js";

const PERIODS = [7, 30, 90];
const DAY_MS = 86_400_000;

export class Usage {
  constructor(place) {
    this.place = place;
    this.days = 7;
    this.by = { usage: "user", acceptance: "language" };
  }

  open() {
    const options = PERIODS.map((days) => h("option", { value: days, selected: days === this.days }, t("admin.last_days", { days })));
    const select = h("select", { id: "usage-period", onchange: () => ((this.days = Number(select.value)), this.load()) }, ...options);
    this.body = h("div.rows");
    this.place.replaceChildren(h("div.tools", {}, h("label", { htmlFor: "usage-period" }, t("admin.period")), select), this.body);
    return this.load();
  }

  /** The period begins with a day of UTC, as the journal counts them. */
  ask(what, by) {
    const since = new Date(Date.now() - (this.days - 1) * DAY_MS).toISOString().slice(0, 10);
    return api("GET", `/api/v1/admin/${what}?${new URLSearchParams({ since, by })}`);
  }

  async load() {
    const turn = (this.turn = {});
    this.body.setAttribute("aria-busy", "true");
    try {
      const [usage, groups, acceptance, views] = await Promise.all([
        this.ask("usage", "day"), this.ask("usage", this.by.usage), this.ask("acceptance", "day"), this.ask("acceptance", this.by.acceptance),
      ]);
      if (turn === this.turn) this.body.replaceChildren(...this.requests(usage, groups), ...this.completions(acceptance, views));
    } catch (error) {
      if (turn !== this.turn) return;
      if (error.status === 404) this.body.replaceChildren(nothing(error.message, "alert"));
      else showProblem(error, () => this.load());
    } finally {
      if (turn === this.turn) this.body.removeAttribute("aria-busy");
    }
  }

  requests(usage, groups) {
    const { total } = usage;
    const days = daysOf(usage);
    const share = total.requests ? total.errors / total.requests : null;
    const tiles = [
      [t("admin.requests"), compact(total.requests)],
      [t("admin.errors"), compact(total.errors), percent(share)],
      [t("admin.active_users"), number(total.users)],
      [t("admin.tokens_in"), compact(total.prompt_tokens)],
      [t("admin.tokens_out"), compact(total.completion_tokens)],
      [t("admin.ttft_half"), duration(total.ttft_p50_ms), t("admin.most_of", { time: duration(total.ttft_p95_ms) })],
      [t("admin.took_half"), duration(total.duration_p50_ms), t("admin.most_of", { time: duration(total.duration_p95_ms) })],
    ];
    const answered = daily(usage, (row) => row.requests - row.errors, 0);
    const times = (name) => [
      { name: t("admin.half"), values: daily(usage, (row) => row[`${name}_p50_ms`], null) },
      { name: t("admin.most"), values: daily(usage, (row) => row[`${name}_p95_ms`], null) },
    ];
    const charts = [
      chart({ title: t("admin.requests"), days, kind: "bars", show: compact, series: [{ name: t("admin.answered"), values: answered }, { name: t("admin.errors"), values: daily(usage, (row) => row.errors, 0) }] }),
      chart({ title: t("admin.tokens"), days, kind: "bars", show: compact, series: [{ name: t("admin.tokens_in"), values: daily(usage, (row) => row.prompt_tokens, 0) }, { name: t("admin.tokens_out"), values: daily(usage, (row) => row.completion_tokens, 0) }] }),
      chart({ title: t("admin.ttft"), days, kind: "lines", show: duration, series: times("ttft") }),
      chart({ title: t("admin.took"), days, kind: "lines", show: duration, series: times("duration") }),
    ];
    return [this.tiles(tiles), h("div.charts", {}, charts), this.groups("usage", ["user", "model", "route"], groups, usageColumns)];
  }

  completions(found, views) {
    const { total } = found;
    const head = h("h2.part", {}, t("admin.completions"));
    if (!total.shown && !total.accepted) return [head, nothing(t("admin.no_views"))];
    const days = daysOf(found);
    const tiles = [
      [t("admin.shown"), compact(total.shown)],
      [t("admin.accepted"), compact(total.accepted)],
      [t("admin.rate"), percent(total.acceptance_rate)],
      [t("admin.accepted_after"), duration(total.accepted_after_p50_ms)],
      [t("admin.accepted_lines"), compact(total.accepted_lines)],
    ];
    const shown = [
      { name: t("admin.accepted"), values: daily(found, (row) => row.accepted, 0) },
      { name: t("admin.not_accepted"), values: daily(found, (row) => Math.max(0, row.shown - row.accepted), 0) },
    ];
    const charts = [
      chart({ title: t("admin.completions_shown"), days, kind: "bars", show: compact, series: shown }),
      chart({ title: t("admin.rate"), days, kind: "lines", show: percent, series: [{ name: t("admin.rate"), values: daily(found, (row) => row.acceptance_rate, null) }] }),
    ];
    return [head, this.tiles(tiles), h("div.charts", {}, charts), this.groups("acceptance", ["language", "model", "user"], views, viewColumns)];
  }

  tiles(given) {
    return h("dl.tiles", {}, given.map(([name, value, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("small", {}, more)))));
  }

  groups(what, names, found, columns) {
    const id = `by-${what}`;
    const rows = h("div.rows");
    const options = names.map((name) => h("option", { value: name, selected: name === this.by[what] }, t(`admin.by_${name}`)));
    const select = h("select", { id, onchange: () => ((this.by[what] = select.value), ask()) }, ...options);
    const draw = (given) => {
      const left = given.left_off ? h("p.hint", {}, t("admin.left_off", { count: number(given.left_off) })) : null;
      rows.replaceChildren(...(given.data.length ? [table(t(`admin.by_${given.by}`), columns(given.by), given.data)] : [nothing(t("admin.no_entries"))]), ...(left ? [left] : []));
    };
    const ask = async () => {
      try {
        draw(await this.ask(what, this.by[what]));
      } catch (error) {
        showProblem(error, ask);
      }
    };
    draw(found);
    return h("section", {}, h("div.tools", {}, h("label", { htmlFor: id }, t("admin.group")), select), rows);
  }
}

const count = (name, title) => ({ title: t(title), cell: (row) => number(row[name]), numeric: true });

function usageColumns(by) {
  return [
    { title: t(`admin.${by}`), cell: (row) => row.key ?? NONE },
    count("requests", "admin.requests"),
    count("errors", "admin.errors"),
    { ...count("cancelled", "admin.cancelled"), extra: true },
    count("prompt_tokens", "admin.tokens_in"),
    count("completion_tokens", "admin.tokens_out"),
    { title: t("admin.ttft_shares"), cell: (row) => `${duration(row.ttft_p50_ms)} · ${duration(row.ttft_p95_ms)}`, numeric: true, extra: true },
    { title: t("admin.took_shares"), cell: (row) => `${duration(row.duration_p50_ms)} · ${duration(row.duration_p95_ms)}`, numeric: true, extra: true },
  ];
}

function viewColumns(by) {
  return [
    { title: t(`admin.${by}`), cell: (row) => row.key ?? NONE },
    count("shown", "admin.shown"),
    count("accepted", "admin.accepted"),
    count("dismissed", "admin.dismissed"),
    { title: t("admin.rate"), cell: (row) => percent(row.acceptance_rate), numeric: true },
    { title: t("admin.accepted_after"), cell: (row) => duration(row.accepted_after_p50_ms), numeric: true, extra: true },
    { ...count("accepted_lines", "admin.accepted_lines"), extra: true },
  ];
}
