import assert from "node:assert/strict";
import {
  type AuthExchange,
  type AuthStep,
  type ClientInfo,
  type ConnectPacket,
  type Hook,
  type MaybePromise,
  type Packet,
  ReasonCode,
  ReasonCodeError,
} from "../../mod.ts";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive } from "./receive.ts";
import { RecordingLogger } from "./recording_logger.ts";

const METHOD = "CHALLENGE";
const { ContinueAuthentication, Reauthenticate, Success } = ReasonCode;

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A hook that answers every step in this way, and keeps what it was told. */
function authenticator(
  answer: (exchange: AuthExchange, client: ClientInfo) => MaybePromise<AuthStep | undefined>,
  exchanges: AuthExchange[] = [],
): Hook {
  return {
    id: "authenticator",
    onAuthenticate(client, exchange) {
      exchanges.push(exchange);
      return answer(exchange, client);
    },
  };
}

/** Asks "who?", then wants to hear "me", and welcomes the client as ann. */
function challenge({ step, data }: AuthExchange): AuthStep {
  if (step === 0) return { done: false, data: bytes("who?") };
  if (new TextDecoder().decode(data) !== "me") throw new ReasonCodeError(ReasonCode.NotAuthorized, "wrong answer");
  return { done: true, data: bytes("welcome"), username: "ann" };
}

function authPacket(reasonCode: number, data?: string, method = METHOD): Packet {
  const properties = data === undefined
    ? { authenticationMethod: method }
    : { authenticationMethod: method, authenticationData: bytes(data) };
  return { type: "auth", reasonCode, properties };
}

function connectWith(method: string, data?: string, fields: Partial<ConnectPacket> = {}): ConnectPacket {
  const properties = data === undefined
    ? { authenticationMethod: method }
    : { authenticationMethod: method, authenticationData: bytes(data) };
  return connectPacket({ clientId: "a", ...fields, properties: { ...properties, ...fields.properties } });
}

/** A connection that has sent a CONNECT with an authentication method. */
async function begin(broker: TestBroker, fields: Partial<ConnectPacket> = {}): Promise<RawClient> {
  const client = await broker.open();
  await client.send(connectWith(METHOD, "hello", fields));
  return client;
}

/** A client that has answered the challenge and is connected. */
async function connect(broker: TestBroker, fields: Partial<ConnectPacket> = {}): Promise<RawClient> {
  const client = await begin(broker, fields);
  await client.expect("auth");
  await client.send(authPacket(ContinueAuthentication, "me"));
  assert.equal((await client.expect("connack")).reasonCode, Success);
  return client;
}

async function expectRefused(client: RawClient, reasonCode: number): Promise<void> {
  assert.equal((await client.expect("connack")).reasonCode, reasonCode);
  await client.expectClosed();
}

async function expectDisconnected(client: RawClient, reasonCode: number): Promise<void> {
  assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
  await client.expectClosed();
}

// Accepting

Deno.test("[5.0 MQTT-4.12.0-5] a client that is authenticated by its CONNECT is told so with method and data", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  await broker.use(authenticator(() => ({ done: true, data: bytes("welcome") }), exchanges));
  const client = await broker.open();
  await client.send(connectWith(METHOD, "hello"));
  const { reasonCode, properties } = await client.expect("connack");
  assert.equal(reasonCode, Success);
  assert.equal(properties?.authenticationMethod, METHOD);
  assert.deepEqual(properties?.authenticationData, bytes("welcome"));
  assert.deepEqual(exchanges, [{ method: METHOD, data: bytes("hello"), step: 0, reauthentication: false }]);
});

Deno.test("data is for the method to decide: neither side need send any", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  await broker.use(authenticator(({ step }) => ({ done: step === 1 }), exchanges));
  const client = await broker.open();
  await client.send(connectWith(METHOD));
  const properties = { authenticationMethod: METHOD };
  assert.deepEqual(await client.expect("auth"), { type: "auth", reasonCode: ContinueAuthentication, properties });
  await client.send(authPacket(ContinueAuthentication));
  const connack = await client.expect("connack");
  assert.deepEqual([connack.reasonCode, connack.properties?.authenticationData], [Success, undefined]);
  assert.deepEqual(exchanges.map(({ data }) => data), [undefined, undefined]);
});

Deno.test("[5.0 MQTT-4.12.0-2] a hook can ask for as many steps as it wants, with data both ways", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  const answer = async ({ step }: AuthExchange) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return { done: step === 3, data: bytes(`broker ${step}`) };
  };
  await broker.use(authenticator(answer, exchanges));
  const client = await broker.open();
  await client.send(connectWith(METHOD, "client 0"));
  for (let step = 0; step < 3; step++) {
    assert.deepEqual(await client.expect("auth"), authPacket(ContinueAuthentication, `broker ${step}`));
    assert.deepEqual([broker.stats().clients, broker.stats().sessions], [0, 0]);
    await client.send(authPacket(ContinueAuthentication, `client ${step + 1}`));
  }
  const { properties } = await client.expect("connack");
  assert.deepEqual(properties?.authenticationData, bytes("broker 3"));
  assert.deepEqual(
    exchanges,
    [0, 1, 2, 3].map((step) => ({ method: METHOD, data: bytes(`client ${step}`), step, reauthentication: false })),
  );
  await client.expectNothing();
});

Deno.test("the first hook that knows the method authenticates the client", async () => {
  await using broker = await startBroker();
  const asked: string[] = [];
  const knows = (id: string, method: string): Hook => ({
    id,
    onAuthenticate: (_client, exchange) => {
      asked.push(id);
      return Promise.resolve(exchange.method === method ? { done: true, username: id } : undefined);
    },
  });
  for (const [id, method] of [["a", "A"], ["b", "B"], ["b too", "B"]]) await broker.use(knows(id, method));
  const client = await broker.open();
  await client.send(connectWith("B"));
  assert.equal((await client.expect("connack")).reasonCode, Success);
  assert.deepEqual(asked, ["a", "b"]);
});

Deno.test("a hook that is removed while it is waited for takes no other hook's turn away", async () => {
  await using broker = await startBroker();
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<undefined>();
  await broker.use({
    id: "slow",
    onAuthenticate() {
      asked.resolve();
      return answer.promise;
    },
  });
  await broker.use({ id: "knows", onAuthenticate: () => ({ done: true }) });
  const client = await begin(broker);
  await asked.promise;
  await broker.remove("slow");
  answer.resolve(undefined);
  assert.equal((await client.expect("connack")).reasonCode, Success);
});

Deno.test("the user name that authentication finds is the client's, for every event from then on", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(challenge));
  const names: [string, string | undefined][] = [];
  await broker.use({
    id: "watch",
    onConnect: ({ username }) => void names.push(["onConnect", username]),
    onSessionCreated: ({ username }) => void names.push(["onSessionCreated", username]),
    onConnected: ({ username }) => void names.push(["onConnected", username]),
    onPublish: ({ username }) => void names.push(["onPublish", username]),
  });
  const client = await connect(broker, { username: "claimed" });
  await client.publish({ topic: "a", qos: 1 });
  assert.deepEqual(names, [
    ["onConnect", "claimed"],
    ["onSessionCreated", "ann"],
    ["onConnected", "ann"],
    ["onPublish", "ann"],
  ]);
});

Deno.test("a hook that finds no user name leaves the one of the CONNECT", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(() => ({ done: true })));
  const names: (string | undefined)[] = [];
  await broker.use({ id: "watch", onConnected: ({ username }) => void names.push(username) });
  await (await begin(broker, { username: "claimed" })).expect("connack");
  assert.deepEqual(names, ["claimed"]);
});

Deno.test("[5.0 MQTT-4.12.0-6] a client without a method is not asked, and hears nothing of it", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  await broker.use(authenticator(challenge, exchanges));
  for (const level of [3, 4, 5] as const) {
    const { connack } = await broker.connect({ level, username: "ann", password: "secret" });
    assert.equal(connack.properties?.authenticationMethod, undefined);
  }
  assert.deepEqual(exchanges, []);
});

Deno.test("who connected before keeps the session until the newcomer is authenticated", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(challenge));
  const first = await broker.connect({ clientId: "a" });
  const impostor = await begin(broker);
  await impostor.expect("auth");
  await impostor.send(authPacket(ContinueAuthentication, "not me"));
  await expectRefused(impostor, ReasonCode.NotAuthorized);
  await first.expectNothing();
  await connect(broker);
  await expectDisconnected(first, ReasonCode.SessionTakenOver);
});

// Refusing

for (
  const [what, error, reasonCode] of [
    ["0x87", new ReasonCodeError(ReasonCode.NotAuthorized, "no"), ReasonCode.NotAuthorized],
    ["0x86", new ReasonCodeError(ReasonCode.BadUserNameOrPassword, "no"), ReasonCode.BadUserNameOrPassword],
    ["0x8C", new ReasonCodeError(ReasonCode.BadAuthenticationMethod, "no"), ReasonCode.BadAuthenticationMethod],
    ["what CONNACK cannot carry", new ReasonCodeError(ReasonCode.SessionTakenOver, "no"), ReasonCode.UnspecifiedError],
    ["a failure of its own", new Error("no database"), ReasonCode.UnspecifiedError],
  ] as const
) {
  Deno.test(`[5.0 MQTT-4.12.0-4] a hook that refuses with ${what}, at whichever step, ends the connection`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    let refusingStep = 0;
    await broker.use(authenticator(({ step }) => {
      if (step === refusingStep) throw error;
      return { done: false };
    }));
    await expectRefused(await begin(broker), reasonCode);
    refusingStep = 1;
    const client = await begin(broker);
    await client.expect("auth");
    await client.send(authPacket(ContinueAuthentication));
    await expectRefused(client, reasonCode);
    await eventually(() => broker.stats().connections === 0, "the end of the connections");
    assert.equal(broker.stats().sessions, 0);
    assert.equal(logger.entries.length, error instanceof ReasonCodeError ? 0 : 2);
  });
}

Deno.test("[5.0 MQTT-4.12.0-1] a method that no hook knows is refused with 0x8C", async () => {
  await using broker = await startBroker();
  await expectRefused(await begin(broker), ReasonCode.BadAuthenticationMethod);
  await broker.use(authenticator(() => undefined));
  await expectRefused(await begin(broker), ReasonCode.BadAuthenticationMethod);
});

Deno.test("onConnect comes first, and whoever it refuses is not authenticated", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  await broker.use(authenticator(challenge, exchanges));
  await broker.use({
    id: "guard",
    onConnect() {
      throw new ReasonCodeError(ReasonCode.Banned, "not you");
    },
  });
  await expectRefused(await begin(broker), ReasonCode.Banned);
  assert.deepEqual(exchanges, []);
});

Deno.test("a client that does not finish in time is refused", async () => {
  await using broker = await startBroker({ limits: { connectTimeout: 1 } });
  await broker.use(authenticator(challenge));
  const client = await begin(broker);
  await client.expect("auth");
  await expectRefused(client, ReasonCode.UnspecifiedError);
});

// What must not come while it is under way

const subscription = { topicFilter: "a", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

for (
  const packet of [
    publishPacket({ topic: "a" }),
    { type: "subscribe", packetId: 1, subscriptions: [subscription] },
    { type: "pingreq" },
    connectWith(METHOD, "hello"),
    { type: "puback", packetId: 1, reasonCode: 0 },
  ] as Packet[]
) {
  Deno.test(`a ${packet.type.toUpperCase()} before authentication is complete is a protocol error`, async () => {
    await using broker = await startBroker();
    await broker.use(authenticator(challenge));
    const client = await begin(broker);
    await client.expect("auth");
    await client.send(packet);
    await expectRefused(client, ReasonCode.ProtocolError);
    assert.equal(broker.stats().sessions, 0);
  });
}

for (
  const [what, packet] of [
    ["that names another method", authPacket(ContinueAuthentication, "me", "OTHER")],
    ["that says success", authPacket(Success, "me")],
    ["that begins a re-authentication", authPacket(Reauthenticate, "me")],
    ["without a method", { type: "auth", reasonCode: ContinueAuthentication, properties: {} }],
    ["that is empty", { type: "auth", reasonCode: Success }],
  ] as [string, Packet][]
) {
  Deno.test(`[5.0 MQTT-4.12.0-3] an AUTH ${what} in the middle of authentication is a protocol error`, async () => {
    await using broker = await startBroker();
    await broker.use(authenticator(challenge));
    const client = await begin(broker);
    await client.expect("auth");
    await client.send(packet);
    await expectRefused(client, ReasonCode.ProtocolError);
  });
}

Deno.test("a client can say goodbye before authentication is complete", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(challenge));
  const client = await begin(broker);
  await client.expect("auth");
  await client.send({ type: "disconnect", reasonCode: 0 });
  await client.expectClosed();
});

Deno.test("a client that is gone when the hook answers leaves nothing behind", async () => {
  const logger = new RecordingLogger();
  await using broker = await startBroker({ logger });
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<AuthStep>();
  await broker.use(authenticator(() => {
    asked.resolve();
    return answer.promise;
  }));
  const client = await begin(broker);
  await asked.promise;
  await client.close();
  answer.resolve({ done: true });
  await eventually(() => broker.stats().connections === 0, "the end of the connection");
  assert.deepEqual([broker.stats().clients, broker.stats().sessions, logger.entries], [0, 0, []]);
});

Deno.test("an AUTH as the first packet ends the connection without a word", async () => {
  await using broker = await startBroker();
  const client = await broker.open();
  await client.send(authPacket(ContinueAuthentication));
  await client.expectClosed();
});

Deno.test("[5.0 MQTT-4.12.0-7] an AUTH from a client that connected without a method is a protocol error", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(() => ({ done: true })));
  for (const reasonCode of [ContinueAuthentication, Reauthenticate]) {
    const client = await broker.connect();
    await client.send(authPacket(reasonCode));
    await expectDisconnected(client, ReasonCode.ProtocolError);
  }
});

Deno.test("an AUTH from a client of an older version ends the connection", async () => {
  await using broker = await startBroker();
  for (const level of [3, 4] as const) {
    const client = await broker.connect({ level });
    await client.sendBytes(new Uint8Array([0xf0, 0]));
    await client.expectClosed();
  }
});

Deno.test("authentication data without a method is a protocol error", async () => {
  await using broker = await startBroker();
  const client = await broker.open();
  await client.send(connectPacket({ clientId: "a", properties: { authenticationData: bytes("hello") } }));
  await expectRefused(client, ReasonCode.ProtocolError);
});

// Authenticating again

Deno.test("a client authenticates again, while its other packets go on", async () => {
  await using broker = await startBroker();
  const exchanges: AuthExchange[] = [];
  await broker.use(authenticator(challenge, exchanges));
  const client = await connect(broker);
  exchanges.length = 0;
  await client.send(authPacket(Reauthenticate, "again"));
  assert.deepEqual(await client.expect("auth"), authPacket(ContinueAuthentication, "who?"));
  await client.subscribe("a");
  await client.publish({ topic: "a", payload: "meanwhile" });
  assert.equal((await receive(client)).text, "meanwhile");
  await client.send(authPacket(ContinueAuthentication, "me"));
  assert.deepEqual(await client.expect("auth"), authPacket(Success, "welcome"));
  await client.expectNothing();
  assert.deepEqual(exchanges, [
    { method: METHOD, data: bytes("again"), step: 0, reauthentication: true },
    { method: METHOD, data: bytes("me"), step: 1, reauthentication: true },
  ]);
});

Deno.test("a client can authenticate again as often as it wants, in one step, as somebody else", async () => {
  await using broker = await startBroker();
  let count = 0;
  await broker.use(authenticator(() => ({ done: true, username: `user ${++count}` })));
  const names: (string | undefined)[] = [];
  await broker.use({ id: "watch", onPublish: ({ username }) => void names.push(username) });
  const client = await begin(broker);
  await client.expect("connack");
  for (let time = 0; time < 3; time++) {
    await client.publish({ topic: "a", qos: 1 });
    await client.send(authPacket(Reauthenticate));
    assert.deepEqual(await client.expect("auth"), authPacket(Success));
  }
  assert.deepEqual(names, ["user 1", "user 2", "user 3"]);
});

for (
  const [what, error, reasonCode] of [
    ["refuses", new ReasonCodeError(ReasonCode.NotAuthorized, "no"), ReasonCode.NotAuthorized],
    ["fails", new Error("no database"), ReasonCode.UnspecifiedError],
    ["does not know the method any more", undefined, ReasonCode.BadAuthenticationMethod],
  ] as const
) {
  Deno.test(`[5.0 MQTT-4.12.1-2] a hook that ${what} when a client authenticates again ends the connection`, async () => {
    await using broker = await startBroker();
    await broker.use(authenticator((exchange) => {
      if (!exchange.reauthentication) return challenge(exchange);
      if (error !== undefined) throw error;
      return undefined;
    }));
    const client = await connect(broker);
    await client.send(authPacket(Reauthenticate, "again"));
    await expectDisconnected(client, reasonCode);
  });
}

for (
  const [id, what, ...packets] of [
    ["MQTT-4.12.1-1", "with another method", authPacket(Reauthenticate, "again", "OTHER")],
    ["MQTT-4.12.0-3", "that goes on with nothing", authPacket(ContinueAuthentication, "me")],
    ["MQTT-4.12.0-3", "that says success", authPacket(Success, "me")],
    [
      "MQTT-4.12.1-1",
      "that begins again in the middle",
      authPacket(Reauthenticate, "again"),
      authPacket(Reauthenticate, "again"),
    ],
  ] as [string, string, ...Packet[]][]
) {
  Deno.test(`[5.0 ${id}] an AUTH ${what} from a connected client is a protocol error`, async () => {
    await using broker = await startBroker();
    await broker.use(authenticator(challenge));
    const client = await connect(broker);
    for (const packet of packets) await client.send(packet);
    if (packets.length > 1) await client.expect("auth");
    await expectDisconnected(client, ReasonCode.ProtocolError);
  });
}

Deno.test("a will is published when authenticating again fails", async () => {
  await using broker = await startBroker();
  await broker.use(authenticator(challenge));
  const watcher = await broker.connect({ clientId: "watcher" });
  await watcher.subscribe("will");
  const client = await connect(broker, { will: { topic: "will", payload: bytes("gone"), qos: 0, retain: false } });
  await client.send(authPacket(Reauthenticate, "again"));
  await client.expect("auth");
  await client.send(authPacket(ContinueAuthentication, "not me"));
  await expectDisconnected(client, ReasonCode.NotAuthorized);
  assert.equal((await receive(watcher)).text, "gone");
});
