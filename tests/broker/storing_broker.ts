import assert from "node:assert/strict";
import type { HookContext } from "../../broker/hooks.ts";
import type { BrokerOptions } from "../../mod.ts";
import type { ConnectOptions, RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { type Call, RecordingStorage } from "./recording_storage.ts";
import { lasting } from "./versions.ts";

/** A broker with a storing hook, whose calls the test settles. */
export class StoringBroker implements AsyncDisposable {
  readonly broker: TestBroker;
  readonly storage: RecordingStorage;

  constructor(broker: TestBroker, storage: RecordingStorage) {
    this.broker = broker;
    this.storage = storage;
  }

  /** A client with a session that lasts. It is stored. */
  async connected(clientId: string, { level = 5, properties, ...fields }: ConnectOptions = {}): Promise<RawClient> {
    const { storage, broker } = this;
    const forLevel = lasting(level);
    const all = level === 5 ? { ...forLevel.properties, ...properties } : undefined;
    storage.succeeds = true;
    const client = await broker.connect({ ...forLevel, clientId, ...fields, properties: all });
    storage.succeeds = false;
    storage.rest();
    return client;
  }

  /** Such clients, each subscribed to `topicFilter`, at QoS 2 unless told otherwise. The subscriptions are stored, too. */
  async subscribed(
    clientIds: string[],
    topicFilter = "t",
    { qos = 2, ...fields }: ConnectOptions & { qos?: 1 | 2 } = {},
  ): Promise<RawClient[]> {
    const clients: RawClient[] = [];
    for (const clientId of clientIds) {
      const client = await this.connected(clientId, fields);
      const suback = client.subscribe(topicFilter, { qos });
      (await this.storage.expect("storeSubscriptions")).succeed();
      await suback;
      clients.push(client);
    }
    return clients;
  }

  /** Lets clients go, whose sessions are stored then. */
  async away(...clients: RawClient[]): Promise<void> {
    const { storage, broker } = this;
    const left = broker.stats().clients - clients.length;
    for (const client of clients) await client.disconnect();
    await eventually(() => broker.stats().clients === left, "the clients to be gone");
    for (const _client of clients) (await storage.expect("storeSession")).succeed();
  }

  /** A client that is back: its session has been stored as connected. */
  async back(clientId: string, fields: ConnectOptions = {}): Promise<RawClient> {
    const connecting = this.broker.connect({ ...lasting(5), clientId, ...fields });
    (await this.storage.expect("storeSession")).succeed();
    return await connecting;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.storage.succeed();
    await this.broker[Symbol.asyncDispose]();
  }
}

/** A broker with a storing hook; `restore` is called when that is added, to give back what was stored before. */
export async function startStoring(
  { restore, ...options }: BrokerOptions & { restore?: (context: HookContext) => void } = {},
): Promise<StoringBroker> {
  const broker = await startBroker(options);
  const storage = new RecordingStorage(restore);
  await broker.use(storage);
  return new StoringBroker(broker, storage);
}

/** A packet that comes when all calls have succeeded, and not before. `witness` is any other client. */
export async function comesAfter<T>(calls: Call[], packet: Promise<T>, witness: RawClient): Promise<T> {
  let hasCome = false;
  const coming = packet.finally(() => hasCome = true);
  for (const call of calls) {
    for (let round = 0; round < 2; round++) await witness.expectNothing();
    assert.equal(hasCome, false, `it came before ${call.method} had succeeded`);
    call.succeed();
  }
  return await coming;
}
