import { readTextFile } from "../config/text_file.ts";
import { Failure } from "../failure.ts";

const defaultPorts = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 } as const;

/** MQTT over TCP, over TLS, over WebSocket, and over WebSocket over TLS. */
type Protocol = keyof typeof defaultPorts;

/** What a broker's URL says. */
export interface BrokerUrl {
  protocol: Protocol;
  host: string;
  port: number;
  /** Where the broker is asked for a WebSocket. */
  path: string;
  username?: string;
  password?: string;
}

/** The options that say where the broker is, and how client and broker know each other. */
export interface AddressOptions {
  host: string;
  port?: number;
  url?: BrokerUrl;
  tls?: true;
  cafile?: string;
  cert?: string;
  key?: string;
}

/** Where the broker is, and with which certificates to speak to it, as PEM texts. */
export interface BrokerAddress extends BrokerUrl {
  ca?: string;
  cert?: string;
  key?: string;
}

/**
 * Reads the value of `--url`.
 *
 * @throws {Failure} If it is none. The message does not show its password, as commander's own would.
 */
export function readBrokerUrl(value: string): BrokerUrl {
  const url = URL.parse(value);
  const protocol = url?.protocol.slice(0, -1);
  if (url === null || !isProtocol(protocol) || url.hostname === "") {
    throw wrong("the URL must look like mqtts://HOST:PORT; there are mqtt, mqtts, ws and wss");
  }
  const overWebSocket = protocol === "ws" || protocol === "wss";
  if (!overWebSocket && !["", "/"].includes(url.pathname)) throw wrong("only ws and wss have a path; topics go to -t");
  return {
    protocol,
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port || defaultPorts[protocol]),
    path: url.pathname + url.search,
    username: decoded(url.username),
    password: decoded(url.password),
  };
}

/**
 * Puts together what the options say.
 *
 * @throws {Failure} If they do not go together, or a file cannot be read.
 */
export async function brokerAddress(options: AddressOptions): Promise<BrokerAddress> {
  const { host, port, url, cafile, cert, key } = options;
  const withTls = options.tls || [cafile, cert, key].some((file) => file !== undefined);
  if (withTls && (url?.protocol === "mqtt" || url?.protocol === "ws")) {
    throw wrong("for TLS it begins with mqtts or wss");
  }
  if ((cert === undefined) !== (key === undefined)) throw new Failure("--cert and --key go together", 2);
  const protocol = withTls ? "mqtts" : "mqtt";
  return {
    ...url ?? { protocol, host, port: port ?? defaultPorts[protocol], path: "" },
    ca: await readPem("--cafile", cafile),
    cert: await readPem("--cert", cert),
    key: await readPem("--key", key),
  };
}

function isProtocol(name: string | undefined): name is Protocol {
  return name !== undefined && Object.hasOwn(defaultPorts, name);
}

function decoded(text: string): string | undefined {
  if (text === "") return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    throw wrong("a percent sign in a name or password is written as %25");
  }
}

async function readPem(option: string, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  return await readTextFile(file).catch((error) => {
    throw new Failure(`${option}: ${error.message}`);
  });
}

function wrong(message: string): Failure {
  return new Failure(`--url: ${message}`, 2);
}
