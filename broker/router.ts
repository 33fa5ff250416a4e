import type { BrokerContext } from "./broker_context.ts";
import type { Forwarded, HookWith } from "./hooks.ts";
import { forEachInTurn, isPromise, type MaybePromise, recover, then } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import type { MessageRun } from "./message_run.ts";
import type { RetainedMatch } from "./retained.ts";
import { hasEnded, Session } from "./session.ts";
import { Readiness, type SharedGroup } from "./topics/shared_group.ts";
import type { Delivery, Matches, Subscriber, Subscription } from "./topics/subscription_tree.ts";
import type { Topic } from "./topics/topic_cache.ts";

/** Somebody who gets a message, in the form in which it is for him. */
export interface Target {
  readonly message: Message;
  readonly delivery: Delivery;
  readonly group: SharedGroup | undefined;
}

/** Who of a group may be chosen. */
export interface Choice {
  readonly least: Readiness;
  readonly mayBeChosen: (member: Delivery) => boolean;
  /** Those who may not have the message. */
  readonly passedOver: Set<Subscriber>;
}

/** Brings one message to everybody who gets it. */
export class Router {
  readonly #context: BrokerContext;

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  /**
   * Delivers a message to all its subscribers. Returns whether there are any.
   *
   * With `inOneGo` they get it together, when the hooks have answered for all of them, and that is called then: what it
   * stores is stored with the message, or not at all. Otherwise nobody waits for what the hooks say about others.
   */
  route(message: Message, inOneGo?: () => void): MaybePromise<boolean> {
    const { deliveries, groups } = this.#matches(message.topic);
    const matched = deliveries.length + groups.length > 0;
    if (this.#filtered) {
      const delivered = inOneGo === undefined
        ? this.#deliverOneByOne(message, deliveries, groups)
        : this.#deliverInOneGo(message, deliveries, groups, inOneGo);
      return isPromise(delivered) ? delivered.then(() => matched) : matched;
    }
    for (let index = 0; index < deliveries.length; index++) {
      const delivery = termsFor(deliveries[index], message);
      delivery?.subscriber.deliver(message, delivery);
    }
    for (let index = 0; index < groups.length; index++) {
      const member = chooseMember(groups[index], message);
      member?.subscriber.deliver(message, member, groups[index]);
    }
    inOneGo?.();
    return matched;
  }

  /** Delivers a message from another broker to those subscribers here that it is for. */
  routeForwarded(message: Message, { toAll, groups, sessions }: Forwarded): MaybePromise<void> {
    let pending: Promise<void>[] | undefined;
    if (toAll) {
      const { deliveries } = this.#matches(message.topic);
      for (let index = 0; index < deliveries.length; index++) {
        const delivery = deliveries[index];
        const terms = delivery.subscriber.needsRoute ? termsFor(delivery, message) : undefined;
        const delivered = terms && this.#deliver(message, terms);
        if (isPromise(delivered)) (pending ??= []).push(delivered);
      }
    }
    for (const filter of groups) {
      const group = this.#context.subscriptions.group(filter);
      if (group === undefined) continue;
      // The member that the other broker has thought of may be gone; then any other one gets it, wherever that is.
      const member = group.chooseHere(leastReadiness(message)) ?? chooseMember(group, message);
      const delivered = member && this.#deliver(message, member, group);
      if (isPromise(delivered)) (pending ??= []).push(delivered);
    }
    for (const { clientId, ...terms } of sessions) {
      const subscriber = this.#context.sessions.get(clientId);
      if (subscriber === undefined) continue;
      const delivery: Delivery = { subscriber, qos: 0, retainAsPublished: terms.retain, noLocal: false, ...terms };
      const delivered = this.#deliver(message, delivery);
      if (isPromise(delivered)) (pending ??= []).push(delivered);
    }
    return pending === undefined
      ? message.finishPublishing()
      : Promise.all(pending).then(() => message.finishPublishing());
  }

  /** The same for the messages of a run, which are for all who have no durable session and are not in a group. */
  routeForwardedRun(run: MessageRun, forwarded: Forwarded): MaybePromise<void> {
    if (this.#filtered) {
      const pending = run.messages.map((message) => this.routeForwarded(message, forwarded)).filter(isPromise);
      return pending.length > 0 ? Promise.all(pending).then(() => {}) : undefined;
    }
    const { deliveries } = this.#matches(run.topic);
    for (let index = 0; index < deliveries.length; index++) {
      const delivery = deliveries[index];
      const terms = delivery.subscriber.needsRoute ? termsFor(delivery, run) : undefined;
      if (terms === undefined) continue;
      const { subscriber, identifiers } = terms;
      const atOnce = identifiers === undefined && subscriber instanceof Session && subscriber.client?.publishRun(run);
      if (!atOnce) { for (const message of run.messages) subscriber.deliver(message, terms); }
    }
  }

  /** The message as the hooks let this session have it, if they do. */
  admit(message: Message, session: Session): MaybePromise<Message | undefined> {
    return this.#filtered ? this.#filter(message, session) : message;
  }

  /** The member of a group that gets a message: the first one in turn that the hooks let have it. */
  admitMember(message: Message, group: SharedGroup, choice: Choice): MaybePromise<Target | undefined> {
    const { least, mayBeChosen, passedOver } = choice;
    const member = group.choose(least, (member) => !passedOver.has(member.subscriber) && mayBeChosen(member));
    return member && this.#admit(message, member, group, choice);
  }

  /** Sends a new subscriber the retained messages that match its filter. */
  deliverRetained(session: Session, subscription: Subscription): MaybePromise<void> {
    return then(this.#context.retained.match(subscription.topicFilter), (matches) => {
      const meant = matches.filter(({ message }) => termsFor(subscription, message) !== undefined);
      return then(this.#filtered ? this.#filterRetained(meant, session) : meant, (readable) => {
        session.deliverRetained(subscription, readable);
        session.drain();
      });
    });
  }

  /**
   * Takes from a session what waits in it and its client may not read: who has connected now need not be who was meant, and
   * the rules may have changed.
   */
  withdrawUnreadable(session: Session): MaybePromise<void> {
    const { canRead } = this.#context.hooks.on;
    if (canRead.length === 0) return;
    const unreadable = new Set<string>();
    return then(
      forEachInTurn(
        [...session.waitingTopics()],
        (topicName) =>
          then(this.#mayRead(topicName, session, canRead), (allowed) => {
            if (!allowed) unreadable.add(topicName);
          }),
      ),
      () => {
        if (unreadable.size > 0) session.withdraw(unreadable);
      },
    );
  }

  #filterRetained(
    matches: IteratorObject<RetainedMatch>,
    session: Session,
  ): MaybePromise<IteratorObject<RetainedMatch>> {
    const readable: RetainedMatch[] = [];
    return then(
      forEachInTurn([...matches], ({ message, current }) =>
        then(this.#filter(message, session), (filtered) => {
          if (filtered !== undefined) readable.push({ message: filtered, current });
        })),
      () => readable.values(),
    );
  }

  #matches(topic: Topic): Matches {
    const { subscriptions, topics } = this.#context;
    if (topic.matches !== undefined && topic.matchesVersion === subscriptions.version) return topic.matches;
    const matches = subscriptions.match(topic.name);
    topics.rememberMatches(topic, matches, subscriptions.version);
    return matches;
  }

  /** Nobody waits for what the hooks say about others. */
  #deliverOneByOne(
    message: Message,
    deliveries: readonly Delivery[],
    groups: readonly SharedGroup[],
  ): MaybePromise<void> {
    let pending: Promise<void>[] | undefined;
    for (let index = 0; index < deliveries.length; index++) {
      const delivery = termsFor(deliveries[index], message);
      if (delivery === undefined) continue;
      const { subscriber } = delivery;
      const filtered = subscriber instanceof Session ? this.#filter(message, subscriber) : message;
      if (!isPromise(filtered)) {
        if (filtered !== undefined) subscriber.deliver(filtered, delivery);
      } else {
        (pending ??= []).push(filtered.then((filtered) => {
          if (filtered !== undefined) subscriber.deliver(filtered, delivery);
        }));
      }
    }
    for (let index = 0; index < groups.length; index++) {
      const delivered = then(this.admitMember(message, groups[index], firstChoice(message)), deliverTo);
      if (isPromise(delivered)) (pending ??= []).push(delivered);
    }
    return pending && Promise.all(pending).then(() => {});
  }

  #deliverInOneGo(
    message: Message,
    deliveries: readonly Delivery[],
    groups: readonly SharedGroup[],
    inOneGo: () => void,
  ): MaybePromise<void> {
    const targets = [
      ...deliveries.map((delivery) => {
        const terms = termsFor(delivery, message);
        return terms && this.#admit(message, terms);
      }),
      ...groups.map((group) => this.admitMember(message, group, firstChoice(message))),
    ];
    return this.#deliverTogether(message, targets, inOneGo);
  }

  #deliverTogether(
    message: Message,
    asked: MaybePromise<Target | undefined>[],
    inOneGo: () => void,
  ): MaybePromise<void> {
    const answers = asked.some(isPromise) ? Promise.all(asked) : asked as (Target | undefined)[];
    return then(answers, (targets) => {
      // While hooks were asked about others, a member's session may have ended: then another one gets it.
      if (targets.some((target) => target?.group && hasEnded(target))) {
        const others = targets.map((target) =>
          target?.group && hasEnded(target) ? this.admitMember(message, target.group, firstChoice(message)) : target
        );
        return this.#deliverTogether(message, others, inOneGo);
      }
      for (const target of targets) deliverTo(target);
      inOneGo();
    });
  }

  /** Delivers a message to one subscriber, if the hooks let it; if not, to another member of the group that chose it. */
  #deliver(message: Message, delivery: Delivery, group?: SharedGroup): MaybePromise<void> {
    if (!this.#filtered) return delivery.subscriber.deliver(message, delivery, group);
    return then(this.#admit(message, delivery, group), deliverTo);
  }

  /** Asks the hooks about one subscriber, and then about the other members of the group that chose it. */
  #admit(
    message: Message,
    delivery: Delivery,
    group?: SharedGroup,
    choice?: Choice,
  ): MaybePromise<Target | undefined> {
    const { subscriber } = delivery;
    if (!this.#filtered || !(subscriber instanceof Session)) return { message, delivery, group };
    return then(this.#filter(message, subscriber), (filtered) => {
      // Its session may have ended while the hooks were asked.
      if (filtered !== undefined && !subscriber.hasEnded) return { message: filtered, delivery, group };
      if (group === undefined) return undefined;
      const others = choice ?? firstChoice(message);
      others.passedOver.add(subscriber);
      return this.admitMember(message, group, others);
    });
  }

  get #filtered(): boolean {
    const { canRead, onPublishDeliver } = this.#context.hooks.on;
    return canRead.length > 0 || onPublishDeliver.length > 0;
  }

  /** The message as the hooks let this session have it; `undefined` if they don't. A hook that fails keeps it back. */
  #filter(message: Message, session: Session): MaybePromise<Message | undefined> {
    const { canRead, onPublishDeliver } = this.#context.hooks.on;
    const allowed = this.#mayRead(message.topic.name, session, canRead);
    if (allowed === false) return undefined;
    if (allowed === true && onPublishDeliver.length === 0) return message;
    return recover<Message | undefined>(
      () => then(allowed, (allowed) => allowed ? this.#transform(message, session) : undefined),
      (error) => {
        this.#logFailure(message.topic.name, session, error);
        return undefined;
      },
    );
  }

  /** Whether the hooks let this session have messages on a topic. One that fails does not. */
  #mayRead(
    topicName: string,
    session: Session,
    hooks: readonly HookWith<"canRead">[],
    from = 0,
  ): MaybePromise<boolean> {
    try {
      for (let index = from; index < hooks.length; index++) {
        const allowed = hooks[index].canRead(session.info, topicName);
        if (isPromise(allowed)) {
          return allowed.then((value) => value && this.#mayRead(topicName, session, hooks, index + 1), (error) => {
            this.#logFailure(topicName, session, error);
            return false;
          });
        }
        if (!allowed) return false;
      }
      return true;
    } catch (error) {
      this.#logFailure(topicName, session, error);
      return false;
    }
  }

  #logFailure(topic: string, { clientId }: Session, error: unknown): void {
    this.#context.logger.error("a hook failed on a message on {topic} for {clientId}: {error}", {
      topic,
      clientId,
      error,
    });
  }

  #transform(message: Message, session: Session): MaybePromise<Message> {
    const { onPublishDeliver } = this.#context.hooks.on;
    if (onPublishDeliver.length === 0) return message;
    const original = message.toPacket();
    let packet = original;
    return then(
      forEachInTurn(onPublishDeliver, (hook) =>
        then(hook.onPublishDeliver(session.info, packet), (changed) => {
          packet = changed ?? packet;
        })),
      () => {
        if (packet === original) return message;
        return Message.from(this.#context.topics.named(packet.topic), packet, message.publisherId, {
          original: message,
        });
      },
    );
  }
}

function chooseMember(group: SharedGroup, message: Message): Delivery | undefined {
  return group.choose(leastReadiness(message));
}

/** Any member may have it. */
function firstChoice(message: Message): Choice {
  return { least: leastReadiness(message), mayBeChosen: () => true, passedOver: new Set() };
}

/** Nothing at QoS 0 waits for a client that is not there. */
function leastReadiness({ qos }: Message): Readiness {
  return qos > 0 ? Readiness.Offline : Readiness.Busy;
}

function deliverTo(target: Target | undefined): void {
  target?.delivery.subscriber.deliver(target.message, target.delivery, target.group);
}

/** On what terms the message goes to this subscriber, who may be its publisher [MQTT-3.8.3-3]. */
function termsFor(delivery: Delivery, { publisherId }: Message | MessageRun): Delivery | undefined {
  if (!delivery.noLocal || publisherId === undefined) return delivery;
  return publisherId === delivery.subscriber.clientId ? delivery.own : delivery;
}
