// The side with the conversations: a column on a wide screen, a drawer on a narrow one.

import { find, findAll } from "../base/dom.js";

const KEPT = "kodify.side";
const narrow = matchMedia("(max-width: 820px)");

export class Side {
  constructor() {
    this.app = find(".app");
    this.veil = find("#side-veil");
    for (const button of findAll("[data-side]")) button.addEventListener("click", () => this.set(button.dataset.side === "open"));
    this.veil.addEventListener("click", () => this.set(false));
    narrow.addEventListener("change", () => this.start());
    this.start();
  }

  get isOpen() {
    return !this.app.classList.contains("side-hidden");
  }

  start() {
    this.set(!narrow.matches && localStorage.getItem(KEPT) !== "hidden", false);
  }

  set(isOpen, byHand = true) {
    this.app.classList.toggle("side-hidden", !isOpen);
    const isDrawer = isOpen && narrow.matches;
    this.veil.hidden = !isDrawer;
    find("#main").inert = isDrawer;
    find("[data-side=open]").setAttribute("aria-expanded", String(isOpen));
    if (!byHand) return;
    if (!narrow.matches) localStorage.setItem(KEPT, isOpen ? "shown" : "hidden");
    find(isOpen ? "[data-side=close]" : "[data-side=open]").focus();
  }

  toggle() {
    this.set(!this.isOpen);
  }

  /** Closes the drawer, after something in it was chosen. True where there was one. */
  leave() {
    if (!narrow.matches || !this.isOpen) return false;
    this.set(false);
    return true;
  }
}
