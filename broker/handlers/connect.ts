import type { ConnackProperties } from "../../codec/connack.ts";
import type { ConnectPacket } from "../../codec/connect.ts";
import { ReasonCodeError } from "../../codec/errors.ts";
import type { Framer } from "../../codec/framer.ts";
import type { ProtocolLevel } from "../../codec/packet.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import { encodeUtf8 } from "../../codec/utf8.ts";
import type { Client } from "../client.ts";
import type { AuthStep, ClientInfo, Hook } from "../hooks.ts";
import { forEachInTurn, type MaybePromise, recover, then } from "../maybe_promise.ts";
import { mayWrite } from "../may_write.ts";
import { NEVER_EXPIRES } from "../session.ts";
import { beginAuthentication } from "./auth.ts";
import { isReserved } from "./publish.ts";

/** CONNECT: a client wants in. Source: MQTT 5.0 section 3.1.4, MQTT 3.1.1 section 3.1.4. */
export function handleConnect(client: Client, packet: ConnectPacket): MaybePromise<void> {
  const { hooks, counters } = client.context;
  counters.connectsReceived += 1;
  client.maximumPacketSize = packet.properties?.maximumPacketSize ?? Infinity;
  checkAgainstOptions(client, packet);
  client.info = clientInfo(client, packet);
  client.state = "authenticating";
  return then(
    forEachInTurn(hooks.on.onConnect, (hook) => hook.onConnect(client.info, packet)),
    () => {
      if (client.state === "closed") return;
      const method = packet.properties?.authenticationMethod;
      if (method === undefined) return admit(client, packet);
      return beginAuthentication(client, packet, method);
    },
  );
}

/** The client is who it should be: gives it its session and tells it so. */
export function admit(client: Client, packet: ConnectPacket, authenticated?: AuthStep): MaybePromise<void> {
  const { sessions, options } = client.context;
  const expiry = Math.min(sessionExpiry(packet), options.maximumSessionExpiry);
  const claim = { isDurable: expiry > 0, will: packet.will };
  return then(
    checkWill(client, packet),
    () => sessions.claim(client, claim, () => enter(client, packet, expiry, authenticated)),
  );
}

/** A will is a publication: who may not publish it is not let in with it. */
function checkWill({ context, info }: Client, { will }: ConnectPacket): MaybePromise<void> {
  if (will === undefined) return;
  return then(mayWrite(context, info, will.topic), (allowed) => {
    if (!allowed) throw new ReasonCodeError(ReasonCode.NotAuthorized, "not authorized to publish the will");
  });
}

/** The client's session, if it has one, is here. */
function enter(
  client: Client,
  packet: ConnectPacket,
  expiry: number,
  authenticated: AuthStep | undefined,
): MaybePromise<void> {
  const { context, level } = client;
  const { limits, sessions } = context;
  const { session, present } = sessions.open(client);
  session.expireAfter(expiry);
  client.session = session;
  client.sendQuota = Math.min(packet.properties?.receiveMaximum ?? 0xffff, limits.inflight);
  client.topicAliasMaximum = Math.min(packet.properties?.topicAliasMaximum ?? 0, limits.topicAliasMaximum);
  client.wantsProblemInformation = packet.properties?.requestProblemInformation ?? true;
  client.authenticationMethod = packet.properties?.authenticationMethod;
  const properties = level === 5 ? connackProperties(client, packet, authenticated) : undefined;
  session.will = packet.will;
  return recover(
    () => then(sessions.storeOpened(client), () => welcome(client, present, properties)),
    (error) => {
      giveUp(client);
      throw error;
    },
  );
}

/** The session is stored, if it is to be: tells the client, and goes on where they were. */
function welcome(client: Client, present: boolean, properties: ConnackProperties | undefined): MaybePromise<void> {
  const { context, session } = client;
  if (client.state !== "closed") {
    // In MQTT 3.1 that byte is reserved.
    const sessionPresent = present && client.info.protocolLevel > 3;
    client.send({ type: "connack", sessionPresent, reasonCode: ReasonCode.Success, properties });
  }
  // It has gone meanwhile, or does not accept a packet of that size.
  if (client.state === "closed") return giveUp(client);
  client.state = "connected";
  client.stopWaiting();
  watchKeepAlive(client);
  return then(context.router.withdrawUnreadable(session), () => {
    if (client.state !== "connected") return;
    session.resume(client);
    return announce(client, present);
  });
}

/** The client never was connected, so its will is not published. Its session may be another connection's by now. */
function giveUp(client: Client): void {
  const { session, context } = client;
  if (session.owner !== client) return;
  session.will = undefined;
  context.sessions.release(session);
}

/** Tells the hooks that a client is connected. */
function announce({ context, info }: Client, present: boolean): MaybePromise<void> {
  const { hooks } = context;
  const sessionEvent = present ? "onSessionResumed" : "onSessionCreated";
  const observers: readonly Hook[] = hooks.on[sessionEvent];
  return then(
    forEachInTurn(observers, (hook) => context.observe(hook.id, sessionEvent, () => hook[sessionEvent]!(info))),
    () =>
      forEachInTurn(
        hooks.on.onConnected,
        (hook) => context.observe(hook.id, "onConnected", () => hook.onConnected(info)),
      ),
  );
}

/**
 * The protocol level that a CONNECT claims, so that one which cannot be decoded is still answered in its own language.
 * What is newer than we are is answered in MQTT 5.
 */
export function peekProtocolLevel({ bytes, bodyStart, end }: Framer): ProtocolLevel {
  const levelAt = bodyStart + 2 + ((bytes[bodyStart] << 8) | bytes[bodyStart + 1]);
  return levelAt < end && bytes[levelAt] >= 5 && bytes[levelAt] < 0x80 ? 5 : 4;
}

function checkAgainstOptions(client: Client, packet: ConnectPacket): void {
  const { options, limits } = client.context;
  const { will, clientId, protocolLevel, cleanStart } = packet;
  if (will !== undefined && will.qos > options.maximumQos) {
    throw new ReasonCodeError(
      ReasonCode.QosNotSupported,
      `will QoS is ${will.qos}; at most ${options.maximumQos} is supported`,
    );
  }
  if (will?.retain && !options.retainAvailable) {
    throw new ReasonCodeError(ReasonCode.RetainNotSupported, "retained messages are not supported");
  }
  if (will !== undefined) {
    client.context.topics.named(will.topic);
    if (isReserved(will.topic)) {
      throw new ReasonCodeError(ReasonCode.TopicNameInvalid, "topics below $SYS are the broker's");
    }
  }
  const userProperties = (packet.properties?.userProperties?.length ?? 0) +
    (will?.properties?.userProperties?.length ?? 0);
  if (userProperties > limits.userProperties) {
    throw new ReasonCodeError(
      ReasonCode.QuotaExceeded,
      `${userProperties} user properties; at most ${limits.userProperties} are accepted`,
    );
  }
  const length = encodeUtf8(clientId).length;
  if (length > limits.clientIdLength) {
    throw new ReasonCodeError(
      ReasonCode.ClientIdentifierNotValid,
      `client id is ${length} bytes long; at most ${limits.clientIdLength} are accepted`,
    );
  }
  if (protocolLevel === 3 && (clientId.length < 1 || clientId.length > 23)) {
    throw new ReasonCodeError(ReasonCode.ClientIdentifierNotValid, "MQTT 3.1 client ids have 1 to 23 characters");
  }
  // MQTT 3.1.1 [MQTT-3.1.3-8]
  if (protocolLevel === 4 && clientId === "" && !cleanStart) {
    throw new ReasonCodeError(ReasonCode.ClientIdentifierNotValid, "an empty client id needs a clean session");
  }
}

function clientInfo(client: Client, packet: ConnectPacket): ClientInfo {
  const { maximumKeepAlive } = client.context.options;
  const { keepAlive, protocolLevel } = packet;
  const tooLong = protocolLevel === 5 && maximumKeepAlive < 0xffff && (keepAlive === 0 || keepAlive > maximumKeepAlive);
  return {
    clientId: packet.clientId === "" ? `hookmq-${crypto.randomUUID()}` : packet.clientId,
    protocolLevel,
    username: packet.username,
    remoteAddress: client.peer.remoteAddress,
    certificateName: client.peer.certificateName,
    cleanStart: packet.cleanStart,
    keepAlive: tooLong ? maximumKeepAlive : keepAlive,
    connectedAt: Date.now(),
  };
}

/** In seconds. Before MQTT 5 a session lasts either as long as its connection or for ever. */
function sessionExpiry({ protocolLevel, cleanStart, properties }: ConnectPacket): number {
  if (protocolLevel === 5) return properties?.sessionExpiryInterval ?? 0;
  return cleanStart ? 0 : NEVER_EXPIRES;
}

/** Everything in which we differ from what the client asked for or would assume. */
function connackProperties(
  client: Client,
  packet: ConnectPacket,
  authenticated: AuthStep | undefined,
): ConnackProperties {
  const { info, session, context: { options, limits } } = client;
  const properties: ConnackProperties = {
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetSize,
  };
  if (limits.topicAliasMaximum > 0) properties.topicAliasMaximum = limits.topicAliasMaximum;
  if (session.expiryInterval !== sessionExpiry(packet)) properties.sessionExpiryInterval = session.expiryInterval;
  if (options.maximumQos < 2) properties.maximumQos = options.maximumQos as 0 | 1;
  if (!options.retainAvailable) properties.retainAvailable = false;
  if (!options.wildcardSubscriptionAvailable) properties.wildcardSubscriptionAvailable = false;
  if (!options.subscriptionIdentifiersAvailable) properties.subscriptionIdentifiersAvailable = false;
  if (!options.sharedSubscriptionAvailable) properties.sharedSubscriptionAvailable = false;
  if (packet.clientId === "") properties.assignedClientIdentifier = info.clientId;
  if (info.keepAlive !== packet.keepAlive) properties.serverKeepAlive = info.keepAlive;
  if (packet.properties?.requestResponseInformation) {
    const responseInformation = options.responseInformation?.(info);
    if (responseInformation !== undefined) properties.responseInformation = responseInformation;
  }
  if (client.authenticationMethod !== undefined) properties.authenticationMethod = client.authenticationMethod;
  if (authenticated?.data !== undefined) properties.authenticationData = authenticated.data;
  return properties;
}

/** Closes the connection when nothing has come for one and a half times the keep alive [MQTT-3.1.2-22]. */
function watchKeepAlive(client: Client): void {
  const { timers } = client.context;
  const allowed = client.info.keepAlive * 1500;
  if (allowed === 0) return;
  const check = () => {
    const silence = client.connection.busy ? 0 : timers.now - client.connection.lastPacketAt;
    if (silence >= allowed) {
      return client.disconnect(ReasonCode.KeepAliveTimeout, "nothing came for one and a half times the keep alive");
    }
    client.keepAliveTimer = timers.schedule(allowed - silence, check);
  };
  client.keepAliveTimer = timers.schedule(allowed, check);
}
