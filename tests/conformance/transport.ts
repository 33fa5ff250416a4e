import { createAuthority, issueCertificate } from "../listeners/certificates.ts";
import { openWebSocket } from "../listeners/web_socket_client.ts";
import type { Duplex } from "../support/raw_client.ts";

/** What MQTT can be carried over. */
export const transports = ["tcp", "tls", "websocket", "unix"] as const;

/** One of {@linkcode transports}. */
export type Transport = (typeof transports)[number];

/** A way to reach a broker that runs in another process. */
export interface Endpoint {
  /** What the broker's environment must say for it to listen in this way, in the words of `hookmq serve`. */
  environment: Record<string, string>;
  /** Connects to the URL that the broker says it listens on. */
  connect(url: string): Promise<Duplex>;
}

/** The transport that `CONFORMANCE_TRANSPORT` names, TCP unless it is set. */
export function chosenTransport(): Transport {
  return parseTransport(Deno.env.get("CONFORMANCE_TRANSPORT") ?? "tcp");
}

/** @throws {RangeError} If there is no such transport. */
export function parseTransport(name: string): Transport {
  const transport = transports.find((transport) => transport === name);
  if (transport === undefined) throw new RangeError(`"${name}" is no transport; there are ${transports.join(", ")}`);
  return transport;
}

/** Makes ready to have one broker listen over a transport; its files, if there are any, lie in `directory`. */
export async function createEndpoint(transport: Transport, directory: string): Promise<Endpoint> {
  switch (transport) {
    case "tcp":
      return {
        environment: { HOOKMQ_LISTENERS_0_TRANSPORT: "tcp", HOOKMQ_LISTENERS_0_PORT: "0" },
        connect: connectTcp,
      };
    case "tls": {
      const authority = await createAuthority();
      const { certificate, key } = await issueCertificate(authority, "server");
      return {
        environment: {
          HOOKMQ_LISTENERS_0_TRANSPORT: "tls",
          HOOKMQ_LISTENERS_0_PORT: "0",
          HOOKMQ_LISTENERS_0_CERTIFICATE: certificate,
          HOOKMQ_LISTENERS_0_KEY: key,
        },
        async connect(url) {
          const { hostname } = new URL(url);
          return await Deno.startTls(await connectTcp(url), { hostname, caCerts: [authority.certificate] });
        },
      };
    }
    case "websocket":
      return {
        environment: { HOOKMQ_LISTENERS_0_TRANSPORT: "ws", HOOKMQ_LISTENERS_0_PORT: "0" },
        connect: (url) => openWebSocket(url),
      };
    case "unix":
      return {
        environment: { HOOKMQ_LISTENERS_0_TRANSPORT: "unix", HOOKMQ_LISTENERS_0_PATH: `${directory}/hookmq.sock` },
        connect: (url) => Deno.connect({ transport: "unix", path: new URL(url).pathname }),
      };
  }
}

async function connectTcp(url: string): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const conn = await Deno.connect({ hostname, port: Number(port) });
  conn.setNoDelay(true);
  return conn;
}
