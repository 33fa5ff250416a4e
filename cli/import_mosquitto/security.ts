import { resolve } from "node:path";
import { parsePasswordFile, readPasswordFile } from "../../hooks/auth/password_file.ts";
import { translateAclFile } from "./acl_file.ts";
import { isTrue, lastOf, type Section, type Statement } from "./conf_file.ts";
import type { Draft, Say } from "./draft.ts";
import type { Note } from "./note.ts";

type Hooks = NonNullable<Draft["hooks"]>;

/** Who may connect to a listener of mosquitto's, and what its clients may do. */
interface Security {
  readonly section: Section;
  readonly anonymous: Statement | undefined;
  readonly allowsAnonymous: boolean;
  readonly passwordFile: Statement | undefined;
  readonly aclFile: Statement | undefined;
  /** Whether a plugin decides as well, and may deny what nothing else does. */
  readonly hasPlugin: boolean;
  /** Whether a certificate is all that a client needs. */
  readonly takesCertificate: boolean;
}

const withoutPlugin =
  "has no counterpart: whom it would let in stays outside, and where there is no acl_file nobody may " +
  "do anything; in a program, a hook of your own can decide instead";

/** What becomes of options that have no counterpart. */
const leftOut: Record<string, string> = {
  plugin: withoutPlugin,
  auth_plugin: withoutPlugin,
  psk_file: "has no counterpart: TLS takes certificates here",
  auto_id_prefix: "has no counterpart",
};

/**
 * What mosquitto's security options are in ours. Ours hold for all listeners alike: where mosquitto's do not, what is
 * stricter goes for all.
 *
 * @throws {Failure} If an ACL file cannot be used.
 */
export async function translateSecurity(
  global: readonly Statement[],
  sections: readonly Section[],
  isLocal: boolean,
  say: Say,
): Promise<{ hooks: Pick<Hooks, "auth" | "acl">; notes: Note[] }> {
  const all = sections.map((section): Security => {
    const own = [...global, ...section.statements];
    const anonymous = lastOf(own, "allow_anonymous");
    const identity = ["use_identity_as_username", "use_subject_as_username"].some((name) => isTrue(lastOf(own, name)));
    return {
      section,
      anonymous,
      allowsAnonymous: isTrue(anonymous, isLocal),
      passwordFile: lastOf(own, "password_file"),
      aclFile: lastOf(own, "acl_file"),
      hasPlugin: own.some(({ name }) => name === "plugin" || name === "auth_plugin"),
      takesCertificate: identity && isTrue(lastOf(own, "require_certificate")),
    };
  });
  for (const statement of new Set([...global, ...sections.flatMap(({ statements }) => statements)])) {
    if (Object.hasOwn(leftOut, statement.name)) say(statement, leftOut[statement.name]);
    if (statement.name === "allow_zero_length_clientid" && !isTrue(statement)) {
      say(statement, "has no counterpart: clients without an id get one");
    }
  }
  const acl = await aclOf(all, say);
  const auth = await authOf(all, say);
  return { hooks: { ...auth && { auth }, ...acl.hook && { acl: acl.hook } }, notes: acl.notes };
}

async function authOf(all: readonly Security[], say: Say): Promise<Hooks["auth"]> {
  const files = distinct(all.map(({ passwordFile }) => passwordFile));
  const [file, ...others] = files;
  for (const other of others) say(other, "is left out: users are the same for all listeners; put them into one file");
  const allowAnonymous = all.every(({ allowsAnonymous }) => allowsAnonymous);
  // Without an ACL it does not matter which name somebody with a certificate gives.
  const isOpen = all.every((one) => one.allowsAnonymous || (one.takesCertificate && one.aclFile === undefined));
  if (file === undefined && isOpen) return undefined;
  for (const { section: { listener, statements: [first] }, anonymous, ...one } of all) {
    const place = listener ?? anonymous ?? first;
    if (one.allowsAnonymous) {
      if (!allowAnonymous) say(anonymous!, "a password is asked for on this listener as well, as it is on others");
    } else if (file === undefined) {
      say(place, "lets nobody in, since there is no password_file: name one in hooks.auth.passwordFile");
    } else if (one.passwordFile === undefined && one.takesCertificate) {
      say(place, "clients need a password besides their certificate, as on other listeners");
    }
  }
  if (file === undefined) return { credentials: {} };
  const passwordFile = resolve(file.value);
  try {
    parsePasswordFile(await readPasswordFile(passwordFile), passwordFile);
  } catch (error) {
    say(file, `cannot be used as it is: ${(error as Error).message}; "hookmq passwd" gives a user a new password`);
  }
  return { passwordFile, ...allowAnonymous && { allowAnonymous } };
}

async function aclOf(all: readonly Security[], say: Say): Promise<{ hook?: Hooks["acl"]; notes: Note[] }> {
  const files = distinct(all.map(({ aclFile }) => aclFile));
  const closed = { denyByDefault: true, wideSubscriptions: "filter" } as const;
  if (files.length === 0) return all.some(({ hasPlugin }) => hasPlugin) ? { hook: closed, notes: [] } : { notes: [] };
  if (files.length > 1) {
    for (const file of files) {
      say(file, "is left out, and nobody may do anything: rules are the same for all listeners; run a broker for each");
    }
    return { hook: closed, notes: [] };
  }
  const [file] = files;
  for (const { aclFile, section: { listener } } of all) {
    if (aclFile === undefined && listener !== undefined) {
      say(listener, `clients are bound by the rules of ${file.value} as well, as on other listeners`);
    }
  }
  say(
    file,
    "a subscription of which a client may read nothing is refused, where mosquitto grants it and sends nothing",
  );
  const { rules, notes } = await translateAclFile(file.value);
  return { hook: { ...closed, rules }, notes };
}

/** The statements that are there, without those that say the same as an earlier one. */
function distinct(statements: readonly (Statement | undefined)[]): Statement[] {
  return statements.filter((statement, index) =>
    statement !== undefined && statements.findIndex((other) => other?.value === statement.value) === index
  ) as Statement[];
}
