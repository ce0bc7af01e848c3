// Who is signed in; and the view in which one signs in.

import { api, whenSignedOut } from "./api.js";
import { find, findAll } from "./dom.js";
import { told } from "./problems.js";
import { onLanguage, t } from "./texts.js";

const view = find("#sign-in");
const problem = find(".problem", view);
const other = find("[data-other]", view);
let shown = null; // "password" or "token", while the view is there
let methods = [];
let done = null;
let name = null; // of who uses the page

/** The session of a person who may use the page: at once, or after they have signed in. */
export async function requireSession() {
  const session = await askSession();
  if (session.signed_in) return session;
  const found = await signIn(session, location.search.includes("sign_on=failed") ? t("base.sign_on_failed") : "");
  name = found.name;
  return found;
}

/** The session as it is, of nobody perhaps. */
export async function askSession() {
  const session = await api("GET", "/session");
  name = session.name;
  return session;
}

/** `follower` gets a session anew whenever one has ended and the same person has signed in again. Another one gets a
 * page of their own: what is on this one is not theirs. */
export function whenSignedInAgain(follower) {
  whenSignedOut(async () => {
    if (done) return;
    const found = await signIn(await api("GET", "/session"), t("base.signed_out"));
    if (found.name !== name) return leave();
    follower(found);
  });
}

export async function signOut() {
  try {
    await api("DELETE", "/session");
  } catch (error) {
    if (error.status !== 503) throw error; // with a 503 the cookie is gone too
  }
  leave();
}

/** Nothing of one person is left for the next. */
function leave() {
  localStorage.clear();
  history.replaceState(null, "", location.pathname);
  location.reload();
}

function signIn(session, complaint) {
  methods = session.methods;
  for (const each of findAll("body > *:not(script)")) {
    if (each !== view && each.id !== "notices") each.inert = true;
  }
  view.hidden = false;
  choose(methods.includes("password") ? "password" : "token");
  complain(complaint);
  return new Promise((resolve) => {
    done = (found) => {
      done = null;
      view.hidden = true;
      for (const each of findAll("body > *")) each.inert = false;
      resolve(found);
    };
  });
}

function choose(method) {
  shown = methods.includes(method) ? method : null;
  const signOn = find("[data-method=sign-on]", view);
  signOn.hidden = !methods.includes("sign-on");
  signOn.href = `/session/sign-on?next=${encodeURIComponent(location.pathname + location.hash)}`;
  for (const form of findAll("form", view)) form.hidden = form.dataset.method !== shown;
  const alternative = shown === "password" ? "token" : "password";
  other.hidden = !shown || !methods.includes(alternative);
  other.dataset.other = alternative;
  other.textContent = t(`base.use_${alternative}`);
  find(shown ? `form[data-method=${shown}] input` : "[data-method=sign-on]", view).focus();
}

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

async function submit(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const given = Object.fromEntries(new FormData(form));
  const button = find("button", form);
  for (const name of ["email", "token"]) if (name in given) given[name] = given[name].trim();
  button.disabled = true;
  complain("");
  try {
    const found = await api("POST", "/session", given);
    form.reset();
    done?.(found);
  } catch (error) {
    complain(error.status === 401 ? t(`base.wrong_${form.dataset.method}`) : told(error));
    const last = findAll("input", form).at(-1); // the secret: the likelier one to be wrong
    last.focus();
    last.select();
  } finally {
    button.disabled = false;
  }
}

for (const form of findAll("form", view)) form.addEventListener("submit", submit);
other.addEventListener("click", () => (complain(""), choose(other.dataset.other)));
onLanguage(() => !view.hidden && choose(shown));
