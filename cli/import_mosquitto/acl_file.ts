import type { AclRule } from "../../hooks/mod.ts";
import { compileRule } from "../../hooks/acl/rule.ts";
import { Failure } from "../failure.ts";
import { readFileOrFail } from "./conf_file.ts";
import { formatNote, formatPlace, type Note, type Place } from "./note.ts";

/** A line of an ACL file that allows or denies something. */
interface Entry {
  readonly place: Place;
  /** As it is written there. */
  readonly text: string;
  readonly permission: AclRule["permission"];
  readonly access: AclRule["access"];
  readonly topicFilter: string;
}

/** What an ACL file says. */
interface AclFile {
  /** The lines before the first user: for clients without a user name. */
  readonly anonymous: Entry[];
  readonly users: Map<string, Entry[]>;
  readonly patterns: Entry[];
}

/**
 * Translates an ACL file into rules of which the first that matches decides, with `denyByDefault`.
 *
 * Mosquitto asks the list of the client's own user name, or the one of those who have none, and then the patterns; in
 * each list the lines that deny go before those that allow, and the first that matches decides. So the order of the
 * rules is the same. Since a rule cannot be for those without a user name alone, all others are denied the rest before
 * the rules for these come.
 *
 * @throws {Failure} If it cannot be read, or a line is none that mosquitto takes.
 */
export async function translateAclFile(file: string): Promise<{ rules: AclRule[]; notes: Note[] }> {
  const { anonymous, users, patterns } = parseAclFile(await readFileOrFail(file), file);
  const notes: Note[] = [];
  const rules = (entries: readonly Entry[], username?: string) =>
    deniesFirst(entries).filter((entry) => isUsable(entry, notes)).map((entry) => ruleOf(entry, username));

  const substituting = patterns.find(({ topicFilter }) => /%[cu]/.test(topicFilter));
  if (substituting !== undefined) notes.push({ place: substituting.place, message: aboutNames(substituting) });
  const ofUsers = [...users].flatMap(([username, entries]) => {
    if (!username.includes("*") || entries.length === 0) return rules(literal(entries, notes), username);
    notes.push({
      place: entries[0].place,
      message: `the rules of user ${username} are left out: "*" in a user name would stand for any characters`,
    });
    return [];
  });
  if (anonymous.length === 0) return { rules: [...ofUsers, ...rules(patterns)], notes };
  return {
    rules: [
      ...ofUsers,
      ...rules(patterns, "*"),
      { permission: "deny", username: "*" },
      ...rules(literal(anonymous, notes)),
      // Without a user name these never match.
      ...rules(patterns.filter(({ topicFilter }) => !topicFilter.includes("%u"))),
    ],
    notes: withoutRepetitions(notes),
  };
}

function aboutNames({ text }: Entry): string {
  return `${text}: does not hold for clients with "/", "+" or "#" in the name that it asks for; for mosquitto "/" is as ` +
    "good as any letter, and no pattern at all holds for the others";
}

/** A pattern may have been looked at twice. */
function withoutRepetitions(notes: readonly Note[]): Note[] {
  return [...new Map(notes.map((note) => [formatNote(note), note])).values()];
}

function parseAclFile(text: string, file: string): AclFile {
  const parsed: AclFile = { anonymous: [], users: new Map(), patterns: [] };
  let entries = parsed.anonymous;
  for (const [index, line] of text.split("\n").entries()) {
    const place = { file, line: index + 1 };
    if (line.startsWith("#") || line.trim() === "") continue;
    const [, keyword, rest] = line.match(/^\s*(\S+)\s*(.*?)\s*$/)!;
    const fault = (message: string) => new Failure(`${formatPlace(place)}: ${message}`);
    if (rest === "") throw fault(`there is nothing behind "${keyword}"`);
    switch (keyword) {
      case "user":
        if (!parsed.users.has(rest)) parsed.users.set(rest, []);
        entries = parsed.users.get(rest)!;
        break;
      case "topic":
        entries.push(entryOf(place, keyword, rest));
        break;
      case "pattern":
        parsed.patterns.push(entryOf(place, keyword, rest));
        break;
      default:
        throw fault(`"${keyword}" is not one of user, topic and pattern`);
    }
  }
  return parsed;
}

const accesses = { read: "read", write: "write", readwrite: "all", deny: "all" } as const;

function entryOf(place: Place, keyword: string, rest: string): Entry {
  const [, word, behind] = rest.match(/^(\S+)(?:\s+(.*))?$/)!;
  const text = `${keyword} ${rest}`;
  if (behind === undefined) return { place, text, permission: "allow", access: "all", topicFilter: word };
  if (!Object.hasOwn(accesses, word)) {
    throw new Failure(`${formatPlace(place)}: ${text}: "${word}" is not one of read, write, readwrite and deny`);
  }
  const access = accesses[word as keyof typeof accesses];
  return { place, text, permission: word === "deny" ? "deny" : "allow", access, topicFilter: behind };
}

function deniesFirst(entries: readonly Entry[]): Entry[] {
  const isDenial = ({ permission }: Entry) => permission === "deny";
  return [...entries.filter(isDenial), ...entries.filter((entry) => !isDenial(entry))];
}

/** Without those that `topic` gives a %c or %u, which mean themselves there. */
function literal(entries: readonly Entry[], notes: Note[]): Entry[] {
  return entries.filter(({ place, text, topicFilter }) => {
    if (!/%[cu]/.test(topicFilter)) return true;
    const message =
      `${text}: is left out: only pattern puts names in the place of %c and %u, and no rule can mean them ` +
      "as they are";
    notes.push({ place, message });
    return false;
  });
}

function isUsable(entry: Entry, notes: Note[]): boolean {
  try {
    compileRule(ruleOf(entry), "the topic");
    return true;
  } catch (error) {
    notes.push({ place: entry.place, message: `${entry.text}: is left out: ${(error as Error).message}` });
    return false;
  }
}

function ruleOf({ permission, access, topicFilter }: Entry, username?: string): AclRule {
  return {
    permission,
    ...username !== undefined && { username },
    topicFilter,
    ...access !== "all" && { access },
  };
}
