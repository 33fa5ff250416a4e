import type { Logger } from "../logger.ts";

/** How long accepting pauses after it has failed, e.g. since no file descriptor is left, in milliseconds. */
const PAUSE_AFTER_FAILURE = 100;

/** Hands every connection of a listener to `accept`, until the listener is closed. */
export async function acceptAll<Conn extends Deno.Conn>(
  listener: Deno.Listener<Conn>,
  accept: (conn: Conn) => void,
  logger: Logger,
): Promise<void> {
  for (;;) {
    try {
      accept(await listener.accept());
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
      logger.warn("cannot accept a connection: {error}", { error });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_FAILURE));
    }
  }
}
