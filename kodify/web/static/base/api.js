// Requests to Kodify: JSON both ways, errors as one kind.

export class ApiError extends Error {
  /** `status` 0: Kodify could not be reached. `retryAfterS`: when the server says when. */
  constructor(status, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

let onSignedOut = () => {};

/** `follower` is called when an answer says that nobody is signed in. */
export function whenSignedOut(follower) {
  onSignedOut = follower;
}

/** The answer's JSON, or null where it has none. Raises ApiError. */
export async function api(method, path, body, { signal } = {}) {
  const headers = { "X-Kodify-Page": "1", Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
  const found = await json(answer);
  if (answer.ok) return found;
  const retryAfter = Number.parseInt(answer.headers.get("retry-after") ?? "", 10);
  const error = new ApiError(answer.status, found?.message ?? "", Number.isNaN(retryAfter) ? null : retryAfter);
  if (answer.status === 401 && path !== "/session") onSignedOut(error);
  throw error;
}

async function json(answer) {
  if (!answer.headers.get("content-type")?.startsWith("application/json")) return null;
  try {
    return await answer.json();
  } catch {
    return null;
  }
}
