/**
 * Every option of a configuration: its name, what it can be, its default and what it means. This is the one place where
 * an option is added; the file's and the environment's errors, the `Config` type and `hookmq.yaml` follow from it.
 *
 * @module
 */
import { z } from "zod";
import type { UnixListenOptions } from "../../broker/listeners/unix.ts";
import type { SecureWebSocketListenOptions, WebSocketListenOptions } from "../../broker/listeners/web_socket.ts";
import type { TcpListenOptions } from "../../broker/listeners/tcp.ts";
import type { TlsListenOptions } from "../../broker/listeners/tls.ts";
import type { TlsOptions } from "../../broker/listeners/tls_context.ts";
import { type ProxyProtocolOptions, trustedPeers } from "../../broker/listeners/proxy_protocol.ts";
import { defaultLimits, type Limits } from "../../broker/limits.ts";
import type { BrokerOptions } from "../../broker/options.ts";
import { isTopicFilter, isTopicName } from "../../codec/topic.ts";
import type {
  AclOptions,
  AclRule,
  AuthOptions,
  ClusterOptions,
  LoggerOptions,
  MetricsOptions,
  RateLimitOptions,
  RedisHookOptions,
  RedisTlsOptions,
  SqliteOptions,
  SysOptions,
} from "../../hooks/mod.ts";
import { isExposed } from "./exposure.ts";

/**
 * A schema for each option of an interface but those that only a program can give, such as functions. An option that is
 * added there and is missing here, or is of another type here, does not pass the type check.
 */
type SchemaOf<Options, OnlyForPrograms extends keyof Options = never> = {
  [Name in Exclude<keyof Options, OnlyForPrograms>]-?: z.ZodType<Options[Name]>;
};

/** The path of a file. One that stands in a configuration file is looked for from that file's directory. */
const path = () => text().meta({ isPath: true });

/** A text that errors do not show, and that may be `{ file: path }` to be read from there. */
const secret = () => text().meta({ isSecret: true });

const text = () => z.string().min(1);

const positive = () => z.number().gt(0);

/** What the hooks take as a number of seconds, unless they are choosier. */
const seconds = () => z.number().gt(0).max(1_000_000);

const proxyProtocol = z.strictObject(
  {
    trusted: z.array(
      text().superRefine((trusted, context) => {
        try {
          trustedPeers({ trusted: [trusted] });
        } catch {
          const message = "is no address and no network, such as 10.0.0.5 or 192.168.0.0/16";
          context.addIssue({ code: "custom", message });
        }
      }),
    ).describe(
      "Addresses and networks: connections from these must begin with a header of version 1 or 2, all others are what " +
        "they are.",
    ).meta({ example: ["10.0.0.5", "192.168.0.0/16"] }),
  } satisfies SchemaOf<ProxyProtocolOptions>,
).optional().describe("Which peers say in a PROXY protocol header whom they connect for.");

const network = (port: number) => ({
  hostname: text().default("127.0.0.1").describe(
    "A host name or address of this machine, 0.0.0.0 or :: for all of them.",
  ),
  port: z.int().min(0).max(65_535).default(port).describe("0 lets the system choose one."),
  proxyProtocol,
});

const tls = {
  certificate: path().describe(
    "The server's certificate, with intermediate ones behind it: a file, or the PEM text itself.",
  ).meta({ example: "server.pem" }),
  key: path().describe("The certificate's private key: a file, or the PEM text itself.").meta({
    example: "server.key",
    isSecret: true,
  }),
  clientCertificateAuthority: path().optional().describe(
    "The authority that clients' certificates must be signed by: a file, or the PEM text itself. With it, a client " +
      "without such a certificate is turned away (mutual TLS).",
  ).meta({ example: "clients.pem" }),
} satisfies SchemaOf<TlsOptions>;

const webSocket = (port: number) => ({
  ...network(port),
  path: z.string().startsWith("/").optional().describe("The only path that is answered; unless it is set, any is.")
    .meta({ example: "/mqtt", expects: 'a text that begins with "/"' }),
  origins: z.array(text()).default([]).describe(
    'Which pages of other hosts may connect, e.g. ["https://dashboard.example.org"], or ["*"] for all. A page of the ' +
      "same host, and a client that is no browser, always may.",
  ),
});

const tcpListener = z.strictObject(
  {
    transport: z.literal("tcp").optional().describe("MQTT over TCP."),
    ...network(1883),
  } satisfies SchemaOf<TcpListenOptions>,
);

const tlsListener = z.strictObject(
  {
    transport: z.literal("tls").describe("MQTT over TLS. SIGHUP reads the certificates again."),
    ...network(8883),
    ...tls,
  } satisfies SchemaOf<TlsListenOptions>,
);

const webSocketListener = z.strictObject(
  {
    transport: z.literal("ws").describe("MQTT over WebSocket, for browsers."),
    ...webSocket(8083),
  } satisfies SchemaOf<WebSocketListenOptions>,
);

const secureWebSocketListener = z.strictObject(
  {
    transport: z.literal("wss").describe("MQTT over WebSocket over TLS. SIGHUP reads the certificates again."),
    ...webSocket(8084),
    ...tls,
  } satisfies SchemaOf<SecureWebSocketListenOptions>,
);

const unixListener = z.strictObject(
  {
    transport: z.literal("unix").describe("MQTT over a Unix socket, for clients on this machine."),
    path: path().describe("The socket's file. One that nobody listens on any more is replaced.")
      .meta({ example: "/run/hookmq.sock" }),
    // A text, since YAML takes 0660 for the decimal number 660.
    mode: z.string().regex(/^0?[0-7]{3}$/).transform((mode) => parseInt(mode, 8)).optional()
      .describe("The file's permissions; unless they are set, what the process's umask leaves.")
      .meta({ example: "660", expects: 'permissions in octal and in quotes, such as "660"' }),
  } satisfies SchemaOf<UnixListenOptions>,
);

const listener = z.discriminatedUnion("transport", [
  tcpListener,
  tlsListener,
  webSocketListener,
  secureWebSocketListener,
  unixListener,
]);

const limits = z.strictObject(
  {
    connections: z.int().min(1).default(defaultLimits.connections)
      .describe("Connections at one time; one more is closed at once."),
    connectionsPerAddress: z.int().min(1).optional()
      .describe("Connections at one time from one remote address; unless it is set, there is no limit of its own.")
      .meta({ example: 100 }),
    connectTimeout: z.number().min(1).default(defaultLimits.connectTimeout)
      .describe("Time from the connection to the end of CONNECT and authentication, in seconds."),
    packetSize: z.int().min(64).max(268_435_460).default(defaultLimits.packetSize)
      .describe("Largest packet accepted, in bytes with its fixed header."),
    clientIdLength: z.int().min(1).default(defaultLimits.clientIdLength)
      .describe("Longest client identifier, in bytes of UTF-8."),
    topicLength: z.int().min(1).max(65_535).default(defaultLimits.topicLength)
      .describe("Longest topic name or filter, in bytes of UTF-8."),
    topicLevels: z.int().min(1).default(defaultLimits.topicLevels)
      .describe("Most levels (parts between slashes) of a topic name or filter."),
    subscriptions: z.int().min(1).default(defaultLimits.subscriptions).describe("Subscriptions of one session."),
    receiveMaximum: z.int().min(1).max(65_535).default(defaultLimits.receiveMaximum)
      .describe("QoS 1 and 2 messages from one client that are not acknowledged yet."),
    inflight: z.int().min(1).max(65_535).default(defaultLimits.inflight)
      .describe("QoS 1 and 2 messages to one client that are not acknowledged yet; a client can ask for less."),
    queueMessages: z.int().min(0).default(defaultLimits.queueMessages).describe("Messages that wait for one client."),
    queueBytes: z.int().min(0).default(defaultLimits.queueBytes).describe(
      "Bytes of messages that wait for one client.",
    ),
    outboundBytes: z.int().min(1).default(defaultLimits.outboundBytes).describe(
      "Bytes that wait to be written to one connection; past it QoS 0 messages are dropped and others wait in the " +
        "session's queue.",
    ),
    topicAliasMaximum: z.int().min(0).max(65_535).default(defaultLimits.topicAliasMaximum)
      .describe("Highest topic alias that a client may use; 0 switches aliases from clients off."),
    userProperties: z.int().min(0).default(defaultLimits.userProperties).describe("User properties in one packet."),
    retainedMessages: z.int().min(0).default(defaultLimits.retainedMessages)
      .describe("Topics with a retained message; a new one is refused past it."),
  } satisfies SchemaOf<Partial<Limits>>,
);

const broker = {
  limits: limits.prefault({}).describe("What clients may use."),
  queuePolicy: z.enum(["drop-oldest", "drop-new", "disconnect"]).default("drop-oldest").describe(
    "What happens to a QoS 1 or 2 message for a client whose queue is full: the oldest waiting message is dropped for " +
      "it, or it is dropped itself, and with disconnect the client, if connected, is disconnected as well.",
  ),
  maximumKeepAlive: z.int().min(1).max(0xffff).default(0xffff)
    .describe("Longest keep alive, in seconds; an MQTT 5 client that asks for more, or for none, is told this one."),
  maximumSessionExpiry: z.int().min(0).max(0xffff_ffff).default(0xffff_ffff)
    .describe("Longest time that a session outlives its connection, in seconds; 4294967295 is for ever."),
  maximumQos: z.literal([0, 1, 2]).default(2).describe("Highest QoS that clients may publish with."),
  retainAvailable: z.boolean().default(true).describe("Whether clients may publish retained messages."),
  wildcardSubscriptionAvailable: z.boolean().default(true).describe("Whether filters may hold wildcards."),
  subscriptionIdentifiersAvailable: z.boolean().default(true).describe("Whether subscriptions may have identifiers."),
  sharedSubscriptionAvailable: z.boolean().default(true).describe("Whether subscriptions may be shared."),
  refusedPublish: z.enum(["acknowledge", "disconnect"]).default("acknowledge").describe(
    "What an MQTT 3.1 or 3.1.1 client sees when its message is refused, since those versions have no word for it: an " +
      "acknowledgement as if nothing had happened, or a closed connection.",
  ),
} satisfies SchemaOf<BrokerOptions, "logger" | "responseInformation">;

const auth = z.strictObject(
  {
    credentials: z.record(text(), secret()).optional().describe(
      "Users and their passwords: a plain text, a hash as in a password file, or { file: path } to read it from there. " +
        "SIGHUP applies changes.",
    ).meta({ isSecret: true, example: { alice: "correct horse battery staple", bob: { file: "/run/secrets/bob" } } }),
    passwordFile: path().optional().describe(
      'A file with a line "user:hash" for each user, as "hookmq passwd" and mosquitto_passwd write it. It may be given ' +
        "besides credentials, which come first.",
    ).meta({ example: "users.txt" }),
    allowAnonymous: z.boolean().default(false)
      .describe("Whether clients with neither a user name nor a password are let in, without asking anything."),
    reloadInterval: z.number().min(0).max(1_000_000).default(1).describe(
      "How often to look whether the password file has changed, in seconds; with 0 only SIGHUP reads it again.",
    ),
    concurrency: z.int().min(1).max(256).optional()
      .describe("How many hashes are computed at one time; unless it is set, the processors less one, but 1 to 4.")
      .meta({ example: 2 }),
    maximumWaiting: z.int().min(0).default(1000)
      .describe("How many logins may wait for their hash to be computed; one more is refused."),
    rememberLogins: z.boolean().default(true)
      .describe("Whether a password that was right is recognised the next time without computing its hash."),
    maximumFailures: z.int().min(1).default(5)
      .describe("How many failed logins of one user name from one address are forgiven in a failureWindow."),
    maximumFailuresPerAddress: z.int().min(1).default(50)
      .describe("How many failed logins from one address are forgiven in a failureWindow."),
    failureWindow: seconds().default(60).describe("In how many seconds that many failures are forgiven."),
    backoff: seconds().default(1)
      .describe("For how many seconds logins are held back after too many failures; each further failure doubles it."),
    maximumBackoff: seconds().default(30).describe("The longest that logins are held back, in seconds."),
  } satisfies SchemaOf<AuthOptions, "validator">,
).refine(({ credentials, passwordFile }) => credentials !== undefined || passwordFile !== undefined, {
  error: "needs credentials, passwordFile or both",
});

const aclRule = z.strictObject(
  {
    permission: z.enum(["allow", "deny"]).describe("What follows if the rule matches.").meta({ example: "allow" }),
    clientId: text().optional().describe('The client ids that it is for; each "*" stands for any characters.')
      .meta({ example: "sensor-*" }),
    username: text().optional().describe(
      'The user names that it is for; each "*" stands for any characters. A client without a user name never matches.',
    ).meta({ example: "alice" }),
    topicFilter: z.string().superRefine((filter, context) => {
      const message = faultOfRuleFilter(filter);
      if (message !== undefined) context.addIssue({ code: "custom", message });
    }).optional().describe(
      'The topics that it is for. May hold "+" and "#", %c for the client id and %u for the user name. A wildcard at ' +
        "the first level does not match topics that begin with $.",
    ).meta({ example: "home/%u/#" }),
    access: z.enum(["read", "write", "all"]).default("all")
      .describe("Whether it is for receiving (read), for publishing (write) or for both (all)."),
  } satisfies SchemaOf<AclRule>,
);

const acl = z.strictObject(
  {
    rules: z.array(aclRule).default([]).describe(
      "In the order in which they are looked at: the first one that matches decides. What a rule leaves out matches " +
        "everything. SIGHUP applies changes.",
    ),
    denyByDefault: z.boolean().default(false)
      .describe("What holds where no rule matches: everything is allowed (false) or denied (true)."),
    wideSubscriptions: z.enum(["refuse", "filter"]).default("refuse").describe(
      'What happens to a subscription that asks for more than the client may read, e.g. "#" where only "home/#" is ' +
        "allowed: it is refused, or it is granted and only those messages are sent that the client may read.",
    ),
  } satisfies SchemaOf<AclOptions>,
);

const rateLimit = z.strictObject(
  {
    publishRate: positive().optional().describe("Messages per interval; unless it is set, any number.")
      .meta({ example: 100 }),
    byteRate: positive().optional()
      .describe("Bytes per interval: payload, topic name and properties; unless it is set, any number.")
      .meta({ example: 1_000_000 }),
    interval: positive().default(1).describe("What the rates are per, in seconds."),
    burstSize: z.number().min(1).optional()
      .describe("Messages that may come at once after a pause; unless it is set, 2 x publishRate, but at least 1.")
      .meta({ example: 200 }),
    byteBurst: positive().optional()
      .describe("Bytes that may come at once after a pause; unless it is set, 2 x byteRate.")
      .meta({ example: 2_000_000 }),
    onExceed: z.enum(["drop", "delay", "disconnect"]).default("drop").describe(
      "What happens to a message over the limit: it is refused (0x97), it waits and its client with it, or its client " +
        "is disconnected (0x96).",
    ),
    scope: z.enum(["clientId", "username", "remoteAddress"]).default("clientId")
      .describe("Who shares one limit: the connections of one client id, of one user, or from one address."),
  } satisfies SchemaOf<RateLimitOptions, "now">,
).refine(({ publishRate, byteRate }) => publishRate !== undefined || byteRate !== undefined, {
  error: "needs publishRate, byteRate or both",
});

const logger = z.strictObject(
  {
    level: z.array(z.enum(["connection", "subscribe", "publish", "session", "all"]))
      .default(["connection", "subscribe", "session"])
      .describe("What to write, at the levels info, warning and, for messages, debug; publish costs throughput."),
  } satisfies SchemaOf<LoggerOptions, "logger">,
);

const sys = z.strictObject(
  {
    interval: z.number().refine((interval) => interval === 0 || (interval >= 0.1 && interval <= 2_147_483), {
      error: "must be 0, or a number from 0.1 to 2147483",
    }).default(10).describe("Time between two publications, in seconds; with 0 they are published once, at the start.")
      .meta({ expects: "0, or a number from 0.1 to 2147483" }),
    version: text().optional().describe("What the topic version says; unless it is set, HookMQ and its version.")
      .meta({ example: "HookMQ" }),
    topicPrefix: z.string().refine((prefix) => isTopicName(prefix) && !prefix.endsWith("/"), {
      error: 'must be a topic name without a "/" at its end',
    }).default("$SYS/broker").describe("What the topics begin with.").meta({ expects: "a topic name" }),
  } satisfies SchemaOf<SysOptions>,
);

const sqlite = z.strictObject(
  {
    path: path().describe(
      "The database's file, which is made if it is not there. Its log lies next to it, with `-wal` behind the name.",
    )
      .meta({ example: "hookmq.db" }),
    maximumSize: z.int().min(1).optional().describe(
      "How large the file may become, in bytes; past it messages are refused. Unless it is set, there is no limit.",
    ).meta({ example: 1_000_000_000 }),
  } satisfies SchemaOf<SqliteOptions>,
);

const redisTls = z.strictObject(
  {
    certificateAuthority: path().optional().describe(
      "The authority that has signed the server's certificate: a file, or the PEM text itself. Unless it is set, those of " +
        "the system.",
    ).meta({ example: "redis-authority.pem" }),
    certificate: path().optional().describe(
      "The certificate that the server wants to see: a file, or the PEM text itself.",
    ).meta({ example: "redis-client.pem" }),
    key: path().optional().describe("That certificate's private key: a file, or the PEM text itself.").meta({
      example: "redis-client.key",
      isSecret: true,
    }),
  } satisfies SchemaOf<RedisTlsOptions>,
);

/** Where Redis is, and how it is used. */
const { addr, ...redisServer } = {
  addr: text().optional().describe(
    "Where Redis or Valkey is: host:port or redis://user:password@host:port/db, with rediss:// for TLS. Unless it is " +
      "set, 127.0.0.1:6379.",
  ).meta({ example: "127.0.0.1:6379" }),
  username: text().optional().describe("The user name, unless it is in the address.").meta({ example: "hookmq" }),
  password: secret().optional().describe(
    "The password, unless it is in the address: a text, or { file: path } to read it from there.",
  ).meta({ example: "correct horse battery staple" }),
  db: z.int().min(0).optional().describe("The number of the database; a Redis Cluster has none but 0.")
    .meta({ example: 0 }),
  tls: redisTls.optional().describe("That connections are encrypted, as with rediss://, and how."),
  keyPrefix: z.string().default("mqtt:").describe("What the names of all keys and channels begin with."),
};

const cluster = z.strictObject(
  {
    nodeId: text().optional().describe(
      "What this broker is called among the others; each has another name. Unless it is set, the machine's name.",
    ).meta({ example: "a" }),
    addr,
    addrs: z.array(text()).min(1).optional().describe(
      "Where some servers of a Redis Cluster are, instead of addr: one that answers is enough to find the others.",
    ).meta({ example: ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"] }),
    ...redisServer,
    heartbeatInterval: z.number().min(0.1).max(3600).default(3)
      .describe("How often a broker says that it is there, in seconds."),
    nodeTtl: z.number().min(0.2).max(86_400).default(10).describe(
      "How long the others wait for that until they take a broker for dead, in seconds; at least 2 x heartbeatInterval.",
    ),
  } satisfies SchemaOf<Partial<ClusterOptions>, "client">,
);

const redis = z.strictObject(
  {
    addr,
    ...redisServer,
    nodeId: text().optional().describe(
      "What this broker is called. Brokers with a name that use the same Redis send each other messages, as those of " +
        "hooks.cluster do.",
    ).meta({ example: "a" }),
  } satisfies SchemaOf<RedisHookOptions, "client">,
);

const metrics = z.strictObject(
  {
    hostname: text().default("127.0.0.1").describe(
      "A host name or address of this machine, 0.0.0.0 or :: for all of them. Nobody is asked for a password.",
    ),
    port: z.int().min(0).max(65_535).default(9883).describe("0 lets the system choose one."),
  } satisfies SchemaOf<MetricsOptions>,
);

const hooks = z.strictObject({
  auth: auth.optional().describe(
    "Lets clients in only with a user name and the right password, from credentials, passwordFile or both.",
  ),
  rateLimit: rateLimit.optional().describe("Limits how fast each client publishes: publishRate, byteRate or both."),
  acl: acl.optional().describe("Allows and denies clients their topics."),
  logger: logger.optional().describe("Logs what clients do. Payloads and passwords are never logged."),
  sqlite: sqlite.optional().describe(
    "Keeps sessions that outlive their connection, their messages, and retained messages in an SQLite database.",
  ),
  redis: redis.optional().describe(
    "Keeps sessions that outlive their connection, their messages, and retained messages in Redis or Valkey, for this " +
      "broker alone.",
  ),
  cluster: cluster.optional().describe(
    "Makes this broker and others one, wherever clients connect. Sessions and retained messages are kept in the Redis or " +
      "Valkey in which the brokers meet.",
  ),
  sys: sys.optional().describe("Publishes the broker's figures below $SYS/broker."),
  metrics: metrics.optional().describe(
    "Serves /metrics for Prometheus, /healthz and /healthz/ready over HTTP on a port of its own.",
  ),
});

const log = z.strictObject({
  level: z.enum(["debug", "info", "warning", "error"]).default("info").describe(
    "The least severe records that are written. SIGHUP applies a change of log's options.",
  ),
  format: z.enum(["text", "json"]).default("text").describe("A line of text for each record, or one of JSON."),
  file: path().optional().describe(
    "A file to append to; unless it is set, standard error. SIGHUP opens it again, as programs that rotate logs need it.",
  ).meta({ example: "/var/log/hookmq.log" }),
});

/** The hooks that keep sessions and retained messages. */
const stores = ["cluster", "redis", "sqlite"] as const;

/** All that a configuration can say. */
export const configSchema = z.strictObject({
  listeners: z.array(listener).min(1).prefault([{}]).describe("Where clients connect: any number of these."),
  anonymous: z.boolean().default(false).describe(
    "Whether to listen beyond this machine also if there is no authentication. Without it, such a listener needs " +
      "hooks.auth, or clientCertificateAuthority.",
  ),
  ...broker,
  hooks: hooks.prefault({}).describe(
    "What is switched on besides the protocol itself. A hook is in use if it stands here, also with nothing below it.",
  ),
  log: log.prefault({}).describe("What the broker and its hooks have to say."),
}).superRefine(({ hooks }, context) => {
  const [store, ...others] = stores.filter((name) => hooks[name] !== undefined);
  for (const name of others) {
    const message = `hooks.${store} keeps sessions and retained messages already: leave one of them out`;
    context.addIssue({ code: "custom", path: ["hooks", name], message });
  }
}).superRefine((config, context) => {
  if (config.anonymous || config.hooks.auth !== undefined) return;
  for (const [index, listener] of config.listeners.entries()) {
    if (!isExposed(listener)) continue;
    context.addIssue({
      code: "custom",
      path: ["listeners", index, "hostname"],
      message: "cannot listen beyond this machine without authentication: anybody who reaches it could connect; " +
        "configure hooks.auth (--user), or allow it with anonymous: true (--anonymous)",
    });
  }
});

/** A configuration: of the file, the environment and the command line, with every default filled in. */
export type Config = z.infer<typeof configSchema>;

/** What is wrong with the topic filter of an ACL rule; `undefined` if nothing is. */
function faultOfRuleFilter(filter: string): string | undefined {
  const levels = filter.split("/");
  const sharp = levels.indexOf("#");
  if (filter.startsWith("$share/")) return "rules are for the filter inside a shared subscription";
  if (sharp !== -1 && sharp < levels.length - 1) return '"#" may only be the last level';
  if (levels.some((level) => level.length > 1 && /[+#]/.test(level))) return '"+" and "#" stand for whole levels only';
  // A substitution stands for a part of a level.
  return isTopicFilter(filter.replace(/%[cu]/g, "name")) ? undefined : "is no topic filter";
}
