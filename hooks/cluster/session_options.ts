import type { ClusterContext } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import type { Will } from "../../codec/mod.ts";
import type { Channel } from "./channel.ts";
import type { Fanout } from "./fanout.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import type { QueueLimits } from "./queue_append.ts";
import type { SessionKeys } from "./session_keys.ts";
import type { Writer } from "./writer.ts";

/** What the parts that look after sessions are given. */
export interface SessionOptions {
  readonly link: Link;
  readonly writer: Writer;
  readonly keys: SessionKeys;
  readonly nodeKeys: NodeKeys;
  readonly nodeId: string;
  /** Tells this life of the node from all others. */
  readonly incarnation: string;
  readonly cluster: ClusterContext;
  readonly logger: Logger;
  /** The ways to other nodes, for QoS 0. */
  readonly fanout: Pick<Fanout, "to">;
  /** The channel of all nodes. */
  readonly events: Channel;
  /** Our own channel. */
  readonly channel: Channel;
  readonly limits: QueueLimits;
  /** Settles when the other nodes know where the sessions are that have been claimed before, or will not answer. */
  readonly placesKnown: () => Promise<void> | undefined;
  /** Publishes a will whose session and node are gone. */
  readonly publishWill: (will: Will) => void;
}
