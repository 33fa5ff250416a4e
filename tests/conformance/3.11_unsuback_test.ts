import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import { conformance } from "./conformance.ts";

const { NoSubscriptionExisted, Success } = ReasonCode;

// "The Server MUST NOT send this Property if it would increase the size of the UNSUBACK packet beyond the Maximum
// Packet Size specified by the Client", of the Reason String and of the User Property
conformance(
  "[5.0 MQTT-3.11.2-1 MQTT-3.11.2-2] an UNSUBACK that only just fits comes without a reason string and user properties",
  async (broker) => {
    const count = 40;
    // Fixed header, packet identifier, property length, and a reason code for each filter
    const maximumPacketSize = 2 + 2 + 1 + count;
    const client = await broker.connect({ properties: { maximumPacketSize } });
    const unsuback = await client.unsubscribe(Array.from({ length: count }, () => broker.unique("t")));
    const reasonCodes = Array.from({ length: count }, () => NoSubscriptionExisted);
    assert.deepEqual(unsuback, { type: "unsuback", packetId: 1, reasonCodes });
  },
);

// "The order of Reason Codes in the UNSUBACK packet MUST match the order of Topic Filters in the UNSUBSCRIBE packet."
// "The Server sending the UNSUBACK packet MUST use one of the UNSUBSCRIBE Reason Code values for each Topic Filter
// received."
conformance(
  "[5.0 MQTT-3.11.3-1 MQTT-3.11.3-2] an UNSUBACK has a code of the table for each filter, in their order",
  async (broker) => {
    const held = [broker.unique("t"), `$share/g/${broker.unique("t")}`, `${broker.unique("t")}/+/#`];
    const [a, b, c] = held;
    const others = [broker.unique("t"), `$share/h/${broker.unique("t")}`];
    const [x, y] = others;
    const client = await broker.connect();
    for (const filters of [[a, x, b, c, y, x], [x, y, c, a], [a, y], [x, b]]) {
      await client.subscribe(held);
      const { reasonCodes } = await client.unsubscribe(filters);
      assert.deepEqual(reasonCodes, filters.map((filter) => held.includes(filter) ? Success : NoSubscriptionExisted));
    }
  },
);
