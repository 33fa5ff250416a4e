import type { Cluster, Redis } from "ioredis";

/** Ends a connection. Settles when nothing of it is left. */
export async function disconnect(redis: Redis | Cluster): Promise<void> {
  // One that is closed already would be waited for by the library for some seconds, in vain.
  if (["close", "end"].includes(redis.status)) return;
  const isOpen = ["connecting", "connect", "ready", "disconnecting"].includes(redis.status);
  const ended = isOpen ? new Promise<void>((resolve) => redis.once("end", () => resolve())) : undefined;
  redis.disconnect();
  await ended;
}
