import assert from "node:assert/strict";
import { addressGroup } from "../../hooks/auth/address_group.ts";
import { FailureLimiter } from "../../hooks/auth/failure_limiter.ts";

/** A limiter of three failures in six seconds, and the clock that it looks at. */
function limiterWithClock(limits = {}) {
  const clock = { now: 0 };
  const limiter = new FailureLimiter(
    { maximum: 3, window: 6000, backoff: 1000, maximumBackoff: 5000, ...limits },
    () => clock.now,
  );
  return { clock, limiter };
}

Deno.test("failures below the maximum hold nobody back", () => {
  const { limiter } = limiterWithClock();
  assert.deepEqual([limiter.fail("a"), limiter.fail("a")], [0, 0]);
  assert.equal(limiter.holdsBack("a"), false);
});

Deno.test("the failure that reaches the maximum holds back for the back-off, and no longer", () => {
  const { clock, limiter } = limiterWithClock();
  assert.deepEqual([limiter.fail("a"), limiter.fail("a"), limiter.fail("a")], [0, 0, 1000]);
  clock.now = 999;
  assert.equal(limiter.holdsBack("a"), true);
  clock.now = 1000;
  assert.equal(limiter.holdsBack("a"), false);
});

Deno.test("each further failure doubles the back-off, up to its maximum", () => {
  const { clock, limiter } = limiterWithClock();
  limiter.fail("a");
  limiter.fail("a");
  const delays = Array.from({ length: 6 }, () => {
    const delay = limiter.fail("a");
    clock.now += delay;
    return delay;
  });
  assert.deepEqual(delays, [1000, 2000, 4000, 5000, 5000, 5000]);
});

Deno.test("the back-off has its maximum after any number of failures", () => {
  const { limiter } = limiterWithClock();
  for (let count = 0; count < 5000; count++) limiter.fail("a");
  assert.equal(limiter.fail("a"), 5000);
});

Deno.test("one key does not hold back another", () => {
  const { limiter } = limiterWithClock();
  for (let count = 0; count < 3; count++) limiter.fail("a");
  assert.deepEqual([limiter.holdsBack("a"), limiter.holdsBack("b")], [true, false]);
});

Deno.test("failures are forgiven evenly: as many in a window as the maximum says", () => {
  const { clock, limiter } = limiterWithClock();
  for (let count = 0; count < 100; count++) {
    assert.equal(limiter.fail("a"), 0);
    clock.now += 2000;
  }
});

Deno.test("nothing is forgiven while attempts are held back", () => {
  const { clock, limiter } = limiterWithClock();
  for (let count = 0; count < 3; count++) limiter.fail("a");
  clock.now += 1000;
  assert.equal(limiter.fail("a"), 2000);
});

Deno.test("the back-off begins anew when all failures are forgiven", () => {
  const { clock, limiter } = limiterWithClock();
  for (let count = 0; count < 5; count++) limiter.fail("a");
  clock.now += 4000 + 6000;
  assert.deepEqual([limiter.fail("a"), limiter.fail("a"), limiter.fail("a")], [0, 0, 1000]);
});

Deno.test("a key that is forgotten begins anew", () => {
  const { limiter } = limiterWithClock();
  for (let count = 0; count < 4; count++) limiter.fail("a");
  limiter.forget("a");
  assert.equal(limiter.holdsBack("a"), false);
  assert.deepEqual([limiter.fail("a"), limiter.fail("a"), limiter.fail("a")], [0, 0, 1000]);
});

Deno.test("a maximum of one holds back after the first failure", () => {
  const { limiter } = limiterWithClock({ maximum: 1 });
  assert.equal(limiter.fail("a"), 1000);
});

Deno.test("without a maximum nothing is held back or remembered", () => {
  const { limiter } = limiterWithClock({ maximum: Infinity });
  for (let count = 0; count < 1000; count++) assert.equal(limiter.fail("a"), 0);
  assert.deepEqual([limiter.holdsBack("a"), limiter.size], [false, 0]);
});

Deno.test("not more than 10,000 keys are remembered; the oldest failure is forgotten first", () => {
  const { limiter } = limiterWithClock({ maximum: 1 });
  for (let key = 0; key < 10_000; key++) limiter.fail(`${key}`);
  limiter.fail("0");
  for (let key = 0; key < 5; key++) limiter.fail(`new ${key}`);
  assert.equal(limiter.size, 10_000);
  assert.deepEqual(["0", "1", "5", "6", "new 0"].map((key) => limiter.holdsBack(key)), [
    true,
    false,
    false,
    true,
    true,
  ]);
});

Deno.test("keys whose failures are all forgiven are not remembered", () => {
  const { clock, limiter } = limiterWithClock();
  for (let key = 0; key < 100; key++) limiter.fail(`${key}`);
  clock.now += 6000;
  limiter.fail("last");
  assert.equal(limiter.size, 1);
});

const groups = [
  { address: "192.0.2.7", group: "192.0.2.7" },
  { address: "::ffff:192.0.2.7", group: "192.0.2.7" },
  { address: "2001:db8:1:2:3:4:5:6", group: "2001:db8:1:2::/64" },
  { address: "2001:db8:1:2::9", group: "2001:db8:1:2::/64" },
  { address: "2001:0DB8:0001:0002:0000:0000:0000:0009", group: "2001:db8:1:2::/64" },
  { address: "2001:db8::1", group: "2001:db8:0:0::/64" },
  { address: "2001:db8::1:2:3:4:5", group: "2001:db8:0:1::/64" },
  { address: "::1", group: "0:0:0:0::/64" },
  { address: "::", group: "0:0:0:0::/64" },
  { address: "64:ff9b::192.0.2.7", group: "64:ff9b:0:0::/64" },
  { address: "1:2:3::192.0.2.7", group: "1:2:3:0::/64" },
  { address: "fe80::", group: "fe80:0:0:0::/64" },
  { address: "/run/hookmq.sock", group: "/run/hookmq.sock" },
  { address: undefined, group: "" },
];

for (const { address, group } of groups) {
  Deno.test(`failures from ${address} are counted under "${group}"`, () => {
    assert.equal(addressGroup(address), group);
  });
}
