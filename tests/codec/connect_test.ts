import assert from "node:assert/strict";
import { decode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, binary, connectBytes, type ConnectParts, levels, properties, text } from "./packet_bytes.ts";

const protocols: readonly { name: number[]; level: ProtocolLevel }[] = [
  { name: text("MQIsdp"), level: 3 },
  { name: text("MQTT"), level: 4 },
  { name: text("MQTT"), level: 5 },
];

function connect(level: ProtocolLevel, parts: Omit<ConnectParts, "name" | "level">): Uint8Array {
  return connectBytes({ ...parts, ...protocols.find((protocol) => protocol.level === level) });
}

/** What stands in front of the will topic at this level, if the will has no properties. */
function noWillProperties(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

for (const { name, level } of protocols) {
  Deno.test(`protocol ${new TextDecoder().decode(new Uint8Array(name.slice(2)))} ${level} is level ${level}`, () => {
    const packet = decode(connectBytes({ name, level }), 4);
    assert(packet.type === "connect");
    assert.equal(packet.protocolLevel, level);
  });
}

Deno.test("[5.0 MQTT-3.1.2-2] a protocol level that does not exist is refused with 0x84", () => {
  for (const level of [0, 1, 2, 3, 6, 0x84, 0x85, 0xff]) {
    assertRefused(connectBytes({ level }), 5, 0x84, /protocol "MQTT" level \d+ is not supported/);
  }
});

Deno.test("[5.0 MQTT-3.1.2-1] a protocol name that does not exist is refused with 0x84", () => {
  for (const name of ["", "mqtt", "MQTt", "MQTTT", "MQ", "HTTP"]) {
    assertRefused(connectBytes({ name: text(name), level: 4 }), 5, 0x84, /protocol ".*" level 4 is not supported/);
  }
});

Deno.test("the protocol name of MQTT 3.1 goes with level 3 only", () => {
  for (const level of [2, 4, 5]) {
    assertRefused(connectBytes({ name: text("MQIsdp"), level }), 5, 0x84, /"MQIsdp" level \d is not supported/);
  }
});

for (const level of levels) {
  const statement = level === 5 ? "5.0" : "3.1.1";

  Deno.test(`[${statement} MQTT-3.1.2-3] at level ${level}, the reserved flag is malformed`, () => {
    assertRefused(connect(level, { flags: 0x03 }), level, 0x81, /reserved flag/);
  });

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-11" : "3.1.1 MQTT-3.1.2-13"
    }] at level ${level}, a will QoS without a will is malformed`,
    () => {
      for (const flags of [0x0a, 0x12, 0x1a]) {
        assertRefused(connect(level, { flags }), level, 0x81, /will QoS or will retain without a will/);
      }
    },
  );

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-13" : "3.1.1 MQTT-3.1.2-15"
    }] at level ${level}, will retain without a will is malformed`,
    () => {
      assertRefused(connect(level, { flags: 0x22 }), level, 0x81, /will QoS or will retain without a will/);
    },
  );

  Deno.test(
    `[${level === 5 ? "5.0 MQTT-3.1.2-12" : "3.1.1 MQTT-3.1.2-14"}] at level ${level}, will QoS 3 is malformed`,
    () => {
      const rest = [noWillProperties(level), text("t"), binary()];
      assertRefused(connect(level, { flags: 0x1e, rest }), level, 0x81, /will QoS is 3/);
    },
  );

  Deno.test(`at level ${level}, a will topic that is empty or holds a wildcard is malformed`, () => {
    for (const topic of ["", "+", "#", "a/+/b", "a#"]) {
      const rest = [noWillProperties(level), text(topic), binary()];
      assertRefused(connect(level, { flags: 0x06, rest }), level, 0x81, /will topic ".*" is not a topic name/);
    }
  });

  Deno.test(
    `[${statement} MQTT-3.1.2-9] at level ${level}, a will flag without will topic and payload is malformed`,
    () => {
      assertRefused(connect(level, { flags: 0x06 }), level, 0x81, /packet ends inside/);
      const withoutPayload = [noWillProperties(level), text("t")];
      assertRefused(connect(level, { flags: 0x06, rest: withoutPayload }), level, 0x81, /inside will payload/);
    },
  );

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-17" : "3.1.1 MQTT-3.1.2-19"
    }] at level ${level}, a user name flag without a user name is malformed`,
    () => {
      const flags = level === 3 ? { flags: 0x82, rest: [[0]] } : { flags: 0x82 };
      assertRefused(connect(level, flags), level, 0x81, /packet ends inside user name/);
    },
  );

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-16" : "3.1.1 MQTT-3.1.2-18"
    }] at level ${level}, a user name without its flag is malformed`,
    () => {
      assertRefused(connect(level, { rest: [text("user")] }), level, 0x81, /CONNECT has 6 bytes behind its end/);
    },
  );

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-19" : "3.1.1 MQTT-3.1.2-21"
    }] at level ${level}, a password flag without a password is malformed`,
    () => {
      const password = level === 3 ? [[0]] : [];
      const bytes = connect(level, { flags: 0xc2, rest: [text("user"), ...password] });
      assertRefused(bytes, level, 0x81, /packet ends inside password/);
    },
  );

  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.1.2-18" : "3.1.1 MQTT-3.1.2-20"
    }] at level ${level}, a password without its flag is malformed`,
    () => {
      const bytes = connect(level, { flags: 0x82, rest: [text("user"), binary(1)] });
      assertRefused(bytes, level, 0x81, /CONNECT has 3 bytes behind its end/);
    },
  );

  Deno.test(`[${statement} MQTT-3.1.3-3] at level ${level}, a CONNECT without a client identifier is malformed`, () => {
    assertRefused(connect(level, { clientId: [] }), level, 0x81, /packet ends inside client identifier/);
  });

  Deno.test(`[${statement} MQTT-3.1.3-1] at level ${level}, the payload's fields are read in their order`, () => {
    const rest = [noWillProperties(level), text("will/topic"), binary(1, 2), text("user"), binary(3, 4)];
    assert.deepEqual(decode(connect(level, { flags: 0xf6, clientId: text("id"), rest }), level), {
      type: "connect",
      protocolLevel: level,
      clientId: "id",
      cleanStart: true,
      keepAlive: 10,
      will: { topic: "will/topic", payload: new Uint8Array([1, 2]), qos: 2, retain: true },
      username: "user",
      password: new Uint8Array([3, 4]),
    });
  });

  Deno.test(`at level ${level}, client identifier, user name, will payload and password may be empty`, () => {
    const rest = [noWillProperties(level), text("t"), binary(), text(""), binary()];
    const packet = decode(connect(level, { flags: 0xc4, clientId: text(""), rest }), level);
    assert.deepEqual(packet, {
      type: "connect",
      protocolLevel: level,
      clientId: "",
      cleanStart: false,
      keepAlive: 10,
      will: { topic: "t", payload: new Uint8Array(0), qos: 0, retain: false },
      username: "",
      password: new Uint8Array(0),
    });
  });
}

for (const level of [3, 4] as ProtocolLevel[]) {
  Deno.test(`[3.1.1 MQTT-3.1.2-22] at level ${level}, a password without a user name is malformed`, () => {
    const bytes = connect(level, { flags: 0x42, rest: [binary(1)] });
    assertRefused(bytes, level, 0x81, /password without a user name/);
  });
}

Deno.test("[5.0 section 3.1.2.9] at level 5, a password may be there without a user name", () => {
  const packet = decode(connect(5, { flags: 0x42, rest: [binary(1)] }), 5);
  assert(packet.type === "connect");
  assert.deepEqual([packet.username, packet.password], [undefined, new Uint8Array([1])]);
});

// "The Remaining Length field from the fixed header takes precedence over the User Name flag. Server implementations must
// allow for the possibility that the User Name flag is set, but the User Name string is missing." The same is said of the
// password.
Deno.test("[3.1] user name and password may be missing although their flags are set", () => {
  const [none, nameOnly] = [{ flags: 0xc2 }, { flags: 0xc2, rest: [text("user")] }].map((parts) =>
    decode(connect(3, parts), 3)
  );
  assert(none.type === "connect" && nameOnly.type === "connect");
  assert.deepEqual([none.username, none.password], [undefined, undefined]);
  assert.deepEqual([nameOnly.username, nameOnly.password], ["user", undefined]);
});
