import assert from "node:assert/strict";
import { allowsReason, ReasonCode, type SubscriptionRequest } from "../../codec/mod.ts";
import { conformance } from "./conformance.ts";

const options = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
const denying = { config: "hooks: {acl: {rules: [{permission: deny, access: read, topicFilter: denied/#}]}}" };

// "The Server MUST NOT send this Property if it would increase the size of the SUBACK packet beyond the Maximum Packet
// Size specified by the Client", of the Reason String and of the User Property
conformance(
  "[5.0 MQTT-3.9.2-1 MQTT-3.9.2-2] a SUBACK that fits without a reason string and user properties comes without",
  async (broker) => {
    const topicFilter = "denied/a";
    const subscribe = async (maximumPacketSize: number) => {
      const client = await broker.connect({ properties: { maximumPacketSize } });
      return await client.subscribe(topicFilter);
    };
    const { properties: explained } = await subscribe(1000);
    const reasonString = explained?.reasonString;
    assert(reasonString !== undefined, "the test is about a SUBACK with a reason string");
    // Fixed header, packet identifier, property length, the property with its identifier and length, one reason code
    const size = 2 + 2 + 1 + 3 + new TextEncoder().encode(reasonString).length + 1;
    assert.deepEqual((await subscribe(size)).properties, { reasonString });
    for (const maximumPacketSize of [size - 1, 18]) {
      const suback = await subscribe(maximumPacketSize);
      assert.deepEqual(suback, { type: "suback", packetId: 1, reasonCodes: [ReasonCode.NotAuthorized] });
    }
  },
  denying,
);

// "The order of Reason Codes in the SUBACK packet MUST match the order of Topic Filters in the SUBSCRIBE packet."
conformance(
  "[5.0 MQTT-3.9.3-1] [3.1.1 MQTT-3.9.3-1] the codes of a SUBACK are in the order of the filters",
  async (broker, level) => {
    const failed = level === 5 ? ReasonCode.NotAuthorized : 0x80;
    const client = await broker.connect();
    for (const order of [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [3, 3, 1, 3]]) {
      const filters = order.map((number): SubscriptionRequest => (
        {
          topicFilter: number === 3 ? "denied" : broker.unique("t"),
          qos: number === 3 ? 0 : number as 0 | 1 | 2,
          ...options,
        }
      ));
      await client.send({ type: "subscribe", packetId: 9, subscriptions: filters });
      const { reasonCodes } = await client.expect("suback");
      assert.deepEqual(reasonCodes, order.map((number) => number === 3 ? failed : number));
    }
  },
  denying,
);

// "The Server sending the SUBACK packet MUST send one of the Subscribe Reason Code values for each Topic Filter
// received." And of 3.1.1: "SUBACK return codes other than 0x00, 0x01, 0x02 and 0x80 are reserved and MUST NOT be used"
conformance(
  "[5.0 MQTT-3.9.3-2] [3.1.1 MQTT-3.9.3-2] each filter has a code of the table, whatever is wrong with it",
  async (broker, level) => {
    const client = await broker.connect();
    const wanted = [
      ["denied/a", ReasonCode.NotAuthorized],
      ["#", ReasonCode.NotAuthorized],
      [`${broker.unique("t")}/2/3/4`, ReasonCode.TopicFilterInvalid],
      [broker.unique("long").padEnd(50, "g"), ReasonCode.TopicFilterInvalid],
      [broker.unique("t"), ReasonCode.GrantedQos1],
      [broker.unique("t"), ReasonCode.GrantedQos1],
      [broker.unique("t"), ReasonCode.QuotaExceeded],
    ] as const;
    await client.send({
      type: "subscribe",
      packetId: 9,
      subscriptions: wanted.map(([topicFilter]) => ({ topicFilter, qos: 1, ...options })),
    });
    const { reasonCodes } = await client.expect("suback");
    assert.deepEqual(reasonCodes, wanted.map(([, code]) => level === 5 ? code : Math.min(code, 0x80)));
    for (const code of reasonCodes) assert(level === 5 ? allowsReason("suback", code) : [0, 1, 2, 0x80].includes(code));
  },
  { config: `limits: {topicLevels: 3, topicLength: 40, subscriptions: 2}\n${denying.config}` },
);
