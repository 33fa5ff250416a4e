import { join, resolve } from "node:path";
import { fail, isTrue, lastOf, numberOf, type Statement } from "./conf_file.ts";
import type { Draft, Say } from "./draft.ts";
import { loggingOf } from "./log_options.ts";

/** What becomes of options of the broker that have no counterpart. */
const leftOut: Record<string, string> = {
  auth_plugin_deny_special_chars: "has no counterpart",
  autosave_interval: "is not needed: what is acknowledged is in the database",
  autosave_on_changes: "is not needed: what is acknowledged is in the database",
  check_retain_source: "has no counterpart: retained messages stay when their publisher may no longer publish them",
  clientid_prefixes: "has no counterpart: clients with any id may connect; ACL rules can ask for a clientId",
  log_facility: "has no counterpart: the log goes to a file or to standard error",
  log_timestamp_format: "has no counterpart: timestamps are as in RFC 3339",
  max_inflight_bytes: "has no counterpart: limits.inflight counts messages",
  memory_limit: "has no counterpart: the service manager can limit a process",
  message_size_limit: "has no counterpart: limits.packetSize is for the whole packet, not for the payload alone",
  pid_file: "has no counterpart: the service manager knows the process",
  user: "has no counterpart: have the service manager start it as this user",
  websockets_headers_size: "has no counterpart",
  websockets_log_level: "has no counterpart",
};

/** Options that another part of the translation looks at, or that go without saying. */
const elsewhere = new Set([
  ..."acl_file allow_anonymous allow_zero_length_clientid auth_plugin auto_id_prefix password_file plugin".split(" "),
  ..."psk_file connection_messages log_dest log_type persistence_file persistence_location set_tcp_nodelay".split(" "),
]);

const secondsPer = { h: 3600, d: 86_400, w: 604_800, m: 2_592_000, y: 31_536_000 };

/** What the options of mosquitto as a whole are in ours. */
export function translateGlobal(statements: readonly Statement[], say: Say): Draft {
  const { log, logger } = loggingOf(statements, say);
  const draft: Draft = { ...log && { log } };
  const limits: NonNullable<Draft["limits"]> = {};
  // Mosquitto publishes its figures unless told otherwise.
  const hooks: NonNullable<Draft["hooks"]> = { sys: {}, ...logger && { logger } };
  for (const statement of statements) {
    const { name } = statement;
    switch (name) {
      case "log_timestamp":
        if (!isTrue(statement)) say(statement, "has no counterpart: every record has a timestamp");
        break;
      case "max_inflight_messages":
        limits.inflight = numberOf(statement) || 65_535;
        break;
      case "max_keepalive":
        draft.maximumKeepAlive = numberOf(statement) || 65_535;
        break;
      case "max_packet_size":
        if (numberOf(statement) > 0) limits.packetSize = Math.max(64, numberOf(statement));
        break;
      case "max_queued_bytes":
        limits.queueBytes = numberOf(statement) || Number.MAX_SAFE_INTEGER;
        draft.queuePolicy = "drop-new";
        break;
      case "max_queued_messages":
        limits.queueMessages = numberOf(statement) || Number.MAX_SAFE_INTEGER;
        draft.queuePolicy = "drop-new";
        break;
      case "persistence":
        if (!isTrue(statement)) break;
        hooks.sqlite = { path: resolve(join(lastOf(statements, "persistence_location")?.value ?? "", "hookmq.db")) };
        say(statement, "goes to a database of its own: what mosquitto has stored is not taken over");
        break;
      case "persistent_client_expiration":
        draft.maximumSessionExpiry = secondsOf(statement);
        break;
      case "queue_qos0_messages":
        if (isTrue(statement)) say(statement, "has no counterpart: QoS 0 does not wait for clients that are away");
        break;
      case "retain_available":
        draft.retainAvailable = isTrue(statement);
        break;
      case "sys_interval":
        if (numberOf(statement) > 0) hooks.sys = { interval: numberOf(statement) };
        else delete hooks.sys;
        break;
      case "upgrade_outgoing_qos":
        if (isTrue(statement)) say(statement, "has no counterpart: a message keeps its QoS, or gets a lower one");
        break;
      default:
        if (Object.hasOwn(leftOut, name)) say(statement, leftOut[name]);
        else if (/^(auth|plugin)_opt_/.test(name)) say(statement, "is left out, as its plugin is");
        else if (!elsewhere.has(name)) say(statement, "is not an option that is known here, and is left out");
    }
  }
  return { ...draft, ...Object.keys(limits).length > 0 && { limits }, hooks };
}

function secondsOf(statement: Statement): number {
  const [, count, unit] = statement.value.match(/^(\d+)([hdwmy])$/) ??
    fail(statement, "must be a whole number with h, d, w, m or y behind it");
  return Math.min(0xffff_ffff, Number(count) * secondsPer[unit as keyof typeof secondsPer]);
}
