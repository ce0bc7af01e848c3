// Numbers and times in the reader's language; "–" for what is not known.

import { language, t } from "../base/texts.js";

export const NONE = "–";
const made = new Map();

function formatter(kind, options) {
  const key = `${language()} ${kind.name} ${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new kind(language(), options));
  return made.get(key);
}

const shown = (value, show) => (value === null || value === undefined ? NONE : show(value));

export const number = (value) => shown(value, (given) => formatter(Intl.NumberFormat, {}).format(given));

/** Short: 1.2M. */
export const compact = (value) =>
  shown(value, (given) => formatter(Intl.NumberFormat, { notation: "compact", maximumFractionDigits: 1 }).format(given));

export const percent = (value) =>
  shown(value, (given) => formatter(Intl.NumberFormat, { style: "percent", maximumFractionDigits: 1 }).format(given));

/** Milliseconds, or seconds where there are many. */
export const duration = (value) =>
  shown(value, (given) => {
    if (given < 1000) return t("admin.milliseconds", { count: number(Math.round(given)) });
    const digits = given < 10_000 ? 2 : given < 100_000 ? 1 : 0;
    return t("admin.seconds", { count: formatter(Intl.NumberFormat, { maximumFractionDigits: digits }).format(given / 1000) });
  });

const MOMENT = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** By the reader's own clock; the year where it is another than now. */
export const moment = (iso) =>
  shown(iso, (given) => {
    const at = new Date(given);
    const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    return formatter(Intl.DateTimeFormat, { ...year, ...MOMENT }).format(at);
  });

/** A day of the calendar: 2026-11-28. */
export const day = (iso, options = { year: "numeric", month: "short", day: "numeric" }) =>
  shown(iso, (given) => formatter(Intl.DateTimeFormat, { ...options, timeZone: "UTC" }).format(new Date(given.slice(0, 10))));
