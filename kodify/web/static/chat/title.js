// A chat's title of its first message, until somebody gives it another.

const LONGEST = 60;

export function titleOf(message) {
  const line = message.replace(/^File `.*$/m, (named) => named.slice(6, -2)).split("\n").map((each) => each.trim()).find(Boolean) ?? "";
  if (line.length <= LONGEST) return line;
  const cut = line.slice(0, LONGEST);
  const space = cut.lastIndexOf(" ");
  return `${cut.slice(0, space > LONGEST / 2 ? space : LONGEST)}…`;
}
