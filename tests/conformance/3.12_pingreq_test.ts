import { ReasonCode } from "../../codec/mod.ts";
import { packetBytes } from "../codec/packet_bytes.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const pingreq = packetBytes(0xc0);

// "The Server MUST send a PINGRESP packet in response to a PINGREQ packet."
conformance("[5.0 MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1] each PINGREQ is answered", async (broker) => {
  const client = await broker.connect();
  for (let count = 0; count < 3; count++) {
    await client.sendBytes(pingreq);
    await client.expect("pingresp");
  }
  await client.sendBytes(new Uint8Array([...pingreq, ...pingreq, ...pingreq]));
  for (let count = 0; count < 3; count++) await client.expect("pingresp");
});

// "The PINGREQ packet has no Variable Header." "The PINGREQ packet has no Payload."
conformance("[5.0] [3.1.1] a PINGREQ with anything in it is malformed", async (broker) => {
  const client = await broker.connect();
  await client.sendBytes(packetBytes(0xc0, 0));
  await expectDisconnected(client, ReasonCode.MalformedPacket);
});
