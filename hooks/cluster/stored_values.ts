import { decode, encode } from "@msgpack/msgpack";
import type { StoredSession, StoredSubscription } from "../../broker/hooks.ts";
import type { ProtocolLevel, Qos, Will } from "../../codec/mod.ts";
import { type RedisValue, toBytes } from "./command.ts";
import type { SessionFields } from "./scripts.ts";

/** A session expiry interval that means "never". */
export const NEVER_EXPIRES = 0xffff_ffff;

const decoder = new TextDecoder();

export function toText(value: Uint8Array | null): string {
  return value === null ? "" : decoder.decode(value);
}

/** A will as it is stored; empty if there is none. */
export function encodeWill(will: Will | undefined): Uint8Array {
  return will === undefined ? new Uint8Array() : encode(will, { ignoreUndefined: true });
}

/** The terms of a subscription, as they are stored under its filter. */
type EncodedTerms = [qos: Qos, noLocal: boolean, retainAsPublished: boolean, identifiers: readonly number[] | null];

export function encodeTerms({ qos, noLocal, retainAsPublished, identifiers }: StoredSubscription): Uint8Array {
  const terms: EncodedTerms = [qos, noLocal, retainAsPublished, identifiers ?? null];
  return encode(terms);
}

export function decodeSubscription(topicFilter: string, value: Uint8Array): StoredSubscription {
  const [qos, noLocal, retainAsPublished, identifiers] = decode(toBytes(value)) as EncodedTerms;
  return { topicFilter, qos, noLocal, retainAsPublished, identifiers: identifiers ?? undefined };
}

/** A session's fields for HSET, without those that are not there. */
export function sessionValues(session: StoredSession): RedisValue[] {
  const { protocolLevel, username, expiryInterval, disconnectedAt, will } = session;
  const values: RedisValue[] = ["durable", 1, "level", protocolLevel, "expiry", expiryInterval];
  if (username !== undefined) values.push("username", username);
  if (disconnectedAt !== undefined) values.push("disconnectedAt", disconnectedAt);
  if (will !== undefined) values.push("will", encodeWill(will));
  return values;
}

/** What {@linkcode sessionValues} leaves out of a session, to be removed. */
export function missingFields({ username, disconnectedAt, will }: StoredSession): string[] {
  return Object.entries({ username, disconnectedAt, will })
    .filter(([, value]) => value === undefined).map(([name]) => name);
}

/** What a session was when it was claimed, or adopted. */
export interface FormerSession extends StoredSession {
  /** Where its client was connected; empty if it was not. */
  readonly node: string;
  /** Which node looked after it; empty if there was no session. */
  readonly home: string;
  /** Under what it was that node's. */
  readonly claim: string;
  readonly isDurable: boolean;
  /** The number of the last message in its queue. */
  readonly last: number;
}

export function formerSession(clientId: string, fields: SessionFields): FormerSession {
  const [node, home, epoch, durable, level, username, expiry, disconnectedAt, will, last] = fields;
  return {
    clientId,
    node: toText(node),
    home: toText(home),
    claim: toText(epoch),
    isDurable: durable !== null,
    protocolLevel: level === null ? 4 : Number(toText(level)) as ProtocolLevel,
    username: username === null ? undefined : toText(username),
    // A durable session without one has been lost by Redis, and its node has not said all about it again yet.
    expiryInterval: durable === null ? 0 : expiry === null ? NEVER_EXPIRES : Number(toText(expiry)),
    disconnectedAt: disconnectedAt === null ? undefined : Number(toText(disconnectedAt)),
    will: will === null ? undefined : decode(toBytes(will)) as Will,
    last: Number(toText(last)),
  };
}
