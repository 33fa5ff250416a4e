import { malformed, quote } from "./errors.ts";

// A byte order mark is a character like any other [MQTT-1.5.4-3]; `ignoreBOM` is what keeps it.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Below this many bytes, plain ASCII is put together faster here than by a call into the runtime. */
const SHORT = 32;

/**
 * The string that `bytes[start, end)` holds.
 *
 * @throws {PacketError} 0x81 if the bytes are not well-formed UTF-8 [MQTT-1.5.4-1] or hold U+0000 [MQTT-1.5.4-2].
 */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT) {
    let text = "";
    let index = start;
    for (; index < end; index++) {
      const byte = bytes[index];
      if (byte === 0 || byte >= 0x80) break;
      text += String.fromCharCode(byte);
    }
    if (index === end) return text;
  }
  let text: string;
  try {
    text = decoder.decode(bytes.subarray(start, end));
  } catch {
    throw malformed("string is not well-formed UTF-8");
  }
  if (text.includes("\0")) throw malformed("string holds U+0000");
  return text;
}

/**
 * The UTF-8 bytes of a string.
 *
 * @throws {RangeError} If the string holds U+0000 or a lone surrogate, or needs more than 65,535 bytes: MQTT cannot
 * carry it (MQTT 5.0 section 1.5.4).
 */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  if (!text.isWellFormed()) throw new RangeError(`string ${quote(text)} holds a lone surrogate`);
  if (text.includes("\0")) throw new RangeError(`string ${quote(text)} holds U+0000`);
  const bytes = encoder.encode(text);
  if (bytes.length > 0xffff) {
    throw new RangeError(`string ${quote(text)} is ${bytes.length} bytes long; at most 65,535 are allowed`);
  }
  return bytes;
}
