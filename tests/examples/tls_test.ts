import assert from "node:assert/strict";
import mqtt from "mqtt";
import { configDirectory } from "../config/config_directory.ts";
import { createAuthority, type Identity, issueCertificate } from "../listeners/certificates.ts";
import { type Example, startExample } from "./start_example.ts";

const authority = await createAuthority();
const certificate = () => issueCertificate(authority, "localhost");

/** A directory with the files that the example needs. */
function directoryWith({ certificate, key }: Identity) {
  return configDirectory("", { "server.pem": certificate, "server.key": key });
}

/** What a client that trusts only our authority gets back of what it publishes. */
async function echo({ urls: [url] }: Example, payload: string): Promise<string> {
  const client = await mqtt.connectAsync(url, { ca: authority.certificate, reconnectPeriod: 0 });
  const received = Promise.withResolvers<string>();
  client.once("message", (_topic, payload) => received.resolve(`${payload}`));
  await client.subscribeAsync("echo");
  await client.publishAsync("echo", payload);
  const echoed = await received.promise;
  await client.endAsync();
  return echoed;
}

Deno.test("examples/tls.ts: a client that trusts the certificate's authority connects", async () => {
  await using directory = await directoryWith(await certificate());
  await using example = await startExample("tls.ts", { cwd: directory.path });
  assert.match(example.urls[0], /^mqtts:/);
  assert.equal(await echo(example, "hello"), "hello");
});

Deno.test("examples/tls.ts: SIGHUP reads the certificate again, and says why if it cannot", async () => {
  await using directory = await directoryWith(await certificate());
  await using example = await startExample("tls.ts", { cwd: directory.path });
  await directory.write("not a certificate", "server.pem");
  example.kill("SIGHUP");
  await example.printed(/server\.pem/);
  assert.equal(await echo(example, "still here"), "still here");
});
