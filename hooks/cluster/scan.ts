import type { Link } from "./link.ts";

/** How much of a hash or a set is read at a time, roughly. */
const PAGE = 1000;

/** The fields of a hash with their values, a page at a time. What changes meanwhile may be there twice, or not. */
export async function* scanHash(link: Link, key: string): AsyncGenerator<[field: string, value: Uint8Array][]> {
  for await (const elements of scan(link, "HSCAN", key)) {
    const page: [string, Uint8Array][] = [];
    for (let index = 0; index < elements.length; index += 2) {
      page.push([decoder.decode(elements[index]), elements[index + 1]]);
    }
    yield page;
  }
}

/** The members of a set, a page at a time. What changes meanwhile may be there twice, or not. */
export async function* scanSet(link: Link, key: string): AsyncGenerator<string[]> {
  for await (const elements of scan(link, "SSCAN", key)) yield elements.map((element) => decoder.decode(element));
}

async function* scan(link: Link, command: "HSCAN" | "SSCAN", key: string): AsyncGenerator<Uint8Array[]> {
  let cursor = "0";
  do {
    const [next, elements] = await link.call(command, key, cursor, "COUNT", PAGE) as [Uint8Array, Uint8Array[]];
    cursor = decoder.decode(next);
    if (elements.length > 0) yield elements;
  } while (cursor !== "0");
}

const decoder = new TextDecoder();
