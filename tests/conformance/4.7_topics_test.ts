import assert from "node:assert/strict";
import { type ProtocolLevel, ReasonCode } from "../../codec/mod.ts";
import { receive } from "../broker/receive.ts";
import { binary, type Bytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, ProtocolError } = ReasonCode;

function none(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

function publishBytes(level: ProtocolLevel, topic: Bytes): Uint8Array<ArrayBuffer> {
  return packetBytes(0x30, topic, none(level));
}

function subscribeBytes(level: ProtocolLevel, topicFilter: Bytes): Uint8Array<ArrayBuffer> {
  return packetBytes(0x82, [0, 1], none(level), topicFilter, 0);
}

function unsubscribeBytes(level: ProtocolLevel, topicFilter: Bytes): Uint8Array<ArrayBuffer> {
  return packetBytes(0xa2, [0, 1], none(level), topicFilter);
}

/** Each of these ends the connection of the client that sends it. */
async function expectMalformed(broker: ConformanceBroker, packets: Uint8Array[]): Promise<void> {
  for (const packet of packets) {
    const client = await broker.connect();
    await client.sendBytes(packet);
    await expectDisconnected(client, MalformedPacket);
  }
}

/** Which of the topic names a filter matches, by publishing on all of them. */
async function matched(client: RawClient, topicFilter: string, topics: readonly string[]): Promise<string[]> {
  await client.subscribe(topicFilter);
  for (const topic of topics) await client.send(publishPacket({ topic }));
  await client.send({ type: "pingreq" });
  const received: string[] = [];
  for (;;) {
    const message = await client.expect("publish").catch((error: Error) => {
      assert.match(error.message, /^awaited publish: got { type: "pingresp" }/);
    });
    if (message === undefined) break;
    received.push(message.topic);
  }
  await client.unsubscribe(topicFilter);
  return received;
}

// "The wildcard characters can be used in Topic Filters, but MUST NOT be used within a Topic Name."
conformance(
  "[5.0 MQTT-4.7.0-1] [3.1.1 MQTT-4.7.1-1] a message, and a will, on a topic name with a wildcard is malformed",
  async (broker, level) => {
    const witness = await broker.connect();
    await witness.subscribe("w/#");
    for (const topic of ["w/+", "w/#", "w/a+", "w/#a", "+", "#", "w/+/a"]) {
      await expectMalformed(broker, [publishBytes(level, text(topic))]);
      const mortal = await broker.open();
      const connect = packetBytes(
        0x10,
        [...text("MQTT"), level, 0x06, 0, 60],
        none(level),
        text(broker.unique("c")),
        none(level),
        text(topic),
        binary(),
      );
      await mortal.sendBytes(connect);
      if (level === 5) assert.equal((await mortal.expect("connack")).reasonCode, MalformedPacket);
      await mortal.expectClosed();
    }
    await witness.expectNothing();
  },
);

// "The multi-level wildcard character MUST be specified either on its own or following a topic level separator. In
// either case it MUST be the last character specified in the Topic Filter." "The multi-level wildcard represents the
// parent and any number of child levels."
conformance(
  '[5.0 MQTT-4.7.1-1] [3.1.1 MQTT-4.7.1-2] "#" matches its parent level and all below, and stands alone at the end',
  async (broker, level) => {
    for (const topicFilter of ["sport/tennis#", "sport/#/ranking", "#/", "##", "#a", "a/#b", "#/#", "a/##", "/#/"]) {
      await expectMalformed(broker, [
        subscribeBytes(level, text(topicFilter)),
        unsubscribeBytes(level, text(topicFilter)),
      ]);
    }
    const sport = broker.unique("sport");
    const below = [`${sport}/`, `${sport}/tennis`, `${sport}/tennis/player1/score/wimbledon`, `${sport}//`];
    const others = [`${sport}s`, `/${sport}`, `x/${sport}/tennis`, sport.toUpperCase()];
    const all = [sport, ...below, ...others];
    const client = await broker.connect();
    assert.deepEqual(await matched(client, `${sport}/#`, all), [sport, ...below]);
    assert.deepEqual(await matched(client, "#", all), all);
    assert.deepEqual(await matched(client, "/#", all), [`/${sport}`]);
    assert.deepEqual(await matched(client, `${sport}/tennis/#`, all), below.slice(1, 3));
  },
);

// "The single-level wildcard can be used at any level in the Topic Filter, including first and last levels. Where it is
// used, it MUST occupy an entire level of the filter." "It can be used at more than one level …and … in conjunction
// with the multi-level wildcard."
conformance(
  '[5.0 MQTT-4.7.1-2] [3.1.1 MQTT-4.7.1-3] "+" matches exactly one level, wherever it stands, and is a level of its own',
  async (broker, level) => {
    for (const topicFilter of ["sport+", "+sport", "a/b+/c", "a/+b", "++", "a/++/b", "+#", "+/a#"]) {
      await expectMalformed(broker, [
        subscribeBytes(level, text(topicFilter)),
        unsubscribeBytes(level, text(topicFilter)),
      ]);
    }
    const sport = broker.unique("sport");
    const topics = [
      sport,
      `${sport}/`,
      `${sport}/tennis`,
      `${sport}/tennis/player1`,
      `${sport}//player1`,
      `/${sport}`,
      `x/${sport}/player1`,
    ];
    const [alone, empty, tennis, player, hole, slash, inner] = topics;
    const client = await broker.connect();
    const expected: Record<string, string[]> = {
      "+": [alone],
      "+/+": [empty, tennis, slash],
      "/+": [slash],
      [`${sport}/+`]: [empty, tennis],
      [`${sport}/+/player1`]: [player, hole],
      [`+/${sport}/+`]: [inner],
      "+/+/+": [player, hole, inner],
      "+/tennis/#": [tennis, player],
      "+/#": topics,
      [`${sport}/+/#`]: [empty, tennis, player, hole],
    };
    for (const [topicFilter, matching] of Object.entries(expected)) {
      assert.deepEqual(await matched(client, topicFilter, topics), matching, topicFilter);
    }
  },
);

// "The Server MUST NOT match Topic Filters starting with a wildcard character (# or +) with Topic Names beginning with
// a $ character."
conformance(
  "[5.0 MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1] a filter that begins with a wildcard does not match topics that begin with $",
  async (broker, level) => {
    const name = `$${broker.unique("name")}`;
    const topics = [name, `${name}/a`, `${name}/a/b`, "$", "$/a"];
    const client = await broker.connect();
    for (const topicFilter of ["#", "+", "+/#", "+/a", "+/a/b", "+/+", "+/+/+"]) {
      assert.deepEqual(await matched(client, topicFilter, topics), [], topicFilter);
    }
    assert.deepEqual(await matched(client, `${name}/#`, topics), topics.slice(0, 3));
    assert.deepEqual(await matched(client, `${name}/+`, topics), [`${name}/a`]);
    if (level === 5) {
      await client.subscribe(["$share/g/#", "$share/g/+/a"]);
      await client.send(publishPacket({ topic: `${name}/a` }));
      await client.expectNothing();
    }
    await client.publish({ topic: `${name}/kept`, qos: 1, retain: true, payload: "kept" });
    const newcomer = await broker.connect();
    await newcomer.subscribe(["#", "+/kept"]);
    await newcomer.expectNothing();
    await client.publish({ topic: `${name}/kept`, qos: 1, retain: true });
  },
);

conformance(
  "[5.0 MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1] what the broker publishes below $SYS goes to those who ask for $SYS",
  async (broker) => {
    const everything = await broker.connect();
    await everything.subscribe(["#", "+/#", "+/broker/version"]);
    const client = await broker.connect();
    await client.subscribe("$SYS/broker/version");
    assert.match((await receive(client)).text, /^HookMQ/);
    await client.subscribe("$SYS/broker/uptime", { qos: 0 });
    await client.expect("publish"); // the one that is retained
    await client.expect("publish"); // the next one
    await everything.expectNothing();
  },
  { config: "hooks: {sys: {interval: 0.1}}" },
);

// "All Topic Names and Topic Filters MUST be at least one character long."
conformance(
  "[5.0 MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1] an empty topic name or filter ends the connection; one character is enough",
  async (broker, level) => {
    await expectMalformed(broker, [subscribeBytes(level, text("")), unsubscribeBytes(level, text(""))]);
    const publisher = await broker.connect();
    await publisher.sendBytes(publishBytes(level, text("")));
    // Of MQTT 5, "It is a Protocol Error if the Topic Name is zero length and there is no Topic Alias."
    await expectDisconnected(publisher, ProtocolError);
    const client = await broker.connect();
    for (const topic of ["a", "/", " ", "水"]) assert.deepEqual(await matched(client, topic, [topic, "b"]), [topic]);
  },
);

// "Topic Names and Topic Filters MUST NOT include the null character (Unicode U+0000)." In 3.1.1 this statement has
// five points: "Topic Names and Topic Filters are case sensitive - … can include the space character - A leading or
// trailing / creates a distinct Topic Name or Topic Filter - A Topic Name or Topic Filter consisting only of the /
// character is valid - …"
conformance(
  "[5.0 MQTT-4.7.3-2] [3.1.1 MQTT-4.7.3-2] a topic name or filter with a null character is malformed",
  async (broker, level) => {
    for (const topic of ["\0", "a\0", "\0a", "a/\0/b"]) {
      await expectMalformed(broker, [
        publishBytes(level, text(topic)),
        subscribeBytes(level, text(topic)),
        unsubscribeBytes(level, text(topic)),
      ]);
    }
  },
);

conformance(
  "[5.0] [3.1.1 MQTT-4.7.3-2] case, spaces, and slashes at the ends tell topics apart",
  async (broker) => {
    const name = broker.unique("Accounts");
    const topics = [
      name,
      name.toLowerCase(),
      name.toUpperCase(),
      `${name} payable`,
      `${name} `,
      ` ${name}`,
      `/${name}`,
      `${name}/`,
      `/${name}/`,
      "/",
      "//",
    ];
    const client = await broker.connect();
    for (const topic of topics) assert.deepEqual(await matched(client, topic, topics), [topic]);
  },
);

// "Topic Names and Topic Filters are UTF-8 Encoded Strings; they MUST NOT encode to more than 65,535 bytes."
conformance(
  "[5.0 MQTT-4.7.3-3] [3.1.1 MQTT-4.7.3-3] a topic of 65,535 bytes is one, and no UTF-8 is none",
  async (broker, level) => {
    const longest = broker.unique("水").padEnd(65_533, "x");
    assert.equal(new TextEncoder().encode(longest).length, 65_535);
    const client = await broker.connect();
    assert.deepEqual(await matched(client, longest, [longest, longest.slice(0, -1)]), [longest]);
    for (const bytes of [[0xff], [0x61, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80]]) {
      await expectMalformed(broker, [
        publishBytes(level, binary(bytes)),
        subscribeBytes(level, binary(bytes)),
        unsubscribeBytes(level, binary(bytes)),
      ]);
    }
  },
);

// "When it performs subscription matching the Server MUST NOT perform any normalization of Topic Names or Topic
// Filters, or any modification or substitution of unrecognized characters."
conformance(
  "[5.0 MQTT-4.7.3-4] [3.1.1 MQTT-4.7.3-4] topics match character by character, whatever the characters mean elsewhere",
  async (broker) => {
    const name = broker.unique("n");
    const topics = [
      "é",
      "e\u0301", // the same letter in two characters
      "\ufb01", // a ligature of the two characters behind it
      "fi",
      "\ufeffa", // a byte order mark
      "a",
      "a\u200b", // a space of no width
      "ß",
      "ss",
      "\u212b", // ångström, the unit
      "\u00c5", // Å, the letter
      "\uffff", // what is no character
      "\u{10ffff}",
      "\ufffd",
      "\u0001",
      "%61",
      "a/../b",
      "a/./b",
      "a//b",
      "a/b",
      "a\\b",
    ].map((text) => `${text}/${name}`);
    const client = await broker.connect();
    for (const topic of topics) assert.deepEqual(await matched(client, topic, topics), [topic]);
  },
);
