import type { Qos } from "../codec/packet.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Subscription } from "./topics/subscription_tree.ts";

/** How many of a filter's subscribers need a route, by their QoS. */
type Members = [atMostOnce: number, atLeastOnce: number, exactlyOnce: number];

/**
 * What other brokers have to know of the subscriptions here: the filters of those subscribers that have no durable session.
 * Nothing is counted until there is a hook that tells them.
 */
export class Routes {
  readonly #context: BrokerContext;
  #routes: Map<string, Members> | undefined = undefined;

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  /** The hooks have changed. If one has come that tells other brokers, it is told of all routes there are. */
  hooksChanged(): void {
    const isWanted = this.#context.hooks.on.onRouteChanged.length > 0;
    if (isWanted === (this.#routes !== undefined)) return;
    this.#routes = isWanted ? new Map() : undefined;
    if (isWanted) { for (const subscription of this.#context.subscriptions) this.add(subscription); }
  }

  add({ subscriber, topicFilter, qos }: Subscription): void {
    if (this.#routes === undefined || !subscriber.needsRoute) return;
    const members = this.#routes.get(topicFilter) ?? [0, 0, 0];
    this.#change(topicFilter, members, qos, 1);
  }

  remove({ subscriber, topicFilter, qos }: Subscription): void {
    const members = this.#routes?.get(topicFilter);
    if (members === undefined || !subscriber.needsRoute) return;
    this.#change(topicFilter, members, qos, -1);
  }

  #change(topicFilter: string, members: Members, qos: Qos, by: 1 | -1): void {
    const before = describe(members);
    members[qos] += by;
    const after = describe(members);
    if (after.count > 0) this.#routes!.set(topicFilter, members);
    else this.#routes!.delete(topicFilter);
    if (before.count === after.count && before.maximumQos === after.maximumQos) return;
    for (const hook of this.#context.hooks.on.onRouteChanged) {
      this.#context.observe(hook.id, "onRouteChanged", () => {
        hook.onRouteChanged(topicFilter, after.maximumQos, after.count);
      });
    }
  }
}

function describe([atMostOnce, atLeastOnce, exactlyOnce]: Members): { count: number; maximumQos: Qos } {
  return {
    count: atMostOnce + atLeastOnce + exactlyOnce,
    maximumQos: exactlyOnce > 0 ? 2 : atLeastOnce > 0 ? 1 : 0,
  };
}
