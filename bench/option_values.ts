import { InvalidArgumentError } from "commander";
import { type ProtocolLevel, stampSize } from "../cli/bench/packets.ts";

/** Parses the value of an option: 4 or 5. */
export function protocolLevel(text: string): ProtocolLevel {
  if (text === "4") return 4;
  if (text === "5") return 5;
  throw new InvalidArgumentError("It is 4 or 5.");
}

/** Parses the value of an option: a size of payload that the load generator can work with. */
export function payloadSize(text: string): number {
  const bytes = wholeNumber(text);
  // A whole message has to fit into the read buffer.
  if (bytes < stampSize || bytes > 65_536) {
    throw new InvalidArgumentError(`It is between ${stampSize} and 65,536 bytes.`);
  }
  return bytes;
}

/** Parses the value of an option: a whole number above 0. */
export function wholeNumber(text: string): number {
  const value = positiveNumber(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError("It is a whole number.");
  return value;
}

/** Parses the value of an option: a number above 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError("It is a number above 0.");
  return value;
}
