// What the server must know before it makes the page: the reader's language and colours.

const YEAR_S = 365 * 24 * 3600;

export function keep(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${value ? YEAR_S : 0}; SameSite=Strict${secure}`;
}
