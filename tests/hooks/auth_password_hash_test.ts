import assert from "node:assert/strict";
import { decoyOf, hasPassword, parsePasswordHash } from "../../hooks/auth/password_hash.ts";
import { hashPassword } from "../../hooks/mod.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** What mosquitto_passwd 2.0.11 wrote for these passwords. */
const fromMosquitto = [
  {
    form: "$7$",
    password: "secret",
    hash:
      "$7$101$M8eTqo1CVIJtl660$CeSwjOWY9Iz0HpwiErzBn8rG1PxVA7bbSyHBq3EqF1NeBBfKGKdYXo1iFGGXqGmyl6ZJmvgO1imOY/MGlLNYvA==",
  },
  {
    form: "$7$ of a password beyond ASCII",
    password: "pässwörd",
    hash:
      "$7$101$Dr9v8Qvfye0Ko+sq$pTLbUPtFx2FgOCMzenOgVaX86ROdBl8Y3LwEBGhgGY6vr4745vg+URN2ROUTMJ+/yVRLq8JHA4sh4LrwfFRxNg==",
  },
  {
    form: "$7$ with other iterations",
    password: "x",
    hash:
      "$7$1000$nG4tq362bHyRZ1qM$SEpxmqmDmOrN0gQvpM84HiL8FA9pZS0UHMvLgG8+fiZAgfIBBPQ/VfjbCcSBWSquggGxGCj6FM9mRvTNOjL/aQ==",
  },
  {
    form: "$6$",
    password: "secret",
    hash:
      "$6$HK2hafyuRNO0abfc$XYExtHB9uHYRLQno9/jI1zwFJ95MvxpCpCBUcIK3zfebIp7yEokh7F2vTZbxZAt4tXUeF3Bu8mTPKwpCqwegFg==",
  },
];

for (const { form, password, hash } of fromMosquitto) {
  Deno.test(`a hash of mosquitto_passwd is read: ${form}`, async () => {
    const parsed = parsePasswordHash(hash);
    assert.equal(await hasPassword(parsed, bytes(password)), true);
    assert.equal(await hasPassword(parsed, bytes(`${password} `)), false);
    assert.equal(await hasPassword(parsed, new Uint8Array()), false);
  });
}

// Two of the vectors in section 12 of RFC 7914.
const fromRfc7914 = [
  {
    parameters: "ln=10,r=8,p=16",
    password: "password",
    salt: "TmFDbA",
    hash: "/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
  },
  {
    parameters: "ln=14,r=8,p=1",
    password: "pleaseletmein",
    salt: "U29kaXVtQ2hsb3JpZGU",
    hash: "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw",
  },
];

for (const { parameters, password, salt, hash } of fromRfc7914) {
  Deno.test(`scrypt with ${parameters} gives what RFC 7914 says`, async () => {
    const parsed = parsePasswordHash(`$scrypt$${parameters}$${salt}$${hash}`);
    assert.equal(await hasPassword(parsed, bytes(password)), true);
    assert.equal(await hasPassword(parsed, bytes("passwore")), false);
  });
}

Deno.test("a hash of scrypt may be padded as base64 usually is", () => {
  const unpadded = "$scrypt$ln=1,r=8,p=1$AXrgZlqi7oOBO80G9apUZQ$fFIowZachp3MMQrlLOKcoMdAL7dfoh+tgWz49U+JDMg";
  const padded = "$scrypt$ln=1,r=8,p=1$AXrgZlqi7oOBO80G9apUZQ==$fFIowZachp3MMQrlLOKcoMdAL7dfoh+tgWz49U+JDMg=";
  assert.deepEqual(parsePasswordHash(padded), parsePasswordHash(unpadded));
});

const forms = [
  { options: {}, pattern: /^\$scrypt\$ln=15,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}$/ },
  { options: { cost: 4 }, pattern: /^\$scrypt\$ln=4,r=8,p=1\$/ },
  { options: { form: "pbkdf2" as const }, pattern: /^\$7\$100000\$[\w+/]{16}\$[\w+/]{86}==$/ },
  { options: { form: "pbkdf2" as const, cost: 7 }, pattern: /^\$7\$7\$/ },
];

Deno.test("a hash for mosquitto has a salt of 12 bytes, the only length that mosquitto 2.0 reads", async () => {
  const { salt } = parsePasswordHash(await hashPassword("secret", { form: "pbkdf2", cost: 1 }));
  assert.equal(salt.length, 12);
});

for (const { options, pattern } of forms) {
  Deno.test(`hashPassword(…, ${JSON.stringify(options)}) gives a hash of that form, another one each time`, async () => {
    const [first, second] = [await hashPassword("secret", options), await hashPassword(bytes("secret"), options)];
    assert.match(first, pattern);
    assert.match(second, pattern);
    assert.notEqual(first, second);
    for (const hash of [first, second]) {
      assert.equal(await hasPassword(parsePasswordHash(hash), bytes("secret")), true);
      assert.equal(await hasPassword(parsePasswordHash(hash), bytes("Secret")), false);
    }
  });
}

const unusable = [
  { password: "", options: {}, message: "the password is empty" },
  { password: "x", options: { cost: 0 }, message: "cost is 0; for scrypt it must be a whole number from 1 to 20" },
  { password: "x", options: { cost: 21 }, message: "cost is 21; for scrypt it must be a whole number from 1 to 20" },
  {
    password: "x",
    options: { form: "pbkdf2", cost: 1.5 },
    message: "cost is 1.5; for pbkdf2 it must be a whole number from 1 to 10000000",
  },
  { password: "x", options: { form: "md5" }, message: 'form is "md5"; it must be scrypt or pbkdf2' },
];

for (const { password, options, message } of unusable) {
  Deno.test(`hashPassword refuses: ${message}`, async () => {
    await assert.rejects(hashPassword(password, options as { cost: number }), { name: "RangeError", message });
  });
}

const digest = "A".repeat(86) + "==";
const malformed = [
  { text: "secret", message: "not a hash that begins with $scrypt$, $7$ or $6$" },
  { text: "", message: "not a hash that begins with $scrypt$, $7$ or $6$" },
  { text: `x$7$101$AAAA$${digest}`, message: "not a hash that begins with $scrypt$, $7$ or $6$" },
  { text: "$argon2id$v=19$m=47104,t=1,p=1$AAAA$AAAA", message: "not a hash that begins with $scrypt$, $7$ or $6$" },
  { text: "$7$101$AAAA", message: "a hash with this beginning is written as $7$<iterations>$<salt>$<hash>" },
  { text: `$7$0$AAAA$${digest}`, message: "the number of iterations is not a whole number from 1 to 10000000" },
  { text: `$7$10000001$AAAA$${digest}`, message: "the number of iterations is not a whole number from 1 to 10000000" },
  { text: `$7$1e3$AAAA$${digest}`, message: "the number of iterations is not a whole number from 1 to 10000000" },
  { text: `$7$101$A*AA$${digest}`, message: "the salt is not base64" },
  { text: `$7$101$$${digest}`, message: "the salt is 0 bytes long, not 1 to 1024" },
  { text: "$7$101$AAAA$AAAA", message: "the hash is 3 bytes long, not 64" },
  { text: `$7$101$AAAA$${"A".repeat(86)}`, message: "the hash is not base64" },
  {
    text: "$scrypt$ln=4,r=8$AAAA$AAAA",
    message: "the parameters of scrypt are not written as ln=<log2 N>,r=<r>,p=<p>",
  },
  { text: "$scrypt$ln=21,r=8,p=1$AAAA$AAAA", message: "ln is not a whole number from 1 to 20" },
  { text: "$scrypt$ln=20,r=9,p=1$AAAA$AAAA", message: "ln and r ask for more than 1 GiB of memory" },
  { text: "$scrypt$ln=4,r=8,p=0$AAAA$AAAA", message: "p is not a whole number from 1 to 64" },
  { text: "$scrypt$ln=4,r=8,p=1$AAAA$AAAA", message: "the hash is 3 bytes long, not 16 to 64" },
  {
    text: "$6$rounds=5000$saltsalt$hash",
    message: "a hash with this beginning is written as $6$<salt>$<hash>, mosquitto's and not that of crypt(3)",
  },
  { text: `$6$saltsalt$${"a.".repeat(43)}`, message: "the hash is not base64" },
];

for (const { text, message } of malformed) {
  Deno.test(`${text === "" ? "an empty text" : text.slice(0, 40)} is no hash: ${message}`, () => {
    assert.throws(() => parsePasswordHash(text), { name: "RangeError", message });
  });
}

Deno.test("a decoy is computed like the hash that it stands in for, but is not that hash", () => {
  for (const { hash } of fromMosquitto) {
    const parsed = parsePasswordHash(hash);
    const decoy = decoyOf(parsed);
    const { salt, digest, ...recipe } = parsed;
    const { salt: otherSalt, digest: otherDigest, ...otherRecipe } = decoy;
    assert.deepEqual(otherRecipe, recipe);
    assert.deepEqual([otherSalt.length, otherDigest.length], [salt.length, digest.length]);
    assert.notDeepEqual(otherSalt, salt);
    assert.notDeepEqual(otherDigest, digest);
  }
});
