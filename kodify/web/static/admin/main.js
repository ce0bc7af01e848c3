// The administrators' page: who may see it, and which view is open.

import { openMenu } from "../base/dialogs.js";
import { find, findAll } from "../base/dom.js";
import { startLooks } from "../base/looks.js";
import { showProblem } from "../base/problems.js";
import { askSession, requireSession, signOut, whenSignedInAgain } from "../base/session.js";
import { onLanguage, t } from "../base/texts.js";
import { Audit } from "./audit.js";
import { Journal } from "./journal.js";
import { Running } from "./running.js";
import { Settings } from "./settings.js";
import { Usage } from "./usage.js";
import { Users } from "./users.js";

const VIEWS = { users: Users, usage: Usage, journal: Journal, running: Running, settings: Settings, audit: Audit };
const views = {};
let session = null;
let open = null;

/** The view of the address, and what of it: #journal/0199… */
function chosen() {
  const [name, rest = ""] = location.hash.slice(1).split("/");
  return Object.hasOwn(VIEWS, name) ? [name, rest] : ["users", ""];
}

async function show(anew = false) {
  if (!session?.administrator) return;
  const [name, rest] = chosen();
  if (name === open && !anew && views[name].turn) return views[name].turn(rest);
  if (open && open !== name) views[open].close?.();
  const isOther = open !== null && open !== name;
  open = name;
  for (const link of findAll(".tabs a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find(".tabs [aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  find("#title").textContent = t(`admin.${name}`);
  document.title = `${t(`admin.${name}`)} · Kodify`;
  for (const place of findAll("[data-view]")) place.hidden = place.dataset.view !== name;
  const place = find(`[data-view=${name}]`);
  views[name] ??= new VIEWS[name](place);
  if (isOther) {
    scrollTo(0, 0);
    find("#title").focus({ preventScroll: true });
  }
  await views[name].open(rest);
}

function startWith(found) {
  session = found;
  find("#account-name").textContent = found.name ?? t("admin.account");
  const reason = found.administrator ? null : found.methods.includes("password") ? "refused" : "no_people";
  find(".admin").classList.toggle("refused", reason !== null);
  find("#refused").hidden = reason === null;
  find("#account").hidden = !found.signed_in || !found.methods.length;
  if (reason !== null) return refuse(reason);
  show(true).catch(showProblem);
}

function refuse(reason) {
  find("#refused h2").textContent = t(`admin.${reason}_title`);
  find("#refused p").textContent = t(`admin.${reason}_lead`, { name: session.name ?? "" });
  find("#other-account").hidden = reason !== "refused";
  document.title = `${t("admin.administration")} · Kodify`;
}

function openAccountMenu() {
  openMenu(find("#account"), [
    session.name && { note: session.name },
    { label: t("admin.to_chat"), icon: "edit", href: "/" },
    { label: t("base.sign_out"), icon: "leave", run: () => signOut().catch(showProblem) },
    "-",
    { note: t("admin.version", { version: session.version }) },
  ].filter(Boolean));
}

startLooks();
onLanguage(() => session && startWith(session));
addEventListener("hashchange", () => show().catch(showProblem));
find("#account").addEventListener("click", openAccountMenu);
find("#other-account").addEventListener("click", () => signOut().catch(showProblem));
whenSignedInAgain(startWith);
try {
  const found = await askSession();
  startWith(found.signed_in || !found.methods.includes("password") ? found : await requireSession());
} catch (error) {
  showProblem(error, () => location.reload());
}
