/**
 * Who may connect: users with passwords, from the program or from a password file, or whatever a function says.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { authHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const auth = authHook({ credentials: { alice: "correct horse battery staple" } });
 * await broker.use(auth);
 * auth.addUser("bob", "$7$101$M8eTqo1CVIJtl660$CeSwjOWY9Iz0HpwiErzBn8rG1PxVA7bbSyHBq3EqF1NeBBfKGKdYXo1iFGGXqGmyl6ZJmvgO1imOY/MGlLNYvA==");
 * auth.removeUser("alice");
 * ```
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Broker } from "../broker/broker.ts";
import type { ClientInfo, Hook } from "../broker/hooks.ts";
import { defaultLogger, type Logger } from "../broker/logger.ts";
import { type MaybePromise, recover, then } from "../broker/maybe_promise.ts";
import type { ConnectPacket } from "../codec/connect.ts";
import { quote, ReasonCodeError } from "../codec/errors.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import { addressGroup } from "./auth/address_group.ts";
