import { encode } from "@msgpack/msgpack";
import type { Qos } from "../../codec/mod.ts";
import type { RedisCommand } from "./command.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import { publishCommand } from "./publish.ts";
import type { Change, Writer } from "./writer.ts";

/** What is known of a filter's subscribers at a node that have no durable session. */
export type Route = readonly [maximumQos: Qos, members: number];

/** Says what has become of some of a node's routes; those that are gone have no members. */
export type RouteEvent = [
  type: typeof ROUTES,
  nodeId: string,
  incarnation: string,
  version: number,
  routes: [topicFilter: string, ...route: Route][],
];
export const ROUTES = "routes";

/** The field of a node's routes that says how many events there have been about them. No topic filter is empty. */
export const VERSION_FIELD = "";

/** So many routes are written with one command, and told of with one event. */
const ROUTES_AT_A_TIME = 1000;

/** What an {@linkcode OwnRoutes} is given. */
export interface OwnRoutesOptions {
  readonly link: Link;
  readonly writer: Writer;
  readonly keys: NodeKeys;
  readonly nodeId: string;
  readonly incarnation: string;
}

/** Which filters the subscribers here have subscribed to: kept in Redis, and told to the other nodes. */
export class OwnRoutes {
  /** How many events there have been. */
  version = 0;
  readonly #options: OwnRoutesOptions;
  readonly #routes = new Map<string, Route>();
  #changes: RouteChanges | undefined;

  constructor(options: OwnRoutesOptions) {
    this.#options = options;
  }

  /** How many filters there are. */
  get size(): number {
    return this.#routes.size;
  }

  /** A route has changed; without members it is gone. */
  change(topicFilter: string, maximumQos: Qos, members: number): void {
    const route: Route = [maximumQos, members];
    if (members > 0) this.#routes.set(topicFilter, route);
    else this.#routes.delete(topicFilter);
    this.#tell(topicFilter, route);
  }

  /** Has all routes written once more: they have been forgotten. */
  changeAll(): void {
    for (const [topicFilter, route] of this.#routes) this.#tell(topicFilter, route);
  }

  #tell(topicFilter: string, route: Route): void {
    const { writer } = this.#options;
    if (this.#changes === undefined || !writer.holds(this.#changes)) {
      this.#changes = new RouteChanges(this.#options, () => ++this.version);
    }
    this.#changes.routes.set(topicFilter, route);
    // The other nodes would send too much, or too little, if it were refused.
    writer.addLasting(this.#changes, topicFilter.length);
  }
}

class RouteChanges implements Change {
  readonly routes = new Map<string, Route>();
  readonly #options: OwnRoutesOptions;
  readonly #nextVersion: () => number;
  #commands: RedisCommand[] | undefined;

  constructor(options: OwnRoutesOptions, nextVersion: () => number) {
    this.#options = options;
    this.#nextVersion = nextVersion;
  }

  commands(): RedisCommand[] {
    if (this.#commands !== undefined) return this.#commands;
    const commands: RedisCommand[] = [];
    const routes = [...this.routes];
    for (let start = 0; start < routes.length; start += ROUTES_AT_A_TIME) {
      commands.push(...this.#commandsFor(routes.slice(start, start + ROUTES_AT_A_TIME)));
    }
    return this.#commands = commands;
  }

  #commandsFor(routes: readonly [string, Route][]): RedisCommand[] {
    const { link, keys, nodeId, incarnation } = this.#options;
    const version = this.#nextVersion();
    const key = keys.routes(nodeId);
    const present = routes.filter(([, [, members]]) => members > 0);
    const gone = routes.filter(([, [, members]]) => members === 0);
    const event: RouteEvent = [
      ROUTES,
      nodeId,
      incarnation,
      version,
      routes.map(([topicFilter, [maximumQos, members]]) => [topicFilter, maximumQos, members]),
    ];
    const commands: RedisCommand[] = [
      ["HSET", key, VERSION_FIELD, version, ...present.flatMap(([filter, route]) => [filter, encode(route)])],
    ];
    if (gone.length > 0) commands.push(["HDEL", key, ...gone.map(([topicFilter]) => topicFilter)]);
    commands.push(publishCommand(link, keys.events, encode(event)));
    return commands;
  }
}
