import type { ClientInfo } from "../../broker/hooks.ts";
import { quote } from "../../codec/errors.ts";
import { isTopicFilter } from "../../codec/topic.ts";
import { namePattern } from "./name_pattern.ts";
import { everyTopic, levelsOf, type TopicLevels } from "./topic_levels.ts";

/**
 * Who may or may not do what. A field that is left out matches everything, so that `{ permission: "deny" }` denies all.
 *
 * @example In YAML
 * ```yaml
 * denyByDefault: true
 * rules:
 *   - { permission: allow, username: admin }
 *   - { permission: deny, clientId: "sensor-*", access: read }
 *   - { permission: allow, clientId: "sensor-*", topicFilter: "sensors/%c/#", access: write }
 *   - { permission: allow, topicFilter: "home/%u/#" }
 * ```
 *
 * @example In a program
 * ```ts
 * import { aclHook, type AclRule } from "@hookmq/broker/hooks";
 *
 * const rules: AclRule[] = [
 *   { permission: "allow", username: "admin" },
 *   { permission: "deny", clientId: "sensor-*", access: "read" },
 * ];
 * aclHook({ rules });
 * ```
 */
export interface AclRule {
  /** What follows if the rule matches. */
  permission: "allow" | "deny";
  /**
   * The client ids that it is for; each `*` stands for any characters. A client chooses its own id, unless something else
   * ties it to the user.
   */
  clientId?: string;
  /** The user names that it is for; each `*` stands for any characters. A client without a user name never matches. */
  username?: string;
  /**
   * The topics that it is for. May hold the wildcards `+` and `#`, `%c` for the client id and `%u` for the user name. As in
   * MQTT, a wildcard at the first level does not match topics that begin with `$`; without this field the rule does.
   */
  topicFilter?: string;
  /** Whether it is for receiving (`"read"`), for publishing (`"write"`) or for both (`"all"`). Default `"all"`. */
  access?: "read" | "write" | "all";
}

/** What a rule says about the topics of one client. */
export interface TopicRule {
  readonly allow: boolean;
  readonly topics: TopicLevels;
}

/** A rule that has been checked and taken apart. */
export interface CompiledRule {
  readonly access: "read" | "write" | "all";
  /** The rule as it is for a client; `undefined` if it does not match whatever the topic is. */
  forClient(client: ClientInfo): TopicRule | undefined;
}

const fields = ["permission", "clientId", "username", "topicFilter", "access"];

/**
 * Checks a rule and takes it apart. `name` is what errors call it.
 *
 * @throws {RangeError} If a field does not exist or has a value that it cannot have.
 */
export function compileRule(rule: AclRule, name: string): CompiledRule {
  const { permission, clientId, username, topicFilter, access = "all" } = rule;
  // A misspelled field that were ignored would make the rule match more than it should.
  for (const field of Object.keys(rule)) {
    if (!fields.includes(field)) {
      throw new RangeError(`${name}.${field} does not exist; there are ${fields.join(", ")}`);
    }
  }
  oneOf(`${name}.permission`, permission, ["allow", "deny"]);
  oneOf(`${name}.access`, access, ["read", "write", "all"]);
  checkPattern(`${name}.clientId`, clientId);
  checkPattern(`${name}.username`, username);
  checkTopicFilter(`${name}.topicFilter`, topicFilter);

  const allow = permission === "allow";
  const isClientId = namePattern(clientId ?? "*");
  const isUsername = namePattern(username ?? "*");
  const topicsFor = topicsOf(topicFilter, allow);
  return {
    access,
    forClient(client) {
      if (!isClientId(client.clientId)) return undefined;
      if (username !== undefined && !(client.username !== undefined && isUsername(client.username))) return undefined;
      const topics = topicsFor(client);
      return topics && { allow, topics };
    },
  };
}

function topicsOf(topicFilter: string | undefined, allow: boolean): (client: ClientInfo) => TopicLevels | undefined {
  if (topicFilter === undefined) return () => everyTopic;
  const levels = levelsOf(topicFilter);
  if (!/%[cu]/.test(topicFilter)) return () => levels;
  const needsUsername = topicFilter.includes("%u");
  return (client) => needsUsername && client.username === undefined ? undefined : substitute(levels, client, allow);
}

/**
 * The levels with a client's names in them. A name that would be more than a part of one level is never put there: such a
 * client is not allowed what the rule allows, and it is denied whatever the rule might mean, all topics from there on.
 */
function substitute(levels: TopicLevels, client: ClientInfo, allow: boolean): TopicLevels | undefined {
  const substituted: string[] = [];
  for (const level of levels) {
    const filled = fillIn(level, client);
    const becomesReserved = substituted.length === 0 && filled?.startsWith("$") && !level.startsWith("$");
    if (filled === undefined || becomesReserved) return allow ? undefined : [...substituted, "#"];
    substituted.push(filled);
  }
  return substituted;
}

function fillIn(level: string, { clientId, username = "" }: ClientInfo): string | undefined {
  let isSafe = true;
  // In one go, so that a name which looks like a substitution is not one.
  const filled = level.replace(/%[cu]/g, (placeholder) => {
    const name = placeholder === "%c" ? clientId : username;
    if (name === "" || /[+#/*\0]/.test(name)) isSafe = false;
    return name;
  });
  return isSafe ? filled : undefined;
}

function oneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (allowed.includes(value as string)) return;
  throw new RangeError(`${name} is ${JSON.stringify(value)}; it must be one of ${allowed.join(", ")}`);
}

function checkPattern(name: string, pattern: unknown): void {
  if (pattern === undefined || (typeof pattern === "string" && pattern !== "")) return;
  throw new RangeError(`${name} is ${JSON.stringify(pattern)}; it must be a text, or be left out to match all`);
}

function checkTopicFilter(name: string, topicFilter: unknown): void {
  if (topicFilter === undefined) return;
  if (typeof topicFilter !== "string" || !isTopicFilter(topicFilter.replace(/%[cu]/g, "name"))) {
    const shown = typeof topicFilter === "string" ? quote(topicFilter) : JSON.stringify(topicFilter);
    throw new RangeError(`${name} is ${shown}, which is no topic filter: "+" and "#" are whole levels, "#" the last`);
  }
  if (topicFilter.startsWith("$share/")) {
    throw new RangeError(`${name} is ${quote(topicFilter)}; rules are for the filter inside a shared subscription`);
  }
}
