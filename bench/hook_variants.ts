import { aclHook, type AclRule, authHook, type Hook } from "../hooks/mod.ts";

/** Who the load generator logs in as. */
export const user = { username: "bench", password: "secret" };

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

/** Rules as a house would have them; the last one is for the load generator. */
const rules: AclRule[] = [
  { permission: "allow", username: "admin" },
  { permission: "deny", topicFilter: "+/+/secret/#" },
  { permission: "allow", clientId: "sensor-*", topicFilter: "sensors/%c/#", access: "write" },
  { permission: "deny", clientId: "sensor-*" },
  { permission: "allow", topicFilter: "users/%u/#" },
  { permission: "allow", topicFilter: "public/#", access: "read" },
  ...["kitchen", "hall", "garage", "garden", "cellar", "attic"].flatMap((room): AclRule[] => [
    { permission: "deny", topicFilter: `home/${room}/lock/#`, access: "write" },
    { permission: "allow", topicFilter: `home/${room}/+/state` },
  ]),
  { permission: "deny", username: "guest*" },
  { permission: "allow", topicFilter: "bench/#" },
];

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
    name: `auth, and ACL with ${rules.length} rules`,
    target: 0.85,
    hooks: () => [logins(), aclHook({ rules, denyByDefault: true })],
  },
];

function logins(): Hook {
  return authHook({ credentials: { [user.username]: user.password } });
}
