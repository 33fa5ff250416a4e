import { type Command, InvalidArgumentError, Option } from "commander";
import type { IPublishPacket } from "mqtt";
import { isTopicName } from "../codec/topic.ts";
import { type AddressOptions, readBrokerUrl } from "./client/broker_address.ts";
import { integer } from "./option_values.ts";

/** What `pub` and `sub` have in common; the options are named as mosquitto_pub and mosquitto_sub name theirs. */
export interface ClientOptions extends AddressOptions {
  qos: IPublishPacket["qos"];
  id?: string;
  username?: string;
  pw?: string;
  protocolVersion: 3 | 4 | 5;
  keepalive: number;
  disableCleanSession?: true;
  sessionExpiryInterval?: number;
  willTopic?: string;
  willPayload?: string;
  willQos: IPublishPacket["qos"];
  willRetain?: true;
  debug?: true;
  quiet?: true;
}

/** As a session expiry interval: never. */
export const neverExpires = 0xffffffff;

/** Adds the options of {@linkcode ClientOptions} to a command. */
export function addClientOptions(command: Command): Command {
  return command.optionsGroup("Options of the connection:")
    .option("-h, --host <host>", "the broker's host", "127.0.0.1")
    .addOption(
      new Option("-p, --port <number>", "the broker's port (default: 1883, with TLS 8883)").argParser(
        integer(1, 65535),
      ),
    )
    .addOption(
      new Option(
        "-L, --url <url>",
        "in place of these: mqtt://, mqtts://, ws:// or wss://[NAME[:PASSWORD]@]HOST[:PORT]",
      )
        .argParser(readBrokerUrl).conflicts(["host", "port"]),
    )
    .option("--tls", "speak TLS; each of the next three says so, too")
    .option("--cafile <file>", "trust a broker whose certificate is from this authority, as PEM")
    .option("--cert <file>", "certificate of this client, as PEM")
    .option("--key <file>", "and its private key, as PEM")
    .addOption(new Option("-q, --qos <level>", "quality of service: 0, 1 or 2").default(0).argParser(integer(0, 2)))
    .option("-i, --id <id>", "client id (default: a new one each time)")
    .option("-u, --username <name>", "user name")
    .option("-P, --pw <password>", "password")
    .addOption(
      new Option("-V, --protocol-version <version>", "mqttv31, mqttv311 or mqttv5; 31, 311 or 5 for short")
        .default(4, "mqttv311")
        .argParser(protocolVersion),
    )
    .addOption(
      new Option("-k, --keepalive <seconds>", "keep alive interval").default(60).argParser(integer(0, 65535)),
    )
    .option("-c, --disable-clean-session", "keep the session when this client leaves, and take up an earlier one")
    .addOption(
      new Option(
        "-x, --session-expiry-interval <seconds>",
        "MQTT 5: how long the session outlives the connection; -1 is for ever (default: -1 with -c, else 0)",
      ).argParser(sessionExpiryInterval),
    )
    .addOption(new Option("--will-topic <topic>", "topic of the will").argParser(topicName))
    .option("--will-payload <text>", "payload of the will")
    .addOption(new Option("--will-qos <level>", "QoS of the will").default(0).argParser(integer(0, 2)))
    .option("--will-retain", "make the will a retained message")
    .option("-d, --debug", "print the packets that are sent and received, on stderr")
    .option("--quiet", "print no error messages")
    .helpOption("--help", "show this help");
}

/** Reads an option's value as a topic name: what a message can be published to. */
export function topicName(value: string): string {
  if (!isTopicName(value)) throw new InvalidArgumentError("A topic to publish to is not empty and has no + and #.");
  return value;
}

function protocolVersion(value: string): 3 | 4 | 5 {
  switch (value) {
    case "mqttv31":
    case "31":
      return 3;
    case "mqttv311":
    case "311":
      return 4;
    case "mqttv5":
    case "5":
      return 5;
    default:
      throw new InvalidArgumentError("It must be mqttv31, mqttv311 or mqttv5.");
  }
}

function sessionExpiryInterval(value: string): number {
  return value === "-1" || value === "∞" ? neverExpires : integer(0, neverExpires)(value);
}
