import { type Command, Option } from "commander";
import { addClientOptions, type ClientOptions, topicName } from "./client.ts";
import { integer, seconds } from "./option_values.ts";
import { propertyNames } from "./pub/properties.ts";

/** The options of the command `pub`, as they were given. */
export interface PubOptions extends ClientOptions {
  topic: string;
  message?: string;
  nullMessage?: true;
  file?: string;
  stdinLine?: true;
  stdinFile?: true;
  retain?: true;
  repeat: number;
  repeatDelay: number;
  property?: string[];
}

/** Adds the command `pub`, which publishes messages. */
export function addPubCommand(program: Command): void {
  const sources = ["message", "nullMessage", "file", "stdinLine", "stdinFile"];
  const source = (flags: string, description: string) => {
    const option = new Option(flags, description);
    return option.conflicts(sources.filter((name) => name !== option.attributeName()));
  };
  const command = program.command("pub").description("Publish messages.");
  command
    .addOption(new Option("-t, --topic <topic>", "topic to publish to").argParser(topicName).makeOptionMandatory())
    .addOption(source("-m, --message <text>", "publish this text"))
    .addOption(source("-n, --null-message", "publish an empty message; with -r it removes the retained one"))
    .addOption(source("-f, --file <path>", "publish the content of a file"))
    .addOption(source("-l, --stdin-line", "publish each line of standard input as a message"))
    .addOption(source("-s, --stdin-file", "publish all of standard input as one message"))
    .option("-r, --retain", "make it a retained message")
    .addOption(
      new Option("--repeat <count>", "publish the message so many times").default(1).argParser(integer(1, 2 ** 31)),
    )
    .addOption(new Option("--repeat-delay <seconds>", "wait between repeats").default(0).argParser(seconds))
    .option(
      "-D, --property <words...>",
      "MQTT 5 property: publish NAME VALUE, or publish user-property NAME VALUE; may be repeated. " +
        `NAME is one of ${propertyNames.join(", ")}`,
    );
  addClientOptions(command)
    .addHelpText(
      "after",
      `
Exits with 0 once the broker has acknowledged every message (at QoS 0: once the bytes are sent).

Examples:
  hookmq pub -t kitchen/temperature -m 21.5
  hookmq pub -t kitchen/temperature -m 21.5 -q 1 -r -u anna -P secret
  hookmq pub -L mqtts://broker.example.org --cafile authority.pem -t kitchen/temperature -m 21.5
  tail -f sensor.log | hookmq pub -t sensor/log -l
  hookmq pub -V 5 -t jobs -m '{}' -D publish content-type application/json -D publish user-property origin shell`,
    )
    .action(async (options: PubOptions) => {
      // Only now, since the other commands do without MQTT.js.
      const { pub } = await import("./pub/run.ts");
      await pub(options);
    });
}
