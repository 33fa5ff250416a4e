/** How many characters of one text are written out. */
const SHOWN_CHARACTERS = 1024;

/**
 * A text as it may stand in a log: control characters, line breaks, escape sequences, invisible characters and those that
 * change the direction of writing become `\u{…}`, a backslash becomes two, and what is too long is cut.
 */
export function escapeForLog(text: string): string {
  if (text.length > SHOWN_CHARACTERS) {
    return `${escapeForLog(text.slice(0, SHOWN_CHARACTERS))}… (${text.length} characters)`;
  }
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}\\]/gu,
    (character) => character === "\\" ? "\\\\" : `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
