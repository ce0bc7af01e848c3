// Elements made by name, and the one place where HTML from the server becomes elements.

/** h("button.quiet", {type: "button", onclick: f, data: {id: 1}}, "text", child): null and false children are left out. */
export function h(spec, properties = {}, ...children) {
  const [name, ...classes] = spec.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key in element && !key.includes("-") && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of the page's sprite; it says nothing to screen readers. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(use);
  return drawing;
}

/** A button that is only a drawing, with its name for everybody. */
export function iconButton(name, label, onclick, more = {}) {
  return h("button.icon", { type: "button", title: label, "aria-label": label, onclick, ...more }, icon(name));
}

// Where the browser knows Trusted Types, nothing but this may turn text into elements (the content security policy says so).
const policy = window.trustedTypes?.createPolicy("kodify", { createHTML: (html) => html });

/** Elements of HTML that the server has sanitised. */
export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];
