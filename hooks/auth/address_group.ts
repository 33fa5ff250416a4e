/**
 * What counts as one remote address when failures are counted: an IPv4 address, or the first 64 bits of an IPv6 one,
 * since whoever has one of those has usually got all that begin with the same bits. What is no IP address stands for
 * itself, and all clients without an address are one.
 */
export function addressGroup(address: string | undefined): string {
  if (address === undefined) return "";
  if (!address.includes(":")) return address;
  const mapped = address.match(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/i);
  if (mapped !== null) return mapped[1];
  const [head, tail] = address.toLowerCase().split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const after = tail === "" ? 0 : tail.split(":").length + (tail.includes(".") ? 1 : 0);
    while (groups.length + after < 8) groups.push("0");
    if (tail !== "") groups.push(...tail.split(":"));
  }
  return `${groups.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}
