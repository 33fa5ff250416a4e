import assert from "node:assert/strict";
import type { ClientInfo } from "../../broker/hooks.ts";
import { type Config, loadConfig } from "../../cli/config.ts";
import { importMosquitto } from "../../cli/import_mosquitto/import.ts";
import { aclHook, hashPassword } from "../../hooks/mod.ts";
import { configDirectory } from "../config/config_directory.ts";
import { connect } from "../interop/mqttjs_client.ts";
import { runHookmq, startHookmq } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";

/** A mosquitto.conf in a directory of its own; `DIR` in it, and in the notes, stands for that directory. */
async function translated(
  conf: string,
  others: Record<string, string> = {},
): Promise<{ config: Config; notes: string[]; yaml: string }> {
  await using directory = await configDirectory("");
  const { path } = directory;
  await directory.write(conf.replaceAll("DIR", path), "mosquitto.conf");
  for (const [name, content] of Object.entries(others)) {
    await Deno.mkdir(`${path}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await directory.write(content, name);
  }
  const { yaml, notes } = await importMosquitto(`${path}/mosquitto.conf`);
  await directory.write(yaml);
  const readFiles = !yaml.includes("certificate:");
  const config = await loadConfig({ file: directory.file, environment: {}, readFiles });
  const shown = (text: string) => text.replaceAll(path, "DIR");
  return { config: JSON.parse(shown(JSON.stringify(config))), notes: notes.map(shown), yaml: shown(yaml) };
}

/** Why a mosquitto.conf is not translated. */
async function refusal(conf: string, others: Record<string, string> = {}): Promise<string> {
  const error = await translated(conf, others).then(() => new Error("it was translated"), (error: Error) => error);
  return error.message.replaceAll(/\S*\/(?=mosquitto\.conf|acl)/g, "");
}

// Where it listens

Deno.test("a mosquitto that is told of no listener serves its own machine, without asking for anything", async () => {
  const { config, notes } = await translated("persistence false\n");
  assert.deepEqual(config.listeners, [{ port: 1883, hostname: "127.0.0.1" }]);
  assert.deepEqual([config.anonymous, config.hooks.auth, notes], [false, undefined, []]);
});

Deno.test("listeners become what they are here, with the notes on what differs", async () => {
  const { config, notes } = await translated(`
listener 1883
listener 1884 192.0.2.1
listener 1885
socket_domain ipv6
listener 9001 127.0.0.1
protocol websockets
listener 0 DIR/mosquitto.sock
allow_anonymous true
`);
  assert.deepEqual(config.listeners.map((listener) => ({ transport: "tcp", ...listener })), [
    { transport: "tcp", port: 1883, hostname: "0.0.0.0" },
    { transport: "tcp", port: 1884, hostname: "192.0.2.1" },
    { transport: "tcp", port: 1885, hostname: "::" },
    { transport: "ws", port: 9001, hostname: "127.0.0.1", origins: ["*"] },
    { transport: "unix", path: "DIR/mosquitto.sock" },
  ]);
  assert.equal(config.anonymous, true);
  assert.deepEqual(notes, [
    'DIR/mosquitto.conf:2: listener 1883: listens on IPv4 only; hostname: "::" is for IPv6, and on most systems for both',
    "DIR/mosquitto.conf:7: protocol websockets: pages of all origins may connect, as to mosquitto; better name yours in " +
    'place of "*"',
  ]);
});

Deno.test("the listener that no line opens is there if it has options, as mosquitto has it", async () => {
  const { config } = await translated("port 1884\nbind_address 127.0.0.1\nlistener 1885 127.0.0.1\n");
  assert.deepEqual(config.listeners, [{ port: 1884, hostname: "127.0.0.1" }, { port: 1885, hostname: "127.0.0.1" }]);
});

Deno.test("TLS listeners keep their certificates, and ask clients for theirs if mosquitto does", async () => {
  const { config, notes } = await translated(`allow_anonymous true
listener 8883 127.0.0.1
certfile DIR/server.pem
keyfile DIR/server.key
cafile DIR/ca.pem
listener 8884 127.0.0.1
protocol websockets
certfile DIR/server.pem
keyfile DIR/server.key
cafile DIR/ca.pem
require_certificate true
crlfile DIR/revoked.pem
`);
  const certificates = { certificate: "DIR/server.pem", key: "DIR/server.key" };
  assert.deepEqual(config.listeners, [
    { transport: "tls", port: 8883, hostname: "127.0.0.1", ...certificates },
    {
      transport: "wss",
      port: 8884,
      hostname: "127.0.0.1",
      origins: ["*"],
      ...certificates,
      clientCertificateAuthority: "DIR/ca.pem",
    },
  ]);
  assert.deepEqual(notes.map((note) => note.match(/conf:(\d+: \S+)/)![1]), ["5: cafile", "7: protocol", "12: crlfile"]);
});

for (
  const [what, options] of [
    ["pre-shared keys", "psk_hint hint\n"],
    ["a directory of authorities", "certfile a\nkeyfile b\ncapath c\nrequire_certificate true\n"],
    ["a protocol that is not known", "protocol mqttsn\n"],
  ]
) {
  Deno.test(`a listener with ${what} is left out, since it would let in others`, async () => {
    const { config, notes } = await translated(
      `allow_anonymous true\nlistener 8883\n${options}listener 1884 127.0.0.1\n`,
    );
    assert.deepEqual(config.listeners, [{ port: 1884, hostname: "127.0.0.1" }]);
    assert.match(notes.join("\n"), /the listener is left out/);
  });
}

// Who may connect

Deno.test("a password file stays as it is, and clients without a user name come in only if mosquitto lets them", async () => {
  const passwords = { passwords: `alice:${await hashPassword("secret", { form: "pbkdf2", cost: 101 })}\n` };
  for (const [line, allowAnonymous] of [["", false], ["allow_anonymous true\n", true]] as const) {
    const { config, notes } = await translated(
      `listener 1883 0.0.0.0\npassword_file DIR/passwords\n${line}`,
      passwords,
    );
    assert.equal(config.hooks.auth?.passwordFile, "DIR/passwords");
    assert.equal(config.hooks.auth?.allowAnonymous, allowAnonymous);
    assert.deepEqual(notes, []);
  }
});

Deno.test("a password file that cannot be used is named with the line and what to do", async () => {
  await using directory = await configDirectory("", { passwords: "alice:plain text\n" });
  await directory.write(`listener 1883 127.0.0.1\npassword_file ${directory.path}/passwords\n`, "mosquitto.conf");
  const { notes } = await importMosquitto(`${directory.path}/mosquitto.conf`);
  assert.equal(notes.length, 1);
  assert.match(
    notes[0],
    /mosquitto\.conf:2: .*passwords:1: not a hash .*; "hookmq passwd" gives a user a new password$/,
  );
});

Deno.test("a mosquitto that lets nobody in lets nobody in here", async () => {
  const { config, notes } = await translated("listener 1883 0.0.0.0\n");
  assert.deepEqual(config.hooks.auth?.credentials, {});
  assert.equal(config.hooks.auth?.allowAnonymous, false);
  assert.match(notes.join("\n"), /conf:1: listener 1883 0\.0\.0\.0: lets nobody in, since there is no password_file/);
});

Deno.test("where only some listeners let anybody in, none does, and the notes say so", async () => {
  const { config, notes } = await translated(`per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
listener 1884 0.0.0.0
`);
  assert.deepEqual(config.hooks.auth?.credentials, {});
  assert.deepEqual(notes, [
    "DIR/mosquitto.conf:3: allow_anonymous true: a password is asked for on this listener as well, as it is on others",
    "DIR/mosquitto.conf:4: listener 1884 0.0.0.0: lets nobody in, since there is no password_file: name one in " +
    "hooks.auth.passwordFile",
  ]);
});

Deno.test("a mosquitto for its own machine that asks for users lets nobody in without any", async () => {
  const { config, notes } = await translated("allow_anonymous false\n");
  assert.deepEqual(config.hooks.auth?.credentials, {});
  assert.match(notes.join("\n"), /conf:1: allow_anonymous false: lets nobody in/);
});

Deno.test("what a plugin decided is decided by nobody, so that nobody gets in, and nobody may do anything", async () => {
  const { config, notes } = await translated(`plugin /usr/lib/mosquitto_dynamic_security.so
plugin_opt_config_file /var/lib/mosquitto/dynamic-security.json
listener 1883 0.0.0.0
`);
  assert.deepEqual(config.hooks.auth?.credentials, {});
  assert.deepEqual(config.hooks.acl, { rules: [], denyByDefault: true, wideSubscriptions: "filter" });
  assert.deepEqual(notes.map((note) => note.match(/conf:(\d+: \S+)/)![1]), [
    "1: plugin",
    "2: plugin_opt_config_file",
    "3: listener",
  ]);
});

Deno.test("a client certificate is enough where mosquitto takes the user name from it, unless rules ask for users", async () => {
  const conf = `listener 8883
certfile DIR/server.pem
keyfile DIR/server.key
cafile DIR/ca.pem
require_certificate true
use_identity_as_username true
`;
  const { config, notes } = await translated(conf);
  assert.deepEqual([config.anonymous, config.hooks.auth], [false, undefined]);
  assert.match(notes.join("\n"), /use_identity_as_username true: has no counterpart/);
  const withRules = await translated(`acl_file DIR/acl\n${conf}`, { acl: "user alice\ntopic #\n" });
  assert.deepEqual(withRules.config.hooks.auth?.credentials, {});
});

Deno.test("with per_listener_settings, what is stricter goes for all listeners", async () => {
  const passwords = { passwords: `alice:${await hashPassword("secret", { form: "pbkdf2", cost: 101 })}\n` };
  const { config, notes } = await translated(
    `per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
listener 1884 0.0.0.0
password_file DIR/passwords
`,
    passwords,
  );
  assert.equal(config.hooks.auth?.allowAnonymous, false);
  assert.deepEqual(notes, [
    "DIR/mosquitto.conf:3: allow_anonymous true: a password is asked for on this listener as well, as it is on others",
  ]);
});

Deno.test("listeners with rules of their own cannot be one broker: nobody may do anything until somebody decides", async () => {
  const { config, notes } = await translated(
    `per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
acl_file DIR/one
listener 1884 127.0.0.1
allow_anonymous true
acl_file DIR/two
`,
    { one: "topic #\n", two: "topic a\n" },
  );
  assert.deepEqual(config.hooks.acl, { rules: [], denyByDefault: true, wideSubscriptions: "filter" });
  assert.equal(notes.filter((note) => /run a broker for each/.test(note)).length, 2);
});

// What clients may do

const rules = `
# Clients without a user name
topic read pub/#
topic deny pub/secret/#
topic write in/+/x
topic readwrite anon

user alice
topic readwrite home/#
topic deny home/private/#
topic allowed/by/user
topic write home/private/mail
topic read +/status
topic $x/alice

user bob
topic read home/#
topic deny #
user alice
topic read late

pattern deny allowed/#
pattern readwrite own/%u/%c/#
pattern write dev/%c/up
pattern deny dev/%c/up/secret
pattern read mixed-%u/x
pattern read plain/#
pattern read $x/%u
`;

const topics = (
  "pub/a pub/secret/a pub in/q/x in/q/y anon home/a home home/private/x home/private/mail home/private allowed/by/user " +
  "allowed/x a/status b/c/status $x/alice $x/bob $x/other late own/alice/c1/z own/bob/c1 own/alice/c2/z own/carol/c1 " +
  "dev/c1/up dev/c1/up/secret dev/c2/up mixed-alice/x mixed-carol/x plain/1 plain/x/y"
).split(" ");

/** What mosquitto 2.0.11 let clients with the id `c1` publish and receive of those topics, with those rules. */
const decisions = [
  { username: undefined, writes: "in/q/x anon dev/c1/up", reads: "pub/a pub anon plain/1 plain/x/y" },
  {
    username: "alice",
    writes: "home/a home allowed/by/user $x/alice own/alice/c1/z dev/c1/up",
    reads: "home/a home allowed/by/user a/status $x/alice late own/alice/c1/z mixed-alice/x plain/1 plain/x/y",
  },
  { username: "bob", writes: "", reads: "$x/bob" },
  { username: "carol", writes: "own/carol/c1 dev/c1/up", reads: "own/carol/c1 mixed-carol/x plain/1 plain/x/y" },
];

for (const { username, writes, reads } of decisions) {
  Deno.test(`${username ?? "a client without a user name"} may do what mosquitto's ACL file allows, and nothing else`, async () => {
    const { config } = await translated("allow_anonymous true\nlistener 1883 127.0.0.1\nacl_file DIR/acl\n", {
      acl: rules,
    });
    const acl = aclHook(config.hooks.acl);
    const client = { clientId: "c1", username } as ClientInfo;
    assert.equal(topics.filter((topic) => acl.canWrite(client, topic)).join(" "), writes);
    assert.equal(topics.filter((topic) => acl.canRead(client, topic)).join(" "), reads);
  });
}

Deno.test("lines of an ACL file that no rule can stand for are left out, and named", async () => {
  const { config, notes } = await translated("listener 1883 127.0.0.1\nallow_anonymous true\nacl_file DIR/acl\n", {
    acl: "user alice\ntopic home/%u\ntopic a/#/b\ntopic fine\nuser al*\ntopic x\n",
  });
  assert.deepEqual(config.hooks.acl?.rules, [
    { permission: "allow", username: "alice", topicFilter: "fine", access: "all" },
  ]);
  const why = notes.filter((note) => note.startsWith("DIR/acl")).map((note) =>
    note.match(/^DIR\/acl:(\d+: .*?left out)/)![1]
  );
  assert.deepEqual(why, [
    "2: topic home/%u: is left out",
    "3: topic a/#/b: is left out",
    "6: the rules of user al* are left out",
  ]);
});

for (
  const [acl, message] of [
    ["topic\n", 'acl:1: there is nothing behind "topic"'],
    ["# x\ntopic all a\n", 'acl:2: topic all a: "all" is not one of read, write, readwrite and deny'],
    ["topics a\n", 'acl:1: "topics" is not one of user, topic and pattern'],
  ]
) {
  Deno.test(`an ACL file that mosquitto does not take is not translated: ${message}`, async () => {
    assert.equal(await refusal("acl_file DIR/acl\n", { acl }), message);
  });
}

Deno.test("an ACL file that cannot be read is not left out", async () => {
  assert.equal(await refusal("acl_file DIR/acl\n"), "cannot read acl: there is no such file");
});

// Everything else

Deno.test("limits, persistence, logging and $SYS become their options", async () => {
  const { config, notes } = await translated(`listener 1883 127.0.0.1
allow_anonymous true
max_connections 500
max_qos 1
max_topic_alias 5
max_inflight_messages 0
max_keepalive 120
max_packet_size 1048576
max_queued_messages 5000
max_queued_bytes 1000000
persistent_client_expiration 14d
retain_available false
persistence true
persistence_location DIR/data
log_dest file DIR/mosquitto.log
log_type warning
sys_interval 30
`);
  const { connections, topicAliasMaximum, inflight, packetSize, queueMessages, queueBytes } = config.limits;
  assert.deepEqual(
    { connections, topicAliasMaximum, inflight, packetSize, queueMessages, queueBytes },
    {
      connections: 500,
      topicAliasMaximum: 5,
      inflight: 65_535,
      packetSize: 1_048_576,
      queueMessages: 5000,
      queueBytes: 1_000_000,
    },
  );
  const { maximumQos, maximumKeepAlive, maximumSessionExpiry, retainAvailable, queuePolicy } = config;
  assert.deepEqual([maximumQos, maximumKeepAlive, maximumSessionExpiry], [1, 120, 1_209_600]);
  assert.deepEqual([retainAvailable, queuePolicy], [false, "drop-new"]);
  assert.deepEqual(config.log, { level: "warning", format: "text", file: "DIR/mosquitto.log" });
  assert.equal(config.hooks.sqlite?.path, "DIR/data/hookmq.db");
  assert.equal(config.hooks.sys?.interval, 30);
  assert.deepEqual(notes.map((note) => note.match(/conf:(\d+: \S+)/)![1]), ["13: persistence"]);
});

Deno.test("sys_interval 0 and connection_messages false switch their hooks off", async () => {
  const { config } = await translated("sys_interval 0\nconnection_messages false\n");
  assert.deepEqual(config.hooks, {});
});

Deno.test("a bridge is named once, and its options are not taken for others", async () => {
  const { config, notes } = await translated(`connection cloud
address mqtt.example.com:8883
topic # both 0
bridge_cafile /etc/ssl/certs/ca.pem
remote_username hub
`);
  assert.deepEqual(config.listeners, [{ port: 1883, hostname: "127.0.0.1" }]);
  assert.deepEqual(notes, [
    "DIR/mosquitto.conf:1: connection cloud: is left out with its 4 options: HookMQ does not connect to other brokers",
  ]);
});

Deno.test("files of include_dir are read in mosquitto's order, and notes name them", async () => {
  const { config, notes } = await translated("include_dir DIR/conf.d\nallow_anonymous true\n", {
    "conf.d/b.conf": "listener 1003 127.0.0.1\n",
    "conf.d/B.conf": "listener 1002 127.0.0.1\nmount_point x\n",
    "conf.d/a.conf": "listener 1001 127.0.0.1\n",
    "conf.d/readme": "not a configuration\n",
  });
  assert.deepEqual(config.listeners.map((listener) => "port" in listener && listener.port), [1001, 1002, 1003]);
  assert.match(notes.join("\n"), /^DIR\/conf\.d\/B\.conf:2: mount_point x: has no counterpart/);
});

Deno.test("an option that does not exist is named, and what mosquitto would refuse is refused with its place", async () => {
  const { notes } = await translated("colour blue\n");
  assert.deepEqual(notes, ["DIR/mosquitto.conf:1: colour blue: is not an option that is known here, and is left out"]);
  assert.equal(
    await refusal("\nallow_anonymous yes\n"),
    "mosquitto.conf:2: allow_anonymous yes: must be true or false",
  );
  assert.equal(await refusal("max_keepalive long\n"), "mosquitto.conf:1: max_keepalive long: must be a whole number");
});

Deno.test("the configuration that Debian installs is translated", async () => {
  const { config, notes } = await translated(
    `# Place your local configuration in /etc/mosquitto/conf.d/
#
# A full description of the configuration file is at
# /usr/share/doc/mosquitto/examples/mosquitto.conf.example

pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir DIR/conf.d
`,
    { "conf.d/README": "Any files placed in this directory that have a .conf ending will be loaded." },
  );
  assert.deepEqual(config.listeners, [{ port: 1883, hostname: "127.0.0.1" }]);
  assert.equal(config.hooks.sqlite?.path, "/var/lib/mosquitto/hookmq.db");
  assert.equal(config.log.file, "/var/log/mosquitto/mosquitto.log");
  assert.equal(notes.length, 2);
});

// The command

Deno.test("hookmq import-mosquitto prints what hookmq check accepts, and serve runs", async () => {
  const { certificate, key } = await issueCertificate(await createAuthority(), "server");
  const alice = await hashPassword("secret", { form: "pbkdf2", cost: 101 });
  await using directory = await configDirectory("", {
    "server.pem": certificate,
    "server.key": key,
    passwords: `alice:${alice}\n`,
    acl: "user alice\ntopic write a\ntopic read b\n",
    "mosquitto.conf": `password_file passwords
acl_file acl
listener 0 mosquitto.sock
listener 18830 127.0.0.1
max_inflight_bytes 1
listener 18831 127.0.0.1
certfile server.pem
keyfile server.key
`,
  });
  const cwd = directory.path;
  const { code, stdout, stderr } = await runHookmq(["import-mosquitto", "mosquitto.conf"], { cwd });
  assert.equal(code, 0);
  assert.match(stdout, /^# From mosquitto\.conf, translated by hookmq import-mosquitto\n\nlisteners:\n/);
  assert.match(stderr, /^mosquitto\.conf:2: acl_file acl: a subscription /);
  for (const line of stderr.trim().split("\n")) assert(stdout.includes(`\n# ${line}\n`), line);
  await directory.write(stdout);
  assert.equal((await runHookmq(["check", "hookmq.yaml"], { cwd })).code, 0);

  const env = { HOOKMQ_LISTENERS_1_PORT: "0", HOOKMQ_LISTENERS_2_PORT: "0" };
  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
  await using program = await startHookmq(listening, ["serve", "--config", "hookmq.yaml"], { cwd, env });
  const broker = { ...program, port: Number((await program.printed(listening))[1]) };
  await assert.rejects(connect(broker, { protocolVersion: 5 }), { code: 0x87 });
  await using client = await connect(broker, { protocolVersion: 5, username: "alice", password: "secret" });
  await client.client.publishAsync("a", "x", { qos: 1 });
  await assert.rejects(client.client.publishAsync("b", "x", { qos: 1 }), { code: 0x87 });
});

Deno.test("hookmq import-mosquitto says in one line that a file cannot be read, and exits with 1", async () => {
  assert.deepEqual(await runHookmq(["import-mosquitto", "/nowhere/mosquitto.conf"]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: cannot read /nowhere/mosquitto.conf: there is no such file\n",
  });
});
