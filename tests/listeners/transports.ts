import type { Broker, NetworkListenOptions } from "../../mod.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import type { Duplex } from "../support/raw_client.ts";
import { createAuthority, issueCertificate } from "./certificates.ts";
import { openWebSocket } from "./web_socket_client.ts";

/** Makes a connection of a client. */
export type Open = () => Duplex | Promise<Duplex>;

/** A way to reach a broker. */
export interface TestTransport {
  name: string;
  /** Has the broker listen in this way, and returns how a client connects. */
  listen(broker: Broker): Promise<Open>;
}

const hostname = "127.0.0.1";
const authority = await createAuthority();
const caCerts = [authority.certificate];
const server = await issueCertificate(authority, "server");
const { certificate: cert, key } = await issueCertificate(authority, "client");

/** Every way to reach a broker. */
export const transports: readonly TestTransport[] = [
  onPort("TCP", {}, connectTcp),
  onPort("TCP behind a proxy", { proxyProtocol: { trusted: [hostname] } }, async (port) => {
    const conn = await connectTcp(port);
    await conn.write(new TextEncoder().encode("PROXY TCP4 192.0.2.7 192.0.2.1 40000 1883\r\n"));
    return conn;
  }),
  onPort("TLS", { transport: "tls", ...server }, (port) => Deno.connectTls({ hostname, port, caCerts })),
  onPort(
    "mutual TLS",
    { transport: "tls", ...server, clientCertificateAuthority: authority.certificate },
    (port) => Deno.connectTls({ hostname, port, caCerts, cert, key }),
  ),
  onPort("WebSocket", { transport: "ws" }, (port) => openWebSocket(`ws://${hostname}:${port}`)),
  onPort(
    "secure WebSocket",
    { transport: "wss", ...server },
    (port) => openWebSocket(`wss://${hostname}:${port}`, { authority }),
  ),
  {
    name: "Unix socket",
    async listen(broker) {
      const path = await Deno.makeTempFile({ suffix: ".sock" });
      await Deno.remove(path);
      await broker.listen({ transport: "unix", path });
      return () => Deno.connect({ transport: "unix", path });
    },
  },
  {
    name: "streams in memory",
    listen: (broker) =>
      Promise.resolve(() => {
        const [here, there] = duplexPair();
        broker.serve(there);
        return here;
      }),
  },
];

async function connectTcp(port: number): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname, port });
  conn.setNoDelay(true);
  return conn;
}

function onPort(
  name: string,
  options: NetworkListenOptions,
  open: (port: number) => Duplex | Promise<Duplex>,
): TestTransport {
  return {
    name,
    async listen(broker) {
      const { address } = await broker.listen({ ...options, port: 0 });
      return () => open(address.port);
    },
  };
}
