import { aclHook, authHook, type Hook } from "../hooks/mod.ts";
import { accessRules } from "./access_rules.ts";
import { user } from "./setup.ts";

/** What {@linkcode hookVariants} compares with each other. */
export interface HookVariant {
  name: string;
  /** The share of what the broker does without hooks that it has to do at least. */
  target: number;
  hooks(): Hook[];
}

/** A hook that is told everything that happens, none of it for each message. */
const observer: Hook = {
  id: "observer",
  onConnected: () => {},
  onDisconnect: () => {},
  onUnsubscribe: () => {},
  onMessageDropped: () => {},
  onSessionCreated: () => {},
  onSessionResumed: () => {},
  onSessionEnded: () => {},
};

/** The first is what the others are compared with; the second shows how far two runs of the same thing are apart. */
export const hookVariants: HookVariant[] = [
  { name: "no hook", target: 1, hooks: () => [] },
  { name: "no hook, again", target: 0.95, hooks: () => [] },
  { name: "an empty hook", target: 0.95, hooks: () => [{ id: "empty" }] },
  { name: "an observing hook", target: 0.95, hooks: () => [observer] },
  {
    name: "onPublish, canRead, empty",
    target: 0.85,
    hooks: () => [{ id: "deciding", onPublish: () => {}, canRead: () => true }],
  },
  { name: "auth", target: 0.95, hooks: () => [logins()] },
  {
    name: `auth, and ACL with ${accessRules.length} rules`,
    target: 0.85,
    hooks: () => [logins(), aclHook({ rules: accessRules, denyByDefault: true })],
  },
];

function logins(): Hook {
  return authHook({ credentials: { [user.username]: user.password } });
}
