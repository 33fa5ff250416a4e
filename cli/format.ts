import { Buffer } from "node:buffer";
import { InvalidArgumentError } from "commander";
import type { IPublishPacket } from "mqtt";

type Part = (packet: IPublishPacket) => string | Uint8Array;

/** What stands behind a `%` in a format, as mosquitto_sub has it. */
const fields: Record<string, Part> = {
  "%": () => "%",
  t: ({ topic }) => topic,
  p: ({ payload }) => payload,
  x: ({ payload }) => Buffer.from(payload).toString("hex"),
  l: ({ payload }) => String(payload.length),
  q: ({ qos }) => String(qos),
  r: ({ retain }) => String(Number(retain)),
  m: ({ messageId }) => String(messageId ?? 0),
  C: ({ properties }) => properties?.contentType ?? "",
  D: ({ properties }) => properties?.correlationData ?? "",
  E: ({ properties }) => String(properties?.messageExpiryInterval ?? ""),
  F: ({ properties }) =>
    properties?.payloadFormatIndicator === undefined ? "" : String(Number(properties.payloadFormatIndicator)),
  P: ({ properties }) => userProperties(properties).map(([name, value]) => `${name}:${value}`).join(" "),
  R: ({ properties }) => properties?.responseTopic ?? "",
  S: ({ properties }) => [properties?.subscriptionIdentifier ?? []].flat().join(" "),
};

const escapes: Record<string, string> = { n: "\n", t: "\t", r: "\r", "0": "\0", "\\": "\\" };

function userProperties(properties: IPublishPacket["properties"]): [name: string, value: string][] {
  return Object.entries(properties?.userProperties ?? {})
    .flatMap(([name, values]) => [values].flat().map((value): [string, string] => [name, value]));
}

/**
 * Reads a format of `sub -F`, e.g. `"%t: %p"`, and returns what turns a message into its bytes on standard output.
 *
 * @throws {InvalidArgumentError} If something else than a known field stands behind a `%` or a backslash.
 */
export function parseFormat(format: string): (packet: IPublishPacket) => Buffer {
  const parts = [...format.matchAll(/%(?<field>.?)|\\(?<escape>.?)|[^%\\]+/gsu)].map(([text, field, escape]): Part => {
    if (field !== undefined) return fields[field] ?? unknown(text, Object.keys(fields).map((name) => `%${name}`));
    if (escape === undefined) return () => text;
    const character = escapes[escape] ?? unknown(text, Object.keys(escapes).map((name) => `\\${name}`));
    return () => character;
  });
  return (packet) => Buffer.concat(parts.map((part) => Buffer.from(part(packet))));
}

function unknown(text: string, known: string[]): never {
  throw new InvalidArgumentError(`"${text}" is unknown; there are ${known.join(" ")}.`);
}
