// Errors in words for a person: what happened, and what can be done.

import { ApiError } from "./api.js";
import { notify } from "./notices.js";
import { t } from "./texts.js";

export function told(error) {
  if (!(error instanceof ApiError)) return t("base.broken");
  if (error.status === 0) return t(navigator.onLine ? "base.unreachable" : "base.offline");
  if (error.status === 401) return t("base.signed_out");
  if ([429, 503].includes(error.status) && error.retryAfterS !== null) {
    return `${error.message} ${t("base.retry_after", { seconds: error.retryAfterS })}`.trim();
  }
  return error.message || t("base.refused", { status: error.status });
}

/** Shows what went wrong; `again` is offered where it may go better later. */
export function showProblem(error, again = null) {
  if (error.name === "AbortError" || error.status === 401) return; // nobody waits for it; or the sign-in view comes
  if (!(error instanceof ApiError)) console.error(error);
  const mayPass = error.status === 0 || error.status >= 429;
  notify(told(error), { bad: true, act: again && mayPass ? { label: t("base.try_again"), run: again } : null });
}
