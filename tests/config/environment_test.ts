import assert from "node:assert/strict";
import { type Config, loadConfig } from "../../cli/config.ts";
import { configDirectory, refusalOf } from "./config_directory.ts";

type Environment = Record<string, string>;

/** Loads what these variables say, over a file if there is one. */
async function load(environment: Environment, config?: string): Promise<Config> {
  if (config === undefined) return await loadConfig({ environment });
  await using directory = await configDirectory(config);
  return await loadConfig({ file: directory.file, environment });
}

Deno.test("HOOKMQ_LIMITS_PACKET_SIZE goes before the file's limits.packetSize, and leaves the rest alone", async () => {
  const { limits } = await load({ HOOKMQ_LIMITS_PACKET_SIZE: "2000" }, "limits: { packetSize: 1000, inflight: 10 }");
  assert.deepEqual([limits.packetSize, limits.inflight, limits.subscriptions], [2000, 10, 10_000]);
});

Deno.test("HOOKMQ_LISTENERS_0_PORT is the port of the first listener, also if no file names one", async () => {
  const { listeners } = await load({ HOOKMQ_LISTENERS_0_PORT: "1884" });
  assert.deepEqual(listeners, [{ hostname: "127.0.0.1", port: 1884 }]);
});

Deno.test("variables can add a listener to those of the file", async () => {
  const { listeners } = await load(
    { HOOKMQ_LISTENERS_1_TRANSPORT: "ws", HOOKMQ_LISTENERS_1_PATH: "/mqtt" },
    "listeners: [{ port: 1884 }]",
  );
  assert.deepEqual(listeners, [
    { hostname: "127.0.0.1", port: 1884 },
    { transport: "ws", hostname: "127.0.0.1", port: 8083, path: "/mqtt", origins: [] },
  ]);
});

Deno.test("a list is given as YAML, and single entries of it go before it", async () => {
  const { listeners, hooks } = await load({
    HOOKMQ_LISTENERS_1_PORT: "2",
    HOOKMQ_LISTENERS: "[{ port: 0 }, { port: 1 }]",
    HOOKMQ_HOOKS_ACL_RULES: "[{ permission: deny, topicFilter: secret/# }]",
  });
  assert.deepEqual(listeners.map((listener) => "port" in listener && listener.port), [0, 2]);
  assert.deepEqual(hooks.acl?.rules, [{ permission: "deny", topicFilter: "secret/#", access: "all" }]);
});

Deno.test("variables switch a hook on", async () => {
  assert.equal((await load({ HOOKMQ_HOOKS_SYS_INTERVAL: "60" })).hooks.sys?.interval, 60);
  assert.equal((await load({ HOOKMQ_HOOKS_SYS: "{}" })).hooks.sys?.interval, 10);
});

Deno.test("a text is taken as it is, whatever it would be in YAML", async () => {
  const { hooks } = await load({ HOOKMQ_HOOKS_SYS_VERSION: "1.0", HOOKMQ_HOOKS_SYS_TOPIC_PREFIX: "[broker]" });
  assert.deepEqual([hooks.sys?.version, hooks.sys?.topicPrefix], ["1.0", "[broker]"]);
});

Deno.test("an empty variable, and one that does not begin with HOOKMQ_, is as good as none", async () => {
  const { limits } = await load({ HOOKMQ_LIMITS_INFLIGHT: "", LIMITS_INFLIGHT: "7", HOOKMQ: "7" });
  assert.equal(limits.inflight, 1024);
});

Deno.test("with _FILE behind its name, a variable names the file that holds the value", async () => {
  await using directory = await configDirectory("", { users: "alice: correct horse\n", version: "1.0\n" });
  const { hooks } = await load({
    HOOKMQ_HOOKS_AUTH_CREDENTIALS_FILE: `${directory.path}/users`,
    HOOKMQ_HOOKS_SYS_VERSION_FILE: `${directory.path}/version`,
  });
  assert.deepEqual(hooks.auth?.credentials, { alice: "correct horse" });
  assert.equal(hooks.sys?.version, "1.0");
});

Deno.test("an option whose own name ends with File is not taken for the file that holds a value", async () => {
  await using directory = await configDirectory("", { users: "" });
  const path = `${directory.path}/users`;
  assert.equal((await load({ HOOKMQ_HOOKS_AUTH_PASSWORD_FILE: path })).hooks.auth?.passwordFile, path);
  assert.equal((await load({ HOOKMQ_LOG_FILE: "hookmq.log" })).log.file, "hookmq.log");
});

const refused: { environment: Environment; lines: string[]; config?: string }[] = [
  {
    environment: { HOOKMQ_LISTENERS_0_PORT: "x" },
    lines: ['HOOKMQ_LISTENERS_0_PORT: "x": must be a whole number from 0 to 65535'],
  },
  {
    environment: { HOOKMQ_LIMIT_PACKETSIZE: "1000" },
    lines: ["HOOKMQ_LIMIT_PACKETSIZE: there is no such option; did you mean HOOKMQ_LIMITS_PACKET_SIZE?"],
  },
  {
    environment: { HOOKMQ_LISTENERS_3_PROT: "1" },
    lines: ["HOOKMQ_LISTENERS_3_PROT: there is no such option; did you mean HOOKMQ_LISTENERS_3_PORT?"],
  },
  {
    environment: { HOOKMQ_HOOKS_AUTH_PASWORD_FILE: "x" },
    lines: ["HOOKMQ_HOOKS_AUTH_PASWORD_FILE: there is no such option; did you mean HOOKMQ_HOOKS_AUTH_PASSWORD_FILE?"],
  },
  {
    environment: { HOOKMQ_SOMETHING_ELSE_ALTOGETHER: "1" },
    lines: ["HOOKMQ_SOMETHING_ELSE_ALTOGETHER: there is no such option"],
  },
  {
    environment: { HOOKMQ_LISTENERS_PORT: "1" },
    lines: ["HOOKMQ_LISTENERS_PORT: there is no such option; did you mean HOOKMQ_LISTENERS_0_PORT?"],
  },
  {
    environment: { HOOKMQ_LISTENERS_2_PORT: "1" },
    lines: ["HOOKMQ_LISTENERS_2_PORT: listeners[1]: it is missing, although there are later ones"],
  },
  {
    environment: { HOOKMQ_HOOKS_ACL_RULES: "[{ permission: alow }]" },
    lines: [
      'HOOKMQ_HOOKS_ACL_RULES: hooks.acl.rules[0].permission: "alow": must be one of allow, deny; did you mean "allow"?',
    ],
  },
  {
    environment: { HOOKMQ_HOOKS_ACL_RULES: "[{ permission: allow" },
    lines: ["HOOKMQ_HOOKS_ACL_RULES: its value is no YAML"],
  },
  {
    environment: { HOOKMQ_HOOKS_RATE_LIMIT_INTERVAL: "2" },
    lines: ["HOOKMQ_HOOKS_RATE_LIMIT_INTERVAL: hooks.rateLimit: needs publishRate, byteRate or both"],
  },
  {
    environment: { HOOKMQ_HOOKS_AUTH_CREDENTIALS: "alice:hidden" },
    lines: ["HOOKMQ_HOOKS_AUTH_CREDENTIALS: must be names with values (name: value)"],
  },
  {
    environment: { HOOKMQ_HOOKS_SYS_VERSION_FILE: "/nowhere" },
    lines: ["HOOKMQ_HOOKS_SYS_VERSION_FILE: cannot read /nowhere: there is no such file"],
  },
  {
    environment: { HOOKMQ_LISTENERS_0_HOSTNAME: "0.0.0.0", HOOKMQ_LOG_LEVEL: "info" },
    lines: [
      'HOOKMQ_LISTENERS_0_HOSTNAME: "0.0.0.0": cannot listen beyond this machine without authentication: anybody who ' +
      "reaches it could connect; configure hooks.auth (--user), or allow it with anonymous: true (--anonymous)",
    ],
  },
  {
    environment: { HOOKMQ_LIMITS_INFLIGHT: "0", HOOKMQ_LIMITS_CONNECTION: "1" },
    config: "limits:\n  packetSize: 1\n  inflight: x\n  topicLevels: 0\n",
    lines: [
      "hookmq.yaml:2:3: limits.packetSize: 1: must be a whole number from 64 to 268435460",
      "hookmq.yaml:4:3: limits.topicLevels: 0: must be a whole number from 1 on",
      "HOOKMQ_LIMITS_INFLIGHT: 0: must be a whole number from 1 to 65535",
      "HOOKMQ_LIMITS_CONNECTION: there is no such option; did you mean HOOKMQ_LIMITS_CONNECTIONS?",
    ],
  },
  {
    environment: { HOOKMQ_LIMITS_INFLIGHT: "5" },
    config: "limits: many\n",
    lines: ['hookmq.yaml:1:1: limits: "many": must be a group of options (name: value)'],
  },
];

for (const { environment, config, lines } of refused) {
  const given = Object.entries(environment).map((variable) => variable.join("=")).join(" ");
  Deno.test(`${given} is refused${config === undefined ? "" : " together with the file"}`, async () => {
    assert.deepEqual(await refusalOf(config, { environment }), lines);
  });
}
