import assert from "node:assert/strict";
import { loadConfig } from "../../cli/config.ts";
import { createHooks } from "../../cli/config/hooks.ts";
import { resolveOptions } from "../../broker/options.ts";
import { createAuthority, createWeakIdentity, issueCertificate } from "../listeners/certificates.ts";
import { configDirectory, refusalOf } from "./config_directory.ts";

Deno.test("without anything said, the configuration is what a broker without options has", async () => {
  const { limits, queuePolicy, refusedPublish, ...config } = await loadConfig({ environment: {} });
  const { logger: _logger, responseInformation: _responseInformation, ...options } = resolveOptions({ limits });
  const { listeners: _listeners, anonymous: _anonymous, hooks: _hooks, log: _log, ...flags } = config;
  assert.deepEqual({ ...flags, queuePolicy, refusedPublish, limits: options.limits }, options);
  assert.deepEqual(options.limits, resolveOptions({}).limits);
});

Deno.test("without anything said, one listener is on 127.0.0.1:1883, and no hook is in use", async () => {
  const { listeners, hooks, anonymous } = await loadConfig({ environment: {} });
  assert.deepEqual(listeners, [{ hostname: "127.0.0.1", port: 1883 }]);
  assert.deepEqual([hooks, anonymous], [{}, false]);
});

Deno.test("an empty file, and one of which all is commented out, says nothing", async () => {
  for (const config of ["", "# nothing\n", "hooks:\n  # acl:\nlimits:\n"]) {
    await using directory = await configDirectory(config);
    assert.deepEqual(
      await loadConfig({ file: directory.file, environment: {} }),
      await loadConfig({ environment: {} }),
    );
  }
});

Deno.test("a hook without options is in use with its defaults", async () => {
  await using directory = await configDirectory("hooks:\n  sys:\n  metrics:\n");
  const { hooks } = await loadConfig({ file: directory.file, environment: {} });
  assert.deepEqual(hooks, {
    sys: { interval: 10, topicPrefix: "$SYS/broker" },
    metrics: { hostname: "127.0.0.1", port: 9883 },
  });
});

Deno.test("hooks are made in the order in which they work, not in that of the file", async () => {
  await using directory = await configDirectory(
    "hooks:\n  metrics:\n  logger:\n  acl:\n  rateLimit: { publishRate: 1 }\n  auth: { credentials: { a: b } }\n",
  );
  const { hooks } = await loadConfig({ file: directory.file, environment: {} });
  const ids = Object.values(createHooks(hooks)).map(({ id }) => id);
  assert.deepEqual(ids, ["auth", "rate-limit", "acl", "logger", "metrics"]);
});

Deno.test("paths start at the file's directory", async () => {
  await using directory = await configDirectory(
    `
listeners:
  - { transport: tls, certificate: server.pem, key: /etc/server.key }
  - { transport: unix, path: run/hookmq.sock, mode: "660" }
hooks:
  auth: { passwordFile: ../users }
log: { file: hookmq.log }
`,
  );
  const { listeners: [tls, unix], hooks, log } = await loadConfig({
    file: directory.file,
    environment: {},
    readFiles: false,
  });
  assert(tls.transport === "tls" && unix.transport === "unix");
  assert.deepEqual([tls.certificate, tls.key], [`${directory.path}/server.pem`, "/etc/server.key"]);
  assert.deepEqual([unix.path, unix.mode], [`${directory.path}/run/hookmq.sock`, 0o660]);
  assert.equal(hooks.auth?.passwordFile, `${directory.path.slice(0, directory.path.lastIndexOf("/"))}/users`);
  assert.equal(log.file, `${directory.path}/hookmq.log`);
});

Deno.test("a password can be in a file of its own", async () => {
  await using directory = await configDirectory(
    "hooks:\n  auth:\n    credentials: { alice: { file: alice }, file: sesame }\n",
    { alice: "correct horse\n" },
  );
  const { hooks } = await loadConfig({ file: directory.file, environment: {} });
  assert.deepEqual(hooks.auth?.credentials, { alice: "correct horse", file: "sesame" });
});

Deno.test("files that cannot be used are reported together with all else, unless they are not to be read", async () => {
  const config = `
listeners:
  - { transport: tls, certificate: server.pem, key: server.key }
hooks:
  auth:
    credentials: { alice: { file: alice } }
    passwordFile: users
`;
  assert.deepEqual(await refusalOf(config), [
    "hookmq.yaml:3:23: listeners[0].certificate: cannot read server.pem: there is no such file",
    "hookmq.yaml:3:48: listeners[0].key: cannot read server.key: there is no such file",
    "hookmq.yaml:6:20: hooks.auth.credentials.alice: cannot read alice: there is no such file",
    "hookmq.yaml:7:5: hooks.auth.passwordFile: cannot read users: there is no such file; hookmq passwd -c makes one",
  ]);
  await using directory = await configDirectory(config);
  await loadConfig({ file: directory.file, environment: {}, readFiles: false });
});

Deno.test("certificates and keys that cannot be used are reported, without what is in them", async () => {
  const authority = await createAuthority();
  const [one, other] = await Promise.all(["one", "other"].map((name) => issueCertificate(authority, name)));
  await using directory = await configDirectory(
    `
listeners:
  - { transport: wss, certificate: none.pem, key: one.key, clientCertificateAuthority: none.pem }
  - { transport: tls, certificate: one.pem, key: one.pem, port: 0 }
  - { transport: tls, certificate: one.pem, key: other.key, port: 0 }
  - { transport: tls, certificate: one.pem, key: encrypted.key, port: 0 }
  - { transport: tls, certificate: one.pem, key: one.key, clientCertificateAuthority: one.pem, port: 0 }
`,
    {
      "none.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
      "one.pem": one.certificate,
      "one.key": one.key,
      "other.key": other.key,
      "encrypted.key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    },
  );
  const lines = await refusalOf(undefined, { file: directory.file });
  assert.deepEqual(lines.map((line) => line.replaceAll(`${directory.path}/`, "")), [
    "hookmq.yaml:3:23: listeners[0].certificate: none.pem holds no certificate in PEM form",
    "hookmq.yaml:3:60: listeners[0].clientCertificateAuthority: none.pem holds no certificate in PEM form",
    "hookmq.yaml:4:45: listeners[1].key: one.pem holds no private key in PEM form",
    "hookmq.yaml:5:45: listeners[2].key: other.key is not the key of the certificate",
    "hookmq.yaml:6:45: listeners[3].key: encrypted.key is encrypted: take the password off the key",
  ]);
});

Deno.test("a certificate that a listener could not use is reported: a broken one behind it, and a key that is too small", async () => {
  const [server, weak] = await Promise.all([issueCertificate(await createAuthority(), "a"), createWeakIdentity()]);
  await using directory = await configDirectory(
    `
listeners:
  - { transport: tls, certificate: chain.pem, key: server.key }
  - { transport: wss, certificate: weak.pem, key: weak.key }
`,
    {
      "chain.pem": `${server.certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
      "server.key": server.key,
      "weak.pem": weak.certificate,
      "weak.key": weak.key,
    },
  );
  const [chain, small, ...others] = await refusalOf(undefined, { file: directory.file });
  assert.match(chain, /hookmq\.yaml:3:5: listeners\[0\]: certificate \S+chain\.pem cannot be used: /);
  assert.match(small, /hookmq\.yaml:4:5: listeners\[1\]: certificate \S+weak\.pem cannot be used: .*key too small/);
  assert.deepEqual(others, []);
});

Deno.test("a password file with a plain password is reported, without the password", async () => {
  await using directory = await configDirectory("hooks: { auth: { passwordFile: users } }", {
    users: "alice:hidden\n",
  });
  const [line, ...others] = await refusalOf(undefined, { file: directory.file });
  assert.match(line, /hookmq\.yaml:1:18: hooks\.auth\.passwordFile: \S+users:1: not a hash that begins with/);
  assert.doesNotMatch(line, /hidden/);
  assert.deepEqual(others, []);
});

for (
  const listener of [
    "{ hostname: 127.0.0.1 }",
    "{ hostname: 127.9.9.9 }",
    "{ hostname: localhost }",
    '{ hostname: "::1" }',
    "{ transport: unix, path: hookmq.sock }",
    "{ transport: tls, hostname: 0.0.0.0, certificate: a, key: b, clientCertificateAuthority: c }",
  ]
) {
  Deno.test(`a listener ${listener} needs no authentication`, async () => {
    await using directory = await configDirectory(`listeners: [${listener}]\n`);
    await loadConfig({ file: directory.file, environment: {}, readFiles: false });
  });
}

for (const hostname of ["0.0.0.0", "::", "192.0.2.1", "broker.example", "127.0.0.1.example", "1270.0.0.1"]) {
  for (const transport of ["transport: tcp", "transport: ws", "transport: tls, certificate: a, key: b"]) {
    Deno.test(`a listener { hostname: "${hostname}", ${transport} } needs authentication, or anonymous: true`, async () => {
      const listeners = `listeners: [{ hostname: "${hostname}", ${transport} }]\n`;
      const [line] = await refusalOf(listeners, { readFiles: false });
      assert.match(line, /: cannot listen beyond this machine without authentication: /);
      for (const more of ["anonymous: true\n", "hooks: { auth: { credentials: { a: b } } }\n"]) {
        await using directory = await configDirectory(listeners + more);
        await loadConfig({ file: directory.file, environment: {}, readFiles: false });
      }
    });
  }
}
