import assert from "node:assert/strict";
import type { NetworkListenOptions } from "../../mod.ts";
import { startBroker } from "../support/start_broker.ts";
import { createAuthority, issueCertificate } from "./certificates.ts";

const server = await issueCertificate(await createAuthority(), "server");

const ways: NetworkListenOptions[] = [
  { transport: "tcp" },
  { transport: "tls", ...server },
  { transport: "ws" },
  { transport: "wss", ...server },
];

for (const way of ways) {
  const { transport } = way;

  Deno.test(`${transport}: a port in use is said to be so`, async () => {
    await using broker = await startBroker();
    await assert.rejects(broker.listen({ ...way, port: broker.port }), {
      message: `cannot listen on 127.0.0.1:${broker.port}: address in use (another broker? try --port)`,
    });
  });

  for (const [hostname, where] of [["192.0.2.1", "192.0.2.1"], ["2001:db8::1", "[2001:db8::1]"]]) {
    Deno.test(`${transport}: ${hostname}, which this machine does not have, is said to be no address of it`, async () => {
      await using broker = await startBroker();
      await assert.rejects(broker.listen({ ...way, hostname, port: 0 }), {
        message: `cannot listen on ${where}:0: this machine has no such address (try --host)`,
      });
    });
  }

  Deno.test(`${transport}: a host that nobody knows is said to be unknown`, async () => {
    await using broker = await startBroker();
    // No resolver has to be asked about a name with so long a part.
    const hostname = `${"long".repeat(16)}.example`;
    await assert.rejects(broker.listen({ ...way, hostname, port: 0 }), {
      message: `cannot listen on ${hostname}:0: unknown host (try --host)`,
    });
  });
}
