import { accessRules } from "../access_rules.ts";
import type { KnownBroker } from "../known_brokers.ts";
import { user } from "../setup.ts";

const root = `${import.meta.dirname}/../..`;

/** HookMQ as `hookmq serve` runs it, with everything in memory. */
export const hookmq: KnownBroker = {
  local: ({ transport, secured, certificate, morePorts }) => ({
    program: Deno.execPath(),
    // JSON is YAML as well.
    configuration: (port) =>
      JSON.stringify({
        listeners: [port, ...morePorts].map((port) => ({
          transport,
          hostname: "127.0.0.1",
          port,
          ...(transport === "tls" && { certificate: certificate?.certificateFile, key: certificate?.keyFile }),
        })),
        // One more than the default allows is asked for where 100,000 are there already.
        limits: { connections: 200_000 },
        ...(secured && {
          hooks: {
            auth: { credentials: { [user.username]: user.password } },
            acl: { rules: accessRules, denyByDefault: true },
          },
        }),
      }),
    commandArguments: (_port, configurationFile) => [
      ...["run", "-A", `${root}/cli.ts`, "serve", "--memory", "--config", configurationFile],
    ],
  }),
  version: async () => {
    const { version } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
    return `${version} on Deno ${Deno.version.deno}`;
  },
};
