// MQTT over any pair of streams. Here they lead to a client in the same program, which needs no network and no
// permission: good for tests. A serial line, a pipe or a tunnel is served in the same way.
//
//   deno run examples/in_memory.ts
//
// The client is made by hand, of the packets that it sends and gets.
import { Broker } from "@hookmq/broker";
import { decode, encode, Framer, type Packet, type SubscriptionRequest } from "@hookmq/broker/codec";

const broker = new Broker();
const toBroker = new TransformStream<Uint8Array, Uint8Array>();
const toClient = new TransformStream<Uint8Array, Uint8Array>();
broker.serve({ readable: toBroker.readable, writable: toClient.writable });

const writer = toBroker.writable.getWriter();
const send = (packet: Packet) => writer.write(encode(packet, 5));
send({ type: "connect", protocolLevel: 5, clientId: "in-memory", cleanStart: true, keepAlive: 0 });
const subscription: SubscriptionRequest = {
  topicFilter: "greetings/#",
  qos: 0,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
};
send({ type: "subscribe", packetId: 1, subscriptions: [subscription] });

const framer = new Framer();
for await (const chunk of toClient.readable) {
  framer.push(chunk);
  while (framer.next()) {
    const packet = decode(framer.packet(), 5);
    console.log(`the client gets ${packet.type}`);
    // From the program that runs the broker; the client takes its leave when it has got it.
    if (packet.type === "suback") await broker.publish("greetings/world", "hello");
    if (packet.type !== "publish") continue;
    console.log(`${packet.topic}: ${new TextDecoder().decode(packet.payload)}`);
    send({ type: "disconnect", reasonCode: 0 });
  }
}
await broker.close();
