// The journal: entries that fit, one of them in full.

import { api } from "../base/api.js";
import { h } from "../base/dom.js";
import { t } from "../base/texts.js";
import { showEntry } from "./entry.js";
import { duration, moment, number, NONE } from "./format.js";
import { Listing, calm, nothing, status, table } from "./table.js";

const AGES = ["1h", "24h", "7d", "30d", "90d"];
const FIELDS = ["user", "route", "model", "status", "id"];

export class Journal {
  constructor(place) {
    this.place = place;
    this.wanted = { since: "7d" };
  }

  /** `id`: of an entry that is shown at once. */
  open(id) {
    const find = calm(() => this.list.load());
    const form = h(
      "form.filters",
      { role: "search", "aria-label": t("admin.find_entries"), onsubmit: (event) => (event.preventDefault(), this.list.load()), oninput: (event) => (this.take(event.target), find()) },
      this.period(),
      ...FIELDS.map((name) => this.field(name)),
      h("label.check", {}, h("input", { type: "checkbox", name: "errors", checked: Boolean(this.wanted.errors) }), h("span", {}, t("admin.errors_only"))),
    );
    const rows = h("div.rows");
    this.place.replaceChildren(form, rows);
    this.list = new Listing(rows, (next) => this.ask(next), (found) => this.show(found));
    if (id) showEntry(id, () => location.hash.startsWith("#journal/") && (location.hash = "journal"));
    return this.list.load();
  }

  /** The entry alone, where the list is there already. */
  async turn(id) {
    if (id) await showEntry(id, () => location.hash.startsWith("#journal/") && (location.hash = "journal"));
  }

  period() {
    const options = AGES.map((age) => h("option", { value: age, selected: age === this.wanted.since }, t(`admin.last_${age}`)));
    const own = h("option", { value: "own", selected: this.wanted.own }, t("admin.period_own"));
    const select = h("select", { name: "period", id: "filter-period" }, ...options, own);
    const range = ["from", "to"].map((name) =>
      h("div", { data: { own: "" }, hidden: !this.wanted.own }, h("label", { htmlFor: `filter-${name}` }, t(`admin.${name}`)), h("input", { type: "datetime-local", id: `filter-${name}`, name, value: this.wanted[name] ?? "" })),
    );
    return [h("div", {}, h("label", { htmlFor: "filter-period" }, t("admin.period")), select), ...range];
  }

  field(name) {
    const id = `filter-${name}`;
    return h("div", {}, h("label", { htmlFor: id }, t(`admin.filter_${name}`)), h("input", { id, name, value: this.wanted[name] ?? "", autocomplete: "off", spellcheck: false, placeholder: t(`admin.filter_${name}_like`) }));
  }

  take(changed) {
    if (changed.name === "period") {
      this.wanted.own = changed.value === "own";
      if (!this.wanted.own) this.wanted.since = changed.value;
      for (const each of this.place.querySelectorAll("[data-own]")) each.hidden = !this.wanted.own;
    } else this.wanted[changed.name] = changed.type === "checkbox" ? changed.checked : changed.value.trim();
  }

  ask(next) {
    const wanted = new URLSearchParams();
    const { own, from, to, since, errors } = this.wanted;
    wanted.set("since", own && from ? new Date(from).toISOString() : own ? "90d" : since);
    if (own && to) wanted.set("until", new Date(to).toISOString());
    if (errors) wanted.set("errors", "true");
    for (const name of FIELDS) if (this.wanted[name]) wanted.set(name, this.wanted[name]);
    if (next !== null) wanted.set("after", next);
    return api("GET", `/api/v1/admin/journal?${wanted}`);
  }

  show(rows) {
    if (!rows.length) return nothing(t("admin.no_entries"));
    return table(t("admin.journal"), [
      { title: t("admin.when"), cell: (row) => h("a", { href: `#journal/${row.id}` }, h("time", { dateTime: row.request_dt }, moment(row.request_dt))) },
      { title: t("admin.who"), cell: (row) => row.username ?? row.user ?? NONE },
      { title: t("admin.route"), cell: (row) => h("code", {}, row.type) },
      { title: t("admin.model"), cell: (row) => row.model ?? NONE, extra: true },
      { title: t("admin.status"), cell: status },
      { title: t("admin.tokens_in_out"), cell: (row) => `${number(row.prompt_tokens)} → ${number(row.completion_tokens)}`, numeric: true, extra: true },
      { title: t("admin.ttft_short"), cell: (row) => duration(row.ttft_ms), numeric: true, extra: true },
      { title: t("admin.took"), cell: (row) => duration(row.duration_ms), numeric: true },
    ], rows, (row) => (location.hash = `journal/${row.id}`));
  }
}
