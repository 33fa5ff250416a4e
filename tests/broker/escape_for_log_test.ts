import assert from "node:assert/strict";
import { escapeForLog } from "../../broker/escape_for_log.ts";

Deno.test("escapeForLog leaves readable text alone, in any language", () => {
  const text = 'café/キッチン/кухня/مطبخ/🌡️ 21.5 °C {clientId} "quoted"';
  assert.equal(escapeForLog(text), text);
});

for (
  const [what, text, escaped] of [
    ["line breaks", "\r\n\u0085\u2028\u2029", "\\u{d}\\u{a}\\u{85}\\u{2028}\\u{2029}"],
    ["ANSI escape sequences", "\x1b[31m\x9b31m", "\\u{1b}[31m\\u{9b}31m"],
    ["controls of the direction of writing", "\u061c\u200e\u200f\u202a\u202e\u2066\u2069", undefined],
    ["invisible characters", "\u00ad\u200b\u200d\ufeff\u{e0001}", undefined],
    ["NUL, BEL, backspace, DEL", "\0\x07\b\x7f", "\\u{0}\\u{7}\\u{8}\\u{7f}"],
    ["lone surrogates", "\ud800", "\\u{d800}"],
    ["what looks escaped already", "\\u{a}", "\\\\u{a}"],
  ] as const
) {
  Deno.test(`escapeForLog escapes ${what}`, () => {
    const expected = escaped ?? [...text].map((character) => `\\u{${character.codePointAt(0)!.toString(16)}}`).join("");
    assert.equal(escapeForLog(text), expected);
  });
}

Deno.test("escapeForLog cuts what is too long", () => {
  assert.equal(escapeForLog("x".repeat(1024)), "x".repeat(1024));
  assert.equal(escapeForLog("x".repeat(65_535)), `${"x".repeat(1024)}… (65535 characters)`);
});
