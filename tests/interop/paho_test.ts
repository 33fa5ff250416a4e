import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { run, startBrokerProcess } from "./programs.ts";

const script = fileURLToPath(new URL("paho_client.py", import.meta.url));
const env = { PYTHONPATH: fileURLToPath(new URL("../.tools/python", import.meta.url)) };

/** What the script publishes, as it should get it back: by topic, since messages of different QoS may overtake. */
const messages = [0, 1, 2].map((qos) => ({ topic: `paho/${qos}`, payload: `hello ${qos}`, qos, retain: false }));

const properties = {
  PayloadFormatIndicator: 1,
  ContentType: "text/plain",
  ResponseTopic: "answers",
  CorrelationData: "00ff",
  UserProperty: [["b", "1"], ["a", "2"], ["b", "3"]],
  SubscriptionIdentifier: [7],
};

const expectations = [
  { version: "31", name: "MQTT 3.1", expected: messages },
  { version: "311", name: "MQTT 3.1.1", expected: messages },
  { version: "5", name: "MQTT 5", expected: messages.map((message) => ({ ...message, properties })) },
];

for (const { version, name, expected } of expectations) {
  Deno.test(`paho in Python publishes and gets back messages of every QoS as ${name}`, async () => {
    await using broker = await startBrokerProcess();
    const { code, stdout, stderr } = await run("python3", [script, broker.port, version], { env });
    assert.equal(code, 0, stderr);
    const received = stdout.trim().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(received.sort((a, b) => a.topic.localeCompare(b.topic)), expected);
  });
}
