import { type Command, InvalidArgumentError, Option } from "commander";
import type { BenchOptions } from "./bench/run.ts";
import { scenarioNames } from "./bench/scenario.ts";
import { topicName } from "./client.ts";
import { integer, seconds } from "./option_values.ts";

const most = 2 ** 31;

/** Adds the command `bench`, which puts a load on a broker and says what came of it. */
export function addBenchCommand(program: Command): void {
  program.command("bench")
    .description("Put a load on a broker, any broker, and measure how many messages it delivers, and how fast.")
    .addOption(
      new Option("--scenario <name>", "who publishes to whom, see below").choices(scenarioNames).default("pairs"),
    )
    .addOption(
      new Option("--publishers <count>", "clients that publish (default: 50, fan-out 1, wildcards 20)").argParser(
        integer(1, 10_000),
      ),
    )
    .addOption(
      new Option("--subscribers <count>", "clients that subscribe (default: 50, fan-in 1, wildcards 20, spread 1000)")
        .argParser(
          integer(1, 10_000),
        ),
    )
    .addOption(
      new Option("--topics-per-subscriber <count>", "with spread: topics to which each of them subscribes").default(100)
        .argParser(integer(1, 5000)),
    )
    .addOption(new Option("-q, --qos <level>", "quality of service: 0, 1 or 2").default(0).argParser(integer(0, 2)))
    .addOption(
      new Option("--payload <bytes>", "payload of each message, from 16 to 65536").default(64)
        .argParser(integer(16, 65_536)),
    )
    .option("--properties", "give messages properties; with --level 5")
    .addOption(
      new Option("--window <messages>", "how far each publisher may be ahead of the slowest of its subscribers")
        .argParser(integer(1, 65_535)).conflicts("rate"),
    )
    .addOption(
      new Option("--rate <messages>", "messages per second, of all publishers (default: as fast as they are delivered)")
        .argParser(integer(1, most)),
    )
    .addOption(
      new Option("--storm <rate>", "subscriptions per second that are made and ended again beside the messages")
        .argParser(integer(1, 100_000)),
    )
    .addOption(new Option("--seconds <seconds>", "time measured").default(10).argParser(positiveSeconds))
    .addOption(new Option("--warm-up <seconds>", "time before that").default(1).argParser(seconds))
    .addOption(
      new Option("-t, --topic <topic>", "what the topics begin with, e.g. bench/000").default("bench")
        .argParser(topicName),
    )
    .addOption(
      new Option(
        "--broker-pid <pid>",
        "the broker's process on this machine, to have its CPU and memory as well (Linux)",
      )
        .argParser(integer(1, most)),
    )
    .option("--json", "print the figures as JSON, and no progress")
    .optionsGroup("Options of the connection:")
    .option("-h, --host <host>", "the broker's host", "127.0.0.1")
    .addOption(new Option("-p, --port <number>", "the broker's port").default(1883).argParser(integer(1, 65535)))
    .addOption(
      new Option("--transport <name>", "what MQTT runs over: TCP, TLS, or WebSocket at the path /mqtt")
        .choices(["tcp", "tls", "ws"]).default("tcp"),
    )
    .option("--cafile <file>", "over TLS: certificates to trust besides those that the system trusts, as PEM")
    .option("-u, --username <name>", "user name")
    .option("-P, --pw <password>", "password")
    .addOption(
      new Option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0").default(4)
        .argParser(integer(4, 5)),
    )
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
Scenarios:
  pairs      a topic for each publisher; the subscribers are shared out evenly among the topics
  fan-in     one topic, many publishers
  fan-out    one topic, many subscribers, who all get every message
  wildcards  a topic for each publisher; the subscribers' wildcards match all of them
  shared     one topic, whose messages are shared out among the subscribers by a shared subscription
  spread     many topics, some for each subscriber; each publisher publishes to its share of them in turn
  connect    the publishers connect, leave and begin anew; connections are counted instead of messages

Without --rate it is measured how much the broker can do: a publisher goes on as soon as its earlier messages have
arrived, so that the broker always has work and never too much. How long a message takes is then a matter of --window; what
a broker needs by itself shows at a --rate below its limits. Lost are deliveries that never came, duplicates those that came
again or out of order.

Exits with 0 if every message arrived once, otherwise with 1. It loads the broker and this machine as much as it can.

Examples:
  hookmq bench
  hookmq bench -h broker.example.net -u anna -P secret --qos 1 --publishers 10
  hookmq bench --scenario fan-out --subscribers 500 --payload 1024 --level 5
  hookmq bench --rate 5000 --seconds 60
  hookmq bench --json > figures.json`,
    )
    .action(async (options: BenchOptions) => {
      // Only now, since the other commands are done in less time than all of this takes to load.
      const { bench } = await import("./bench/run.ts");
      await bench(options);
    });
}

function positiveSeconds(value: string): number {
  const number = seconds(value);
  if (number === 0) throw new InvalidArgumentError("It must be above 0.");
  return number;
}
