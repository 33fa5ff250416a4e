import { Buffer } from "node:buffer";
import type { ErrorWithSubackPacket, MqttClient } from "mqtt";
import { ReasonCode } from "../../codec/reason_code.ts";
import { connect, createClient, disconnect } from "../client/connection.ts";
import { Failure } from "../failure.ts";
import { parseFormat } from "../format.ts";
import { refusal } from "../refusal.ts";
import { onTerminationSignal } from "../signals.ts";
import type { SubOptions } from "../sub.ts";

const timedOut = 27;
const reconnectAfterMilliseconds = 1000;

/**
 * Subscribes, and prints the messages that come, until enough have come or a signal ends it.
 *
 * @throws {Failure} If that cannot be done, or takes longer than it may.
 */
export async function sub(options: SubOptions): Promise<void> {
  if (options.topic === undefined && options.unsubscribe === undefined) {
    throw new Failure("what shall be subscribed to? add -t", 2);
  }
  const client = await createClient(options);
  const finished = Promise.withResolvers<void>();
  using _signals = onTerminationSignal(() => finished.resolve());
  const timer = options.timeout === undefined ? undefined : setTimeout(() => {
    finished.reject(new Failure(`timed out after ${options.timeout} seconds`, timedOut));
  }, options.timeout * 1000);
  printMessages(client, options, finished.resolve);
  const subscribeAndStay = async () => {
    await connect(client);
    stayConnected(client, options, finished.reject);
    await subscribe(client, options);
    if (!options.exitAfterSubscribe) await finished.promise;
  };
  try {
    await Promise.race([subscribeAndStay(), finished.promise]);
  } finally {
    clearTimeout(timer);
    await disconnect(client);
  }
}

/** Prints the messages that come, and calls `finish` after the last one that was asked for. */
function printMessages(client: MqttClient, options: SubOptions, finish: () => void): void {
  const format = options.format ?? parseFormat(options.verbose ? "%t %p" : "%p");
  const endOfLine = new TextEncoder().encode(options.newline ? "\n" : "");
  let remaining = options.count ?? Infinity;
  client.handleMessage = async (packet, acknowledge) => {
    // What comes after the last message is not acknowledged, so that it stays in the session.
    if (remaining === 0) return;
    if (options.removeRetained && packet.retain) client.publish(packet.topic, "", { qos: 1, retain: true });
    if (options.retainedOnly && !packet.retain) {
      remaining = 0;
    } else if (options.retained || !packet.retain) {
      try {
        await write(Buffer.concat([format(packet), endOfLine]));
        remaining--;
      } catch {
        // Nobody reads our output any more, as with `hookmq sub … | head -1`.
        remaining = 0;
      }
    }
    acknowledge();
    if (remaining === 0) finish();
  };
}

async function write(bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await Deno.stdout.write(bytes.subarray(written));
}

/** Makes the connection again when it breaks, and calls `fail` when the broker does not want this client any more. */
function stayConnected(client: MqttClient, options: SubOptions, fail: (failure: Failure) => void): void {
  client.options.reconnectPeriod = reconnectAfterMilliseconds;
  client.on("offline", () => {
    if (!options.quiet) console.error("hookmq: the connection is lost, reconnecting");
  });
  client.on("error", (error) => {
    // A socket's error has a word as its code: then the broker is tried again.
    if ("code" in error && typeof error.code === "number") {
      fail(new Failure(`the broker refused the connection: ${refusal(error.code)}`));
    }
  });
  client.on("disconnect", ({ reasonCode }) => {
    // Reconnecting would take the session back, and the two clients would go on doing so to each other.
    if (reasonCode === ReasonCode.SessionTakenOver) fail(new Failure("another client took over this session"));
  });
}

async function subscribe(client: MqttClient, { topic, unsubscribe, qos }: SubOptions): Promise<void> {
  if (topic !== undefined) {
    await client.subscribeAsync(topic, { qos }).catch((error) => {
      throw new Failure(subscribeProblem(topic, error));
    });
  }
  if (unsubscribe !== undefined) await client.unsubscribeAsync(unsubscribe);
}

function subscribeProblem(filters: string[], error: Error | ErrorWithSubackPacket): string {
  if (!("packet" in error)) return `cannot subscribe: ${error.message}`;
  const reasonCodes = error.packet.granted as number[];
  const refused = reasonCodes.findIndex((reasonCode) => reasonCode >= ReasonCode.UnspecifiedError);
  return `the broker refused the subscription to "${filters[refused]}": ${refusal(reasonCodes[refused], error.packet)}`;
}
