import { type Command, InvalidArgumentError, Option } from "commander";
import type { IPublishPacket } from "mqtt";
import { isTopicFilter } from "../codec/topic.ts";
import { addClientOptions, type ClientOptions } from "./client.ts";
import { parseFormat } from "./format.ts";
import { collect, integer, seconds } from "./option_values.ts";

/** The options of the command `sub`, as they were given. */
export interface SubOptions extends ClientOptions {
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
    .action(async (options: SubOptions) => {
      // Only now, since the other commands do without MQTT.js.
      const { sub } = await import("./sub/run.ts");
      await sub(options);
    });
}

function filters(value: string, previous?: string[]): string[] {
  if (!isTopicFilter(value)) {
    throw new InvalidArgumentError("A topic filter has + and # only as whole levels, and # only as the last one.");
  }
  return collect(value, previous);
}
