import { resolve } from "node:path";
import { fail, isTrue, lastOf, numberOf, type Section, type Statement } from "./conf_file.ts";
import type { Draft, Say } from "./draft.ts";

type ListenerDraft = NonNullable<Draft["listeners"]>[number];

/** What becomes of a listener's options that have no counterpart. */
const leftOut: Record<string, string> = {
  bind_interface: "has no counterpart: give the listener an address of that interface",
  "ciphers": "has no counterpart",
  "ciphers_tls1.3": "has no counterpart",
  crlfile: "has no counterpart: certificates cannot be revoked before they expire",
  dhparamfile: "has no counterpart, and is not needed",
  http_dir: "has no counterpart: files are served by a web server, whose pages `origins` lets in",
  mount_point: "has no counterpart: clients of this listener see the topics of all others",
  tls_engine: "has no counterpart",
  tls_engine_kpass_sha1: "has no counterpart",
  tls_keyform: "has no counterpart",
  use_username_as_clientid: "has no counterpart: ACL rules can tie topics to names, with %u",
};

/** A listener of ours; `undefined` if it would not be as safe as mosquitto's. */
export function listenerOf({ listener, statements }: Section, isLocal: boolean, say: Say): ListenerDraft | undefined {
  for (const statement of statements) {
    if (Object.hasOwn(leftOut, statement.name)) say(statement, leftOut[statement.name]);
  }
  const option = (name: string) => lastOf(statements, name);
  const protocol = option("protocol");
  if (protocol !== undefined && !["mqtt", "websockets"].includes(protocol.value)) {
    say(protocol, "has no counterpart: the listener is left out");
    return undefined;
  }
  const psk = option("psk_hint");
  if (psk !== undefined) {
    say(psk, "has no counterpart: the listener is left out; TLS takes certificates here");
    return undefined;
  }

  const [port, address] = addressOf({ listener, statements }, isLocal, say);
  if (port === 0 && address.startsWith("/")) return { transport: "unix", path: address };
  const certificates = certificatesOf(statements, say);
  if (certificates === "unsafe") return undefined;
  const hostname = { port, hostname: address };
  if (protocol?.value !== "websockets") {
    return certificates === undefined ? hostname : { transport: "tls", ...hostname, ...certificates };
  }
  say(protocol, 'pages of all origins may connect, as to mosquitto; better name yours in place of "*"');
  const origins = ["*"];
  return certificates === undefined
    ? { transport: "ws", ...hostname, origins }
    : { transport: "wss", ...hostname, origins, ...certificates };
}

function addressOf({ listener, statements }: Section, isLocal: boolean, say: Say): [port: number, address: string] {
  const domain = lastOf(statements, "socket_domain");
  const everywhere = domain?.value === "ipv6" ? "::" : "0.0.0.0";
  if (listener === undefined) {
    const port = lastOf(statements, "port");
    const address = lastOf(statements, "bind_address")?.value ?? (isLocal ? "127.0.0.1" : everywhere);
    return [port === undefined ? 1883 : numberOf(port), address];
  }
  const [, digits, rest] = listener.value.match(/^(\d+)(?:\s+(.*))?$/) ?? fail(listener, "must begin with a port");
  const port = Number(digits);
  if (rest !== undefined) return [port, port === 0 ? resolve(rest) : rest.split(" ")[0]];
  if (domain === undefined) {
    say(listener, 'listens on IPv4 only; hostname: "::" is for IPv6, and on most systems for both');
  }
  return [port, everywhere];
}

/** What TLS needs; `undefined` without it, `"unsafe"` if clients could no longer be asked for certificates. */
function certificatesOf(statements: readonly Statement[], say: Say) {
  const [certfile, keyfile, cafile, capath] = ["certfile", "keyfile", "cafile", "capath"]
    .map((name) => lastOf(statements, name));
  if (certfile === undefined) return undefined;
  if (keyfile === undefined) return fail(certfile, "needs a keyfile as well");
  const version = lastOf(statements, "tls_version");
  if (version !== undefined && version.value !== "tlsv1.2") {
    say(version, "has no counterpart: TLS 1.2 and 1.3 are spoken");
  }
  const files = { certificate: resolve(certfile.value), key: resolve(keyfile.value) };
  const required = lastOf(statements, "require_certificate");
  if (!isTrue(required)) {
    if (cafile !== undefined) say(cafile, "is not needed, since no certificate is required of clients");
    return files;
  }
  if (capath !== undefined) say(capath, "has no counterpart: put the certificates of the authorities into one file");
  if (cafile === undefined) {
    say(required!, "needs a cafile here: the listener is left out, since anybody could connect to it");
    return "unsafe";
  }
  for (const name of ["use_identity_as_username", "use_subject_as_username"]) {
    const statement = lastOf(statements, name);
    if (!isTrue(statement)) continue;
    say(statement!, "has no counterpart: a certificate lets a client in, but its user name is the one that it gives");
  }
  return { ...files, clientCertificateAuthority: resolve(cafile.value) };
}

/** What mosquitto limits for each listener, and we for all together. */
export function limitsOf(
  sections: readonly Section[],
  say: Say,
): { connections?: number; topicAliasMaximum?: number; maximumQos?: 0 | 1 | 2 } {
  const limit = (name: string, combine: (values: number[]) => number): number | undefined => {
    const statements = sections.flatMap(({ statements }) => lastOf(statements, name) ?? []);
    const values = statements.map(numberOf).filter((value) => value >= 0);
    if (values.length === 0 || values.length < sections.length) {
      for (const statement of statements) {
        if (numberOf(statement) >= 0) {
          say(statement, "is left out: the limit is one for all listeners, and others have none");
        }
      }
      return undefined;
    }
    const combined = combine(values);
    for (const statement of statements) {
      if (numberOf(statement) !== combined) {
        say(statement, `is ${combined} now, since the limit is one for all listeners`);
      }
    }
    return combined;
  };
  const connections = limit("max_connections", (values) => values.reduce((sum, value) => sum + value));
  const topicAliasMaximum = limit("max_topic_alias", (values) => Math.max(...values));
  const maximumQos = limit("max_qos", (values) => Math.max(...values)) as 0 | 1 | 2 | undefined;
  return {
    ...connections !== undefined && { connections },
    ...topicAliasMaximum !== undefined && { topicAliasMaximum },
    ...maximumQos !== undefined && { maximumQos },
  };
}
