import { connectBytes, packetBytes, text } from "../codec/packet_bytes.ts";
import { conformance } from "./conformance.ts";

// "Conformant implementations MUST NOT require the use of any extensions defined outside of this specification in order
// to interoperate with any other conformant implementation." "The format of all Control Packets that the Server sends
// matches the format described in Chapter 2 and Chapter 3."
conformance(
  "[3.1.1 MQTT-7.0.0-2] [5.0] clients that know nothing but the specification, byte for byte, can do all that it describes",
  async (broker, level) => {
    const topic = text(broker.unique("t"));
    const none = level === 5 ? [0] : [];
    const hello = text("hello");
    const [publisher, subscriber] = [await broker.open(), await broker.open()];

    for (const client of [publisher, subscriber]) {
      await client.sendBytes(connectBytes({ level, clientId: text(broker.unique("c")) }));
      if (level === 5) await client.expect("connack"); // What its properties say is the server's choice.
      else await client.expectBytes(packetBytes(0x20, 0, 0));
    }

    await subscriber.sendBytes(packetBytes(0x82, [0, 1], none, topic, 2));
    await subscriber.expectBytes(packetBytes(0x90, [0, 1], none, 2));

    await publisher.sendBytes(packetBytes(0x30, topic, none, hello));
    await subscriber.expectBytes(packetBytes(0x30, topic, none, hello));

    await publisher.sendBytes(packetBytes(0x32, topic, [0, 2], none, hello));
    await publisher.expectBytes(packetBytes(0x40, [0, 2]));
    await subscriber.expectBytes(packetBytes(0x32, topic, [0, 1], none, hello));
    await subscriber.sendBytes(packetBytes(0x40, [0, 1]));

    await publisher.sendBytes(packetBytes(0x34, topic, [0, 3], none, hello));
    await publisher.expectBytes(packetBytes(0x50, [0, 3]));
    await publisher.sendBytes(packetBytes(0x62, [0, 3]));
    await publisher.expectBytes(packetBytes(0x70, [0, 3]));
    await subscriber.expectBytes(packetBytes(0x34, topic, [0, 2], none, hello));
    await subscriber.sendBytes(packetBytes(0x50, [0, 2]));
    await subscriber.expectBytes(packetBytes(0x62, [0, 2]));
    await subscriber.sendBytes(packetBytes(0x70, [0, 2]));

    await subscriber.sendBytes(packetBytes(0xa2, [0, 4], none, topic));
    await subscriber.expectBytes(packetBytes(0xb0, [0, 4], level === 5 ? [0, 0] : []));

    for (const client of [publisher, subscriber]) {
      await client.sendBytes(packetBytes(0xc0));
      await client.expectBytes(packetBytes(0xd0));
      await client.sendBytes(packetBytes(0xe0));
      await client.expectClosed();
    }
  },
);
