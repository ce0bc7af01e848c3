// What the page says, in the reader's language; another language comes without a reload.

import { keep } from "./cookies.js";
import { find, findAll } from "./dom.js";

let texts = JSON.parse(find("#texts").textContent);
const followers = new Set();

/** The text `key`, with {name} replaced. */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}

export const language = () => document.documentElement.lang;

/** `follower` is called whenever the language has changed. */
export function onLanguage(follower) {
  followers.add(follower);
  return () => followers.delete(follower);
}

export async function setLanguage(code) {
  const answer = await fetch(`${document.body.dataset.static}/texts/${code}.json`);
  if (!answer.ok) return;
  texts = await answer.json();
  document.documentElement.lang = code;
  keep("kodify_language", code);
  translate(document);
  for (const follower of followers) follower();
}

/** The texts of elements that name theirs: data-text, data-label (for screen readers and as a tip), data-placeholder. */
export function translate(within) {
  for (const element of findAll("[data-text]", within)) element.textContent = t(element.dataset.text);
  for (const element of findAll("[data-label]", within)) {
    element.setAttribute("aria-label", t(element.dataset.label));
    if (element.hasAttribute("title")) element.title = t(element.dataset.label);
  }
  for (const element of findAll("[data-placeholder]", within)) element.placeholder = t(element.dataset.placeholder);
}

/** "in 3 hours", "2 minutes ago", in the reader's language. */
export function relativeTime(milliseconds) {
  const units = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000]];
  const [unit, size] = units.find(([, each]) => Math.abs(milliseconds) >= each) ?? ["minute", 60_000];
  return new Intl.RelativeTimeFormat(language(), { numeric: "auto" }).format(Math.round(milliseconds / size), unit);
}

export function bytes(count) {
  const [unit, size] = count < 1024 ? ["byte", 1] : count < 1024 * 1024 ? ["kilobyte", 1024] : ["megabyte", 1024 * 1024];
  const style = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: count < 10 * size && size > 1 ? 1 : 0 };
  return new Intl.NumberFormat(language(), style).format(count / size);
}
