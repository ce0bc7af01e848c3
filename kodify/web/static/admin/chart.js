// Charts of days as SVG: bars that stand on one another, or lines; the same figures as a table for everybody who wants one.

import { h } from "../base/dom.js";
import { t } from "../base/texts.js";
import { day } from "./format.js";
import { table } from "./table.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const EDGE = { top: 10, right: 10, bottom: 24, left: 52 };
const LABEL_WIDTH = 62;
const DOT_BELOW = 40; // days: where there are more, points would touch

/** `days`: ISO; `series`: {name, values, show} each, null for what is not known; `kind`: "bars" or "lines". `show` makes words of a value. */
export function chart({ title, days, series, kind, show }) {
  const legend = h("ul.legend", { "aria-hidden": "true" });
  const place = h("div.plot");
  const words = h("details.figures", {}, h("summary", {}, t("admin.as_table")));
  words.addEventListener("toggle", () => words.open && words.children.length < 2 && words.append(figures()), { once: true });
  const figure = h("figure.chart", {}, h("figcaption", {}, h("h3", {}, title), legend), place, words);
  tell(null);
  new ResizeObserver(() => place.clientWidth && draw(place.clientWidth)).observe(place);
  return figure;

  function figures() {
    const columns = [
      { title: t("admin.day"), cell: (row) => day(row.day) },
      ...series.map((one) => ({ title: one.name, cell: (row) => show(one.values[row.at]), numeric: true })),
    ];
    return table(title, columns, days.map((one, at) => ({ day: one, at })));
  }

  /** The legend, with the figures of a day where one is pointed at. */
  function tell(at) {
    const entries = series.map((one, index) => h("li", {}, h(`i.s${index}`), one.name, at !== null && h("b", {}, show(one.values[at]))));
    legend.replaceChildren(...(at === null ? [] : [h("li.day", {}, day(days[at]))]), ...entries);
  }

  function draw(width) {
    const plane = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const step = plane.width / days.length;
    const most = Math.max(...days.map((_, at) => highest(series, at, kind)), 0);
    const ticks = scale(most);
    const top = ticks.at(-1);
    const y = (value) => EDGE.top + plane.height * (1 - value / top);
    const middle = (at) => EDGE.left + step * (at + 0.5);
    const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": summary() });
    for (const tick of ticks) {
      svg.append(make("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }));
      svg.append(make("text", { class: "tick", x: EDGE.left - 8, y: y(tick) + 4, "text-anchor": "end" }, show(tick)));
    }
    const every = Math.ceil(days.length / Math.max(1, Math.floor(plane.width / LABEL_WIDTH)));
    days.forEach((one, at) => {
      if ((days.length - 1 - at) % every) return;
      svg.append(make("text", { class: "tick", x: Math.min(middle(at), width - LABEL_WIDTH / 2 + 4), y: HEIGHT - 6, "text-anchor": "middle" }, day(one, { month: "short", day: "numeric" })));
    });
    svg.append(kind === "bars" ? bars(step, middle, y) : lines(middle, y));
    if (most <= 0) svg.append(make("text", { class: "none", x: EDGE.left + plane.width / 2, y: EDGE.top + plane.height / 2, "text-anchor": "middle" }, t("admin.no_figures")));
    days.forEach((_, at) => {
      const column = make("rect", { class: "column", x: EDGE.left + step * at, y: EDGE.top, width: step, height: plane.height });
      column.addEventListener("pointerenter", () => tell(at));
      svg.append(column);
    });
    svg.addEventListener("pointerleave", () => tell(null));
    place.replaceChildren(svg);
  }

  function bars(step, middle, y) {
    const group = make("g");
    const width = Math.max(1, Math.min(34, step * 0.7));
    days.forEach((_, at) => {
      let base = 0;
      series.forEach((one, index) => {
        const value = one.values[at] ?? 0;
        if (!value) return;
        const height = Math.max(1, y(base) - y(base + value));
        group.append(make("rect", { class: `s${index}`, x: middle(at) - width / 2, y: y(base + value), width, height, rx: Math.min(2, width / 4) }));
        base += value;
      });
    });
    return group;
  }

  function lines(middle, y) {
    const group = make("g");
    series.forEach((one, index) => {
      let path = "";
      one.values.forEach((value, at) => {
        if (value === null || value === undefined) return;
        const before = one.values[at - 1];
        path += `${before === null || before === undefined ? "M" : "L"}${middle(at).toFixed(1)} ${y(value).toFixed(1)}`;
        if (days.length < DOT_BELOW) group.append(make("circle", { class: `s${index}`, cx: middle(at), cy: y(value), r: 3 }));
      });
      group.prepend(make("path", { class: `line s${index}`, d: path }));
    });
    return group;
  }

  function summary() {
    const told = series.map((one) => {
      const known = one.values.filter((value) => value !== null && value !== undefined);
      return known.length ? t("admin.chart_range", { name: one.name, least: show(Math.min(...known)), most: show(Math.max(...known)) }) : "";
    });
    return `${title}. ${told.filter(Boolean).join(" ")}`.trim();
  }
}

/** Every day of a period, by UTC, and what `value` makes of its row; `none` where it has none. */
export function daily(found, value, none) {
  const rows = new Map(found.data.map((row) => [row.key, row]));
  return daysOf(found).map((one) => (rows.has(one) ? value(rows.get(one)) : none));
}

export function daysOf({ since, until }) {
  const days = [];
  for (let at = Date.parse(`${since.slice(0, 10)}T00:00:00Z`); at < Date.parse(until); at += 86_400_000) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

function highest(series, at, kind) {
  const values = series.map((one) => one.values[at] ?? 0);
  return kind === "bars" ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
}

/** From 0 to what is at least `most`, in a few round steps. */
function scale(most) {
  if (most <= 0) return [0, 1];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, at) => at * step);
}

function make(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.append(text);
  return element;
}
