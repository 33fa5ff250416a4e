import type { AclRule } from "../hooks/mod.ts";

/** Rules as a house would have them; the last one is for the load generator. */
export const accessRules: AclRule[] = [
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
