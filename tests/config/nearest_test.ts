import assert from "node:assert/strict";
import { nearest } from "../../cli/config/nearest.ts";

const names = ["listeners", "limits", "log", "port", "hostname", "packetSize", "maximumQos", "path"];

for (
  const [given, meant] of [
    ["listners", "listeners"],
    ["listenres", "listeners"],
    ["limit", "limits"],
    ["logs", "log"],
    ["prot", "port"],
    ["host", "hostname"],
    ["packet_size", "packetSize"],
    ["packet-size", "packetSize"],
    ["PACKETSIZE", "packetSize"],
    ["maximumQoS", "maximumQos"],
  ]
) {
  Deno.test(`"${given}" is taken for "${meant}"`, () => assert.equal(nearest(given, names), meant));
}

for (const given of ["", "x", "colour", "certificate", "p", "listeners".repeat(100_000)]) {
  Deno.test(`"${given.slice(0, 20)}" is taken for nothing else`, () => assert.equal(nearest(given, names), undefined));
}
