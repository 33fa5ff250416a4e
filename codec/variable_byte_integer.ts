/** The largest value that a Variable Byte Integer holds: 268,435,455. Source: MQTT 5.0 section 1.5.5. */
export const MAXIMUM_VARIABLE_BYTE_INTEGER = 0x0fff_ffff;

/** How many bytes, 1 to 4, a value takes as a Variable Byte Integer. */
export function variableByteIntegerLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4;
}

/**
 * Writes a value as a Variable Byte Integer at `offset` and returns the offset behind it.
 *
 * @throws {RangeError} If the value is larger than 268,435,455.
 */
export function writeVariableByteInteger(bytes: Uint8Array, offset: number, value: number): number {
  if (value > MAXIMUM_VARIABLE_BYTE_INTEGER) {
    throw new RangeError(`${value} is larger than 268,435,455, the most that a Variable Byte Integer holds`);
  }
  while (value >= 0x80) {
    bytes[offset++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  bytes[offset++] = value;
  return offset;
}
