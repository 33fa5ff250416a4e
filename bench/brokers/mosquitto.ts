import { freePort } from "../brokers.ts";
import { executable } from "../executable.ts";
import type { KnownBroker } from "../known_brokers.ts";
import { outputOf } from "../output_of.ts";
import { type Setup, user } from "../setup.ts";

const rooms = ["kitchen", "hall", "garage", "garden", "cellar", "attic"];

/** What `access_rules.ts` says, as far as mosquitto can: a rule is for one user name, or for all. */
const accessRules = [
  "user admin",
  "topic readwrite #",
  `user ${user.username}`,
  "topic deny +/+/secret/#",
  "topic read public/#",
  ...rooms.flatMap((room) => [`topic deny home/${room}/lock/#`, `topic readwrite home/${room}/+/state`]),
  "topic readwrite bench/#",
  "pattern write sensors/%c/#",
  "pattern readwrite users/%u/#",
  "",
].join("\n");

/** Mosquitto as Debian installs it: `apt-get install mosquitto`. */
export const mosquitto: KnownBroker = {
  local: (setup) => ({
    program: executable("mosquitto"),
    prepare: async (directory) => {
      if (!setup.secured) return;
      await Deno.writeTextFile(`${directory}/rules`, accessRules);
      await Deno.writeTextFile(`${directory}/users`, `${user.username}:${user.password}\n`);
      // It puts a hash in the password's place.
      await outputOf("mosquitto_passwd", ["-U", `${directory}/users`]);
    },
    configuration: (port, directory) =>
      [
        // Without it, it could not read these files once it has given up its rights.
        "user root",
        ...[port, ...setup.morePorts].flatMap((port) => listener(port, setup)),
        ...(setup.secured ? [`password_file ${directory}/users`, `acl_file ${directory}/rules`] : []),
        `allow_anonymous ${!setup.secured}`,
        "persistence false",
        // No limit of its own may drop a message, or hold one back longer than the load generator's window does.
        "max_queued_messages 0",
        "max_inflight_messages 0",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "",
      ].join("\n"),
    commandArguments: (_port, configurationFile) => ["-c", configurationFile],
  }),
  // Its program prints its version with a help that counts as a failure; that of its client does not.
  version: async () => {
    const { stdout } = await new Deno.Command(executable("mosquitto")!, { args: ["-h"], stdin: "null" }).output();
    return /version ([\d.]+)/.exec(new TextDecoder().decode(stdout))?.[1] ?? "unknown";
  },
};

function listener(port: number, { transport, certificate }: Setup): string[] {
  const lines = [`listener ${port} 127.0.0.1`];
  if (transport === "ws") {
    // Version 2.0.11 of Debian listens on all addresses unless the domain is said as well, and takes it for a failure if
    // WebSocket is all that it listens on.
    lines.push("socket_domain ipv4", "protocol websockets", `listener ${freePort()} 127.0.0.1`);
  }
  if (transport === "tls") lines.push(`certfile ${certificate?.certificateFile}`, `keyfile ${certificate?.keyFile}`);
  return lines;
}
