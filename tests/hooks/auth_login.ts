import assert from "node:assert/strict";
import type { BrokerOptions, Logger, ProtocolLevel } from "../../mod.ts";
import { type ConnectOptions, connectPacket } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { type AuthHook, authHook, type AuthOptions } from "../../hooks/mod.ts";

/** How long a test waits, in milliseconds. */
const DEADLINE = 10_000;

/** A broker with an authHook, and the hook. */
export async function startBrokerWith(
  options: AuthOptions,
  brokerOptions?: BrokerOptions,
): Promise<{ broker: TestBroker; auth: AuthHook }> {
  const broker = await startBroker(brokerOptions);
  const auth = authHook(options);
  try {
    await broker.use(auth);
  } catch (error) {
    await broker.close();
    throw error;
  }
  return { broker, auth };
}

/** Connects and returns what the CONNACK says; a client that is refused is disconnected. Connections stay open. */
export async function logIn(broker: TestBroker, options: ConnectOptions): Promise<number> {
  const client = await broker.open();
  await client.send(connectPacket({ clientId: crypto.randomUUID().slice(0, 8), ...options }));
  const { reasonCode } = await client.expect("connack");
  if (reasonCode !== 0) await client.expectClosed();
  return reasonCode;
}

/** What the CONNACK says, in MQTT 5 and before it. */
export function answer(level: ProtocolLevel, mqtt5: number, mqtt3: number): number {
  return level === 5 ? mqtt5 : mqtt3;
}

/** Resolves as soon as the condition holds; it is looked at in every turn of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${DEADLINE} ms in vain for ${condition}`);
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** What a broker has logged, and a way to wait until it does. */
export interface RecordingLogger extends Logger {
  /** One line a record: severity, message, and the properties. */
  readonly lines: string[];
  /** Resolves with the first line that matches and has not been asked for before. */
  logged(pattern: RegExp): Promise<string>;
}

export function recordingLogger(): RecordingLogger {
  const lines: string[] = [];
  let unseen = 0;
  let added = Promise.withResolvers<void>();
  const write = (severity: string) => (message: string, properties?: Record<string, unknown>) => {
    lines.push(`${severity}: ${message} ${Deno.inspect(properties, { breakLength: Infinity, depth: 10 })}`);
    added.resolve();
    added = Promise.withResolvers();
  };
  const find = async (pattern: RegExp) => {
    for (;;) {
      for (; unseen < lines.length; unseen++) {
        if (pattern.test(lines[unseen])) return lines[unseen++];
      }
      await added.promise;
    }
  };
  return {
    lines,
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    async logged(pattern) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new assert.AssertionError({ message: missing(pattern, lines) })), DEADLINE);
      });
      try {
        return await Promise.race([find(pattern), late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function missing(pattern: RegExp, lines: string[]): string {
  return `nothing was logged in ${DEADLINE} ms that matches ${pattern}, but:\n${lines.join("\n")}`;
}
