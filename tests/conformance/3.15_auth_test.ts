import assert from "node:assert/strict";
import { encode, ReasonCode } from "../../codec/mod.ts";
import { binary, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { authenticate, authPacket, begin, challenging, METHOD } from "./authenticating_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

const { ContinueAuthentication, ProtocolError, Reauthenticate } = ReasonCode;

// "Bits 3,2,1 and 0 of the Fixed Header of the AUTH packet are reserved and MUST all be set to 0. The Client or Server
// MUST treat any other value as malformed and close the Network Connection."
conformance(
  "[5.0 MQTT-3.15.1-1] an AUTH with other flags than 0000 is malformed",
  async (broker) => {
    for (let flags = 0; flags < 16; flags++) {
      const [client] = await authenticate(broker);
      await client.sendBytes(packetBytes(0xf0 | flags, Reauthenticate, properties([0x15, ...text(METHOD)])));
      if (flags === 0) await client.expect("auth");
      else await expectDisconnected(client, ReasonCode.MalformedPacket);
    }
    const client = await begin(broker, METHOD);
    await client.expect("auth");
    await client.sendBytes(packetBytes(0xf1, ContinueAuthentication, properties([0x15, ...text(METHOD)])));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
  challenging,
);

// "It is a Protocol Error to omit the Authentication Method or to include it more than once." "It is a Protocol Error
// to include Authentication Data more than once." "The sender of the AUTH Packet MUST use one of the Authenticate
// Reason Codes."
conformance(
  "[5.0] an AUTH without its method, with two of anything, or with an unknown reason code is a protocol error",
  async (broker) => {
    const method = [0x15, ...text(METHOD)];
    const data = [0x16, ...binary(1)];
    const bodies = [[0x18, 0], [0x18, ...properties(method, method)], [0x18, ...properties(method, data, data)], [
      0x17,
      ...properties(method),
    ]];
    for (const body of bodies) {
      const [client] = await authenticate(broker);
      await client.sendBytes(packetBytes(0xf0, body));
      await expectDisconnected(client, ProtocolError);
    }
  },
  challenging,
);

// "The sender MUST NOT send this property if it would increase the size of the AUTH packet beyond the Maximum Packet
// Size specified by the receiver", of the Reason String and of the User Property
conformance(
  "[5.0 MQTT-3.15.2-2 MQTT-3.15.2-3] an AUTH that only just fits comes without a reason string and user properties",
  async (broker) => {
    const asking = authPacket(ContinueAuthentication, "who?");
    const maximumPacketSize = encode(asking, 5).length;
    const client = await begin(broker, METHOD, { properties: { maximumPacketSize } });
    assert.deepEqual(await client.expect("auth"), asking);
  },
  challenging,
);
