import { BlockList, isIP, isIPv6 } from "node:net";

/**
 * Which peers speak for others: load balancers that put a PROXY protocol header in front of each connection.
 *
 * @example
 * ```ts
 * import { Broker, type ProxyProtocolOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const proxyProtocol: ProxyProtocolOptions = { trusted: ["10.0.0.5", "192.168.0.0/16"] };
 * await broker.listen({ port: 0, proxyProtocol });
 * ```
 */
export interface ProxyProtocolOptions {
  /**
   * Addresses and networks, e.g. `["10.0.0.5", "192.168.0.0/16", "::1"]`. Connections from these must begin with a header
   * of version 1 or 2; all others are what they are. With any other entry `listen` rejects with a `RangeError`.
   */
  trusted: readonly string[];
}

/** What a PROXY protocol header says. */
export interface ProxyHeader {
  /** Where the client connects from; `undefined` if the proxy speaks for itself, e.g. in a health check. */
  remoteAddress: string | undefined;
  /** How many bytes the header has. */
  length: number;
}

const SIGNATURE_V2 = new Uint8Array([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
/** With its CR LF, in bytes. */
const LONGEST_V1 = 107;
/** Headers of version 2 may carry kilobytes of details, which are skipped, in bytes. */
const LONGEST_V2 = 4096;
/** How many bytes the two addresses and ports have in version 2, by address family: IPv4 and IPv6. */
const addressesLength: Partial<Record<number, number>> = { 1: 12, 2: 36 };

/**
 * Reads the PROXY protocol header, version 1 or 2, at the beginning of a connection's bytes; `undefined` if more of them
 * are needed. Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
 *
 * @throws {Error} If they do not begin with a header.
 */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | undefined {
  const compared = Math.min(bytes.length, SIGNATURE_V2.length);
  if (SIGNATURE_V2.subarray(0, compared).every((byte, index) => byte === bytes[index])) {
    return bytes.length < 16 ? undefined : readVersion2(bytes);
  }
  return readVersion1(bytes);
}

function readVersion1(bytes: Uint8Array): ProxyHeader | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, LONGEST_V1));
  if (!"PROXY ".startsWith(text.slice(0, 6))) throw new Error("connection without a PROXY protocol header");
  const end = text.indexOf("\r\n");
  if (end === -1) {
    if (bytes.length >= LONGEST_V1) throw new Error("PROXY protocol header without an end");
    return undefined;
  }
  const [, protocol, source = ""] = text.slice(0, end).split(" ");
  if (protocol === "UNKNOWN") return { remoteAddress: undefined, length: end + 2 };
  if (protocol !== "TCP4" && protocol !== "TCP6") {
    throw new Error(`PROXY protocol header with protocol ${JSON.stringify(protocol)}`);
  }
  const remoteAddress = isIP(source) === (protocol === "TCP4" ? 4 : 6) ? canonical(source) : undefined;
  if (remoteAddress === undefined) {
    throw new Error(`PROXY protocol header with ${protocol} address ${JSON.stringify(source)}`);
  }
  return { remoteAddress, length: end + 2 };
}

function readVersion2(bytes: Uint8Array): ProxyHeader | undefined {
  const version = bytes[12] >> 4;
  const command = bytes[12] & 0x0f;
  if (version !== 2 || command > 1) throw new Error(`PROXY protocol header of version ${version}, command ${command}`);
  const length = 16 + ((bytes[14] << 8) | bytes[15]);
  if (length > LONGEST_V2) throw new Error(`PROXY protocol header of ${length} bytes`);
  if (bytes.length < length) return undefined;
  // The proxy speaks for itself.
  if (command === 0) return { remoteAddress: undefined, length };
  const family = bytes[13] >> 4;
  if (length < 16 + (addressesLength[family] ?? 0)) {
    throw new Error(`PROXY protocol header of ${length} bytes without its addresses`);
  }
  if (family === 1) return { remoteAddress: bytes.subarray(16, 20).join("."), length };
  if (family === 2) {
    const groups = Array.from({ length: 8 }, (_, index) => (bytes[16 + 2 * index] << 8) | bytes[17 + 2 * index]);
    return { remoteAddress: canonical(groups.map((group) => group.toString(16)).join(":")), length };
  }
  return { remoteAddress: undefined, length };
}

/** An address as the system writes those of its peers, so that nobody has two of them; `undefined` if it is none. */
function canonical(address: string): string | undefined {
  return isIPv6(address) ? URL.parse(`http://[${address}]`)?.hostname.slice(1, -1) : address;
}

/**
 * Whether an address is among these addresses and networks.
 *
 * @throws {RangeError} If one of them is neither an address nor a network.
 */
export function trustedPeers({ trusted }: ProxyProtocolOptions): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of trusted) {
    const { address = "", prefix } = /^(?<address>[^/]+)(\/(?<prefix>\d+))?$/.exec(entry)?.groups ?? {};
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    try {
      if (prefix === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(prefix), family);
    } catch {
      throw new RangeError(`proxyProtocol.trusted holds ${JSON.stringify(entry)}, which is no address and no network`);
    }
  }
  return (address) => list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
