import { Buffer } from "node:buffer";

/** A value in a command to Redis. */
export type RedisValue = string | number | Uint8Array;

/** A command to Redis, e.g. `["SADD", "a-set", "a member"]`. */
export type RedisCommand = readonly [name: string, ...values: RedisValue[]];

/** Bytes of Redis as an array of its own kind, parts of which are no Buffers either. */
export function toBytes(value: Uint8Array): Uint8Array {
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** Values as ioredis takes them: it knows bytes only as a Buffer. */
export function toArguments(values: readonly RedisValue[]): (string | number | Buffer)[] {
  return values.map((value) =>
    value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value
  );
}
