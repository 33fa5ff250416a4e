import type { AcknowledgementPacket, AcknowledgementType } from "../codec/acknowledgement.ts";
import { decodeFrame } from "../codec/decode.ts";
import { encode } from "../codec/encode.ts";
import { protocolError, ReasonCodeError } from "../codec/errors.ts";
import type { Framer } from "../codec/framer.ts";
import { type Packet, PacketType, type ProtocolLevel, type Qos } from "../codec/packet.ts";
import { allowsReason, connectReturnCode, ReasonCode } from "../codec/reason_code.ts";
import type { ConnectPacket } from "../codec/connect.ts";
import { AcknowledgementQueue, type Acknowledger } from "./acknowledgement_queue.ts";
import type { BrokerContext } from "./broker_context.ts";
import { Connection, type ConnectionEvents } from "./connection.ts";
import { handleAuth } from "./handlers/auth.ts";
import { handleConnect, peekProtocolLevel } from "./handlers/connect.ts";
import { handleDisconnect } from "./handlers/disconnect.ts";
import { handlePingreq } from "./handlers/pingreq.ts";
import { handlePuback } from "./handlers/puback.ts";
import { handlePubcomp } from "./handlers/pubcomp.ts";
import { handlePublish } from "./handlers/publish.ts";
import { handlePubrec } from "./handlers/pubrec.ts";
import { handlePubrel } from "./handlers/pubrel.ts";
import { handleSubscribe } from "./handlers/subscribe.ts";
import { handleUnsubscribe } from "./handlers/unsubscribe.ts";
import type { ClientInfo } from "./hooks.ts";
import type { MaybePromise } from "./maybe_promise.ts";
import type { Peer } from "./listener.ts";
import { type Message, SHARED_PAYLOAD, type TopicForm } from "./message.ts";
import type { MessageRun } from "./message_run.ts";
import type { Session } from "./session.ts";
import type { Timer } from "./timer_wheel.ts";
import type { Topic } from "./topics/topic_cache.ts";
import type { Transport } from "./transport.ts";

const acknowledgementHeaders: Readonly<Record<AcknowledgementType, number>> = {
  puback: PacketType.Puback << 4,
  pubrec: PacketType.Pubrec << 4,
  pubrel: (PacketType.Pubrel << 4) | 0x02,
  pubcomp: PacketType.Pubcomp << 4,
};

/** An enhanced authentication that is under way. */
export interface AuthenticationState {
  readonly method: string;
  /** How many steps the client has taken. */
  step: number;
  /** The CONNECT that waits for it; `undefined` while a connected client authenticates again. */
  readonly connect: ConnectPacket | undefined;
}

/** One connection and what MQTT says about it; the session is what outlives it. */
export class Client implements ConnectionEvents, Acknowledger {
  readonly context: BrokerContext;
  readonly connection: Connection;
  readonly peer: Peer;
  /** Set by CONNECT. */
  info!: ClientInfo;
  /** Set when the client is connected. */
  session!: Session;
  level: ProtocolLevel = 4;
  state: "new" | "authenticating" | "connected" | "closed" = "new";
  keepAliveTimer: Timer | undefined = undefined;
  #connectTimer: Timer | undefined = undefined;
  authentication: AuthenticationState | undefined = undefined;
  /** The authentication method of the CONNECT, which every later AUTH has to name. */
  authenticationMethod: string | undefined = undefined;

  /** How many QoS 1 and 2 messages the client accepts before it has acknowledged one. */
  sendQuota = 0;
  /** How many of those it has not acknowledged on this connection. */
  outstanding = 0;
  /** The largest packet that the client accepts, in bytes. */
  maximumPacketSize = Infinity;
  /** Whether the client wants reason strings on other packets than CONNACK and DISCONNECT. */
  wantsProblemInformation = true;
  /** What the client calls topics by; index 0 is not used. */
  receivedAliases: (Topic | undefined)[] | undefined = undefined;
  /** The highest alias that the client understands. */
  topicAliasMaximum = 0;
  #sentAliases: Map<string, number> | undefined = undefined;
  /** Whether the session has more to send as soon as the connection has written what it holds. */
  #waitsForRoom = false;
  #acknowledgements: AcknowledgementQueue | undefined = undefined;
  #closed: PromiseWithResolvers<void> | undefined = undefined;

  constructor(transport: Transport, context: BrokerContext, peer: Peer) {
    this.context = context;
    this.peer = peer;
    this.connection = new Connection(transport, context, this);
  }

  /** What the client is owed for its messages. */
  get acknowledgements(): AcknowledgementQueue {
    return this.#acknowledgements ??= new AcknowledgementQueue(this, this.context.limits.receiveMaximum);
  }

  /** Speaks with the client until the connection is over. */
  run(): void {
    const { timers, limits } = this.context;
    this.#connectTimer = timers.schedule(limits.connectTimeout * 1000, () => this.#giveUpWaiting());
    this.connection.run();
  }

  /** Resolves when the connection is over; to be asked for before it is. */
  get closed(): Promise<void> {
    return (this.#closed ??= Promise.withResolvers<void>()).promise;
  }

  /** The client has connected, or never will. */
  stopWaiting(): void {
    this.context.timers.cancel(this.#connectTimer);
    this.#connectTimer = undefined;
  }

  /** Whether more is waiting to be written than the limits allow. */
  get congested(): boolean {
    if (this.connection.outbound.pending <= this.context.limits.outboundBytes) return false;
    this.#waitsForRoom = true;
    return true;
  }

  onPacket(framer: Framer): MaybePromise<void> {
    this.context.counters.packetsReceived += 1;
    const type = framer.bytes[framer.start] >> 4;
    if (this.state === "connected") {
      if (type === PacketType.Publish) return handlePublish(this, framer);
      return this.#handle(decodeFrame(framer, this.level));
    }
    if (this.state === "new") {
      this.level = peekProtocolLevel(framer);
      const packet = decodeFrame(framer, this.level) as ConnectPacket;
      this.level = packet.protocolLevel;
      return handleConnect(this, packet);
    }
    const packet = decodeFrame(framer, this.level);
    if (packet.type === "auth") return handleAuth(this, packet);
    if (packet.type === "disconnect") return handleDisconnect(this, packet);
    throw protocolError(`${packet.type.toUpperCase()} during authentication`);
  }

  #handle(packet: Packet): MaybePromise<void> {
    switch (packet.type) {
      case "puback":
        return handlePuback(this, packet);
      case "pubrec":
        return handlePubrec(this, packet);
      case "pubrel":
        return handlePubrel(this, packet);
      case "pubcomp":
        return handlePubcomp(this, packet);
      case "subscribe":
        return handleSubscribe(this, packet);
      case "unsubscribe":
        return handleUnsubscribe(this, packet);
      case "pingreq":
        return handlePingreq(this);
      case "disconnect":
        return handleDisconnect(this, packet);
      case "auth":
        return handleAuth(this, packet);
      default:
        // A second CONNECT [MQTT-3.1.0-2], or what only a server sends.
        throw protocolError(`${packet.type.toUpperCase()} from a connected client`);
    }
  }

  /** Sends a packet, without what the client does not want to know. */
  send(packet: Exclude<Packet, { type: "publish" }>): void {
    const explains = packet.type === "connack" || packet.type === "disconnect";
    let bytes = encode(this.wantsProblemInformation || explains ? packet : withoutReasons(packet), this.level);
    // [MQTT-3.2.2-19] and its like for each packet
    if (bytes.length > this.maximumPacketSize) bytes = encode(withoutReasons(packet), this.level);
    this.#sendBytes(bytes);
  }

  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP; most of them are these four bytes. */
  acknowledge(type: AcknowledgementType, packetId: number, reasonCode: ReasonCode): void {
    if (reasonCode !== ReasonCode.Success && this.level === 5) return this.send({ type, packetId, reasonCode });
    if (!this.connection.open) return;
    if (this.maximumPacketSize < 4) return this.disconnect(ReasonCode.PacketTooLarge, "no acknowledgement fits");
    const { outbound } = this.connection;
    const offset = outbound.reserve(4);
    const { buffer } = outbound;
    buffer[offset] = acknowledgementHeaders[type];
    buffer[offset + 1] = 2;
    buffer[offset + 2] = packetId >>> 8;
    buffer[offset + 3] = packetId;
    this.context.counters.packetsSent += 1;
    this.connection.requestFlush();
  }

  /** Sends a packet that is encoded already. */
  sendEncoded(bytes: Uint8Array): void {
    this.context.counters.packetsSent += 1;
    this.connection.send(bytes);
  }

  /** Sends a message. Returns false if the client does not accept packets of that size [MQTT-3.1.2-24]. */
  publish(
    message: Message,
    qos: Qos,
    retain: boolean,
    dup: boolean,
    packetId: number,
    identifiers: readonly number[] | undefined,
  ): boolean {
    const mqtt5 = this.level === 5;
    let alias = mqtt5 && this.topicAliasMaximum > 0 ? this.#aliasFor(message.topic.name) : 0;
    const topicForm: TopicForm = alias === 0
      ? "name"
      : this.#sentAliases!.has(message.topic.name)
      ? "alias"
      : "nameAndAlias";
    let frame = message.encoded(mqtt5, qos > 0, identifiers, topicForm);
    if (topicForm === "nameAndAlias" && frame.bytes.length > this.maximumPacketSize) {
      alias = 0; // It takes three bytes more the first time.
      frame = message.encoded(mqtt5, qos > 0, identifiers, "name");
    }
    if (frame.bytes.length > this.maximumPacketSize) {
      this.context.dropped(this.info.clientId, message, "packet-too-large");
      return false;
    }
    const flags = (PacketType.Publish << 4) | (dup ? 0x08 : 0) | (qos << 1) | (retain ? 0x01 : 0);
    const { outbound } = this.connection;
    const isLarge = frame.bytes.length - frame.payloadStart >= SHARED_PAYLOAD;
    const isLargeAsReceived = isLarge && frame === message;
    const loan = isLargeAsReceived ? message.hold(this.context.slab) : undefined;
    const { bytes, packetIdOffset, topicAliasOffset } = frame;
    if (isLargeAsReceived && qos === 0 && bytes[0] === flags) {
      // Nothing in it is for this client alone.
      outbound.writeShared(bytes, loan);
    } else if (isLargeAsReceived && qos > 0 && message.takeHeader()) {
      bytes[0] = flags;
      bytes[packetIdOffset] = packetId >>> 8;
      bytes[packetIdOffset + 1] = packetId;
      outbound.writeShared(bytes, loan);
    } else {
      const copied = isLarge ? bytes.subarray(0, frame.payloadStart) : bytes;
      const offset = outbound.reserve(copied.length);
      const { buffer } = outbound;
      buffer.set(copied, offset);
      buffer[offset] = flags;
      if (qos > 0) {
        buffer[offset + packetIdOffset] = packetId >>> 8;
        buffer[offset + packetIdOffset + 1] = packetId;
      }
      if (alias > 0) {
        buffer[offset + topicAliasOffset] = alias >>> 8;
        buffer[offset + topicAliasOffset + 1] = alias;
        this.#sentAliases!.set(message.topic.name, alias);
      }
      if (isLarge) outbound.writeShared(bytes.subarray(frame.payloadStart), loan);
    }
    this.connection.requestFlush();
    const { counters } = this.context;
    counters.messagesSent += 1;
    counters.packetsSent += 1;
    counters.payloadBytesSent += frame.bytes.length - frame.payloadStart;
    return true;
  }

  /**
   * Sends all messages of a run at once. Returns false, with nothing sent, if they have to be looked at one by one: since
   * they go out in another form, or perhaps not all of them.
   */
  publishRun(run: MessageRun): boolean {
    if (this.topicAliasMaximum > 0 || run.largest > this.maximumPacketSize) return false;
    const { outbound } = this.connection;
    const bytes = run.bytesFor(this.level);
    if (outbound.pending + bytes.length > this.context.limits.outboundBytes) return false;
    outbound.write(bytes);
    this.connection.requestFlush();
    const { counters } = this.context;
    counters.messagesSent += run.count;
    counters.packetsSent += run.count;
    counters.payloadBytesSent += run.payloadBytes;
    return true;
  }

  /** Ends the connection from our side, with a reason that an MQTT 5 client is told [MQTT-3.14.4-2]. */
  disconnect(reasonCode: ReasonCode, reason: string, serverReference?: string): void {
    if (this.state === "closed") return;
    if (this.state === "connected" && this.level === 5) {
      const properties = serverReference === undefined
        ? { reasonString: reason }
        : { reasonString: reason, serverReference };
      const known = allowsReason("disconnect", reasonCode) ? reasonCode : ReasonCode.UnspecifiedError;
      this.send({ type: "disconnect", reasonCode: known, properties });
    }
    this.#finish(new ReasonCodeError(reasonCode, reason));
  }

  /** The broker shuts down. Resolves when the connection is over. */
  shutDown(): Promise<void> {
    // Not when its packets are handled: a hook that never answers does not keep the broker.
    const { closed } = this;
    this.disconnect(ReasonCode.ServerShuttingDown, "the server shuts down");
    return closed;
  }

  /** The client has said goodbye. */
  farewell(): void {
    this.#finish(undefined);
  }

  /** Refuses the connection: CONNACK where the client's version has a word for it, then the end. */
  refuse(error: ReasonCodeError): void {
    if (this.state === "closed") return;
    const { reasonCode, message, serverReference } = error;
    if (this.level === 5) {
      const known = allowsReason("connack", reasonCode) ? reasonCode : ReasonCode.UnspecifiedError;
      const properties = serverReference === undefined
        ? { reasonString: message }
        : { reasonString: message, serverReference };
      this.send({ type: "connack", sessionPresent: false, reasonCode: known, properties });
    } else {
      const returnCode = connectReturnCode(reasonCode);
      if (returnCode !== undefined) this.send({ type: "connack", sessionPresent: false, reasonCode: returnCode });
    }
    this.#finish(error);
  }

  onError(error: Error): void {
    const known = error instanceof ReasonCodeError ? error : undefined;
    if (known === undefined) {
      this.context.logger.error("handling a packet from {clientId} failed: {error}", {
        clientId: this.info?.clientId,
        error,
      });
    }
    const reasonCode = known?.reasonCode ?? ReasonCode.UnspecifiedError;
    const reason = known?.message ?? "the server failed to handle a packet";
    if (this.state === "connected") return this.disconnect(reasonCode, reason, known?.serverReference);
    this.refuse(known ?? new ReasonCodeError(reasonCode, reason));
  }

  onRead(chunk: Uint8Array): void {
    this.context.counters.bytesReceived += chunk.length;
    // [MQTT-3.1.0-1]; what speaks another protocol is not waited for until its first "packet" is complete, nor answered.
    if (this.state === "new" && !this.connection.isInsidePacket && chunk[0] >> 4 !== PacketType.Connect) {
      this.#finish(protocolError("the first packet is not a CONNECT"));
    }
  }

  onWritten(bytes: number): void {
    this.context.counters.bytesSent += bytes;
    if (this.#waitsForRoom && this.connection.outbound.pending <= this.context.limits.outboundBytes / 2) {
      this.#waitsForRoom = false;
      this.session?.drain();
    }
  }

  onWriteError(error: Error): void {
    this.connection.close(error);
  }

  onClosed(error?: Error): void {
    this.context.connections.release(this);
    if (this.state !== "closed") {
      this.#finish(error ?? new ReasonCodeError(ReasonCode.UnspecifiedError, "the client closed the connection"));
    }
    this.#closed?.resolve();
  }

  /** The client has taken too long to connect. */
  #giveUpWaiting(): void {
    const { connectTimeout } = this.context.limits;
    // Unless it owes us a step of its authentication, it is we who have not answered: it may try elsewhere.
    const isOurs = this.state === "authenticating" && this.authentication === undefined;
    const reasonCode = isOurs ? ReasonCode.ServerUnavailable : ReasonCode.UnspecifiedError;
    const error = new ReasonCodeError(reasonCode, `not connected within ${connectTimeout} seconds`);
    if (this.state === "authenticating") this.refuse(error);
    else this.#finish(error);
  }

  /** Lets go of everything that belongs to the connection. `error` is missing if the client said goodbye. */
  #finish(error: Error | undefined): void {
    if (this.state === "closed") return;
    const wasConnected = this.state === "connected";
    this.state = "closed";
    const { timers, logger, hooks, sessions } = this.context;
    this.stopWaiting();
    timers.cancel(this.keepAliveTimer);
    if (error === undefined) this.connection.leave();
    else void this.connection.end();
    logger.debug("{clientId} from {remoteAddress} is gone: {reason}", {
      clientId: this.info?.clientId,
      remoteAddress: this.peer.remoteAddress,
      reason: error?.message ?? "disconnected by the client",
    });
    if (!wasConnected) return;
    sessions.release(this.session);
    for (const hook of hooks.on.onDisconnect) {
      this.context.observe(hook.id, "onDisconnect", () => hook.onDisconnect(this.info, error));
    }
  }

  get refusesByDisconnecting(): boolean {
    return this.level < 5;
  }

  /** An acknowledgement whose turn has come. What could not be stored is refused, or left for the client to send again. */
  sendOwed(type: AcknowledgementType, packetId: number, outcome: ReasonCode | Error): void {
    if (this.state !== "connected") return;
    if (!(outcome instanceof Error)) return this.acknowledge(type, packetId, outcome);
    const reasonCode = outcome instanceof ReasonCodeError ? outcome.reasonCode : ReasonCode.UnspecifiedError;
    if (!(outcome instanceof ReasonCodeError)) {
      this.context.logger.error("a message from {clientId} was not stored: {error}", {
        clientId: this.info.clientId,
        error: outcome,
      });
    }
    if (this.level === 5 && allowsReason(type, reasonCode)) {
      const properties: AcknowledgementPacket["properties"] = { reasonString: outcome.message };
      this.send({ type, packetId, reasonCode, properties });
    } else {
      this.disconnect(reasonCode, outcome.message);
    }
  }

  #sendBytes(bytes: Uint8Array): void {
    if (bytes.length <= this.maximumPacketSize) return this.sendEncoded(bytes);
    // Nothing that we may not send can be left out: without it the client would wait for ever.
    if (bytes[0] >> 4 !== PacketType.Disconnect) {
      this.disconnect(ReasonCode.PacketTooLarge, "an answer is larger than the maximum packet size");
    }
  }

  /** The alias that stands for a topic on this connection; 0 if they are used up. */
  #aliasFor(topicName: string): number {
    const aliases = this.#sentAliases ??= new Map();
    return aliases.get(topicName) ?? (aliases.size < this.topicAliasMaximum ? aliases.size + 1 : 0);
  }
}

function withoutReasons<P extends Packet>(packet: P): P {
  if (!("properties" in packet) || packet.properties === undefined) return packet;
  const { reasonString: _reason, userProperties: _user, ...properties } = packet.properties as Record<string, unknown>;
  return { ...packet, properties: Object.keys(properties).length > 0 ? properties : undefined };
}
