import type { LocalBroker } from "../brokers.ts";
import { executable } from "../executable.ts";

/** A broker in one of its configurations. */
export interface Variant {
  name: string;
  /** How it is started with a directory of its own. */
  broker(directory: string): LocalBroker;
}

const cli = `${import.meta.dirname}/../../cli.ts`;

/** The brokers that are installed here, those that keep everything in memory as well. */
export const variants: Variant[] = ([
  { name: "hookmq", broker: (directory) => hookmq("--data", `${directory}/hookmq.db`) },
  { name: "hookmq --memory", broker: () => hookmq("--memory") },
  {
    name: "mosquitto, persistence",
    // It writes its file every half an hour, and when it ends: what it has acknowledged meanwhile a crash takes away.
    broker: (directory) => mosquitto(`persistence true\npersistence_location ${directory}/\n`),
  },
  { name: "mosquitto, memory", broker: () => mosquitto("persistence false\n") },
] satisfies Variant[]).filter(({ broker }) => broker("").program !== undefined);

function hookmq(...sessions: string[]): LocalBroker {
  return {
    program: Deno.execPath(),
    commandArguments: (port) => ["run", "-A", cli, "serve", "--port", String(port), ...sessions],
  };
}

function mosquitto(persistence: string): LocalBroker {
  return {
    program: executable("mosquitto"),
    // No limit of its own may drop a message, or hold one back longer than the load generator's window does.
    configuration: (port) =>
      `${persistence}listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n` +
      "max_inflight_messages 0\nset_tcp_nodelay true\nlog_dest stderr\nlog_type error\n",
    commandArguments: (_port, configurationFile) => ["-c", configurationFile],
  };
}
