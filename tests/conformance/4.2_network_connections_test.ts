import assert from "node:assert/strict";
import { encode } from "../../codec/mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";

// "A Client or Server MUST support the use of one or more underlying transport protocols that provide an ordered,
// lossless, stream of bytes from the Client to Server and Server to Client." Of 3.1.1 this is in chapter 7: "A
// conformant Server MUST support the use of one or more underlying transport protocols …. However conformance does not
// depend on it supporting any specific transport protocols."
conformance(
  "[5.0 MQTT-4.2-1] [3.1.1 MQTT-7.1.1-1] [3.1] all bytes arrive in their order, both ways, in whatever pieces they are sent",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    const payloads = Array.from({ length: 300 }, (_, number) => {
      return new Uint8Array(number % 50 === 49 ? 100_000 : number).fill(number);
    });
    const publisher = await broker.open();
    const packets = [
      encode(connectPacket({ level, clientId: broker.unique("c") }), level),
      ...payloads.map((payload, index) =>
        encode(publishPacket({ topic, qos: 1, packetId: index + 1, payload }), level)
      ),
    ];
    const bytes = new Uint8Array(packets.flatMap((packet) => [...packet]));
    // In pieces of 1, 2, 3, … bytes, so that they begin and end anywhere
    const sent = (async () => {
      for (let start = 0, size = 1; start < bytes.length; start += size++) {
        await publisher.sendBytes(bytes.slice(start, start + size));
      }
    })();
    await publisher.expect("connack");
    for (const [index, payload] of payloads.entries()) {
      const message = await subscriber.expect("publish");
      assert.deepEqual(message.payload, payload);
      await subscriber.send({ type: "puback", packetId: message.packetId!, reasonCode: 0 });
      assert.equal((await publisher.expect("puback")).packetId, index + 1);
    }
    await sent;
    await subscriber.expectNothing();
  },
);
