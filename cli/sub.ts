import { Buffer } from "node:buffer";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ErrorWithSubackPacket, IPublishPacket, MqttClient } from "mqtt";
import { ReasonCode } from "../codec/reason_code.ts";
import { isTopicFilter } from "../codec/topic.ts";
import { addClientOptions, type ClientOptions, connect, createClient, disconnect, refusal } from "./client.ts";
import { Failure } from "./failure.ts";
import { parseFormat } from "./format.ts";
import { collect, integer, seconds } from "./option_values.ts";
import { onTerminationSignal } from "./signals.ts";

interface SubOptions extends ClientOptions {
  topic?: string[];
  unsubscribe?: string[];
  verbose?: true;
  format?: (packet: IPublishPacket) => Uint8Array;
  newline: boolean;
  count?: number;
  timeout?: number;
  retained: boolean;
  retainedOnly?: true;
  removeRetained?: true;
  exitAfterSubscribe?: true;
}

const timedOut = 27;
const reconnectAfterMilliseconds = 1000;

/** Adds the command `sub`, which subscribes and prints the messages that come. */
export function addSubCommand(program: Command): void {
  const command = program.command("sub").description("Subscribe to topics and print the messages that come.");
  command
    .addOption(new Option("-t, --topic <filter>", "topic filter to subscribe to; may be repeated").argParser(filters))
    .option("-v, --verbose", "print the topic before each message")
    .addOption(
      new Option("-F, --format <format>", "how to print a message: %t topic, %p payload, … (see below)")
        .argParser(parseFormat).conflicts("verbose"),
    )
    .option("-N, --no-newline", "print no end of line after a message")
    .addOption(new Option("-C, --count <count>", "exit after so many messages").argParser(integer(1, 2 ** 31)))
    .addOption(new Option("-W, --timeout <seconds>", "exit with 27 after so many seconds").argParser(seconds))
    .option("-R, --no-retained", "do not print retained messages")
    .option("--retained-only", "print retained messages only, and exit at the first other one")
    .option("--remove-retained", "remove every retained message that comes from the broker")
    .addOption(
      new Option("-U, --unsubscribe <filter>", "topic filter to unsubscribe from; may be repeated").argParser(filters),
    )
    .option("-E, --exit-after-subscribe", "exit once the broker has acknowledged the subscriptions");
  addClientOptions(command)
    .addHelpText(
      "after",
      `
Fields of -F: %t topic, %p payload, %x payload in hexadecimal, %l payload length, %q QoS, %r retained, %m packet
identifier, %% a percent sign; of MQTT 5: %C content type, %D correlation data, %E message expiry interval, %F payload
format indicator, %P user properties, %R response topic, %S subscription identifiers. \\n and \\t are understood too.

When the connection breaks it is made again. Ctrl+C leaves in order and exits with 0.

Examples:
  hookmq sub -t 'kitchen/#' -v
  hookmq sub -t jobs -q 2 -c -i worker-1
  hookmq sub -V 5 -t '$share/workers/jobs' -F '%t %q %P\\n%p'
  hookmq sub -t '#' --remove-retained -R -W 2`,
    )
    .action(sub);
}

function filters(value: string, previous?: string[]): string[] {
  if (!isTopicFilter(value)) {
    throw new InvalidArgumentError("A topic filter has + and # only as whole levels, and # only as the last one.");
  }
  return collect(value, previous);
}

async function sub(options: SubOptions): Promise<void> {
  if (options.topic === undefined && options.unsubscribe === undefined) {
    throw new Failure("what shall be subscribed to? add -t", 2);
  }
  const client = createClient(options);
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
