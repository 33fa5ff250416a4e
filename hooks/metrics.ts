/**
 * Serves what the broker holds and does to Prometheus and to whoever watches over processes, over HTTP on a port of its
 * own:
 *
 * - `/metrics`: the figures of the `$SYS` topics as gauges and counters (without averages, which Prometheus makes itself),
 *   whose names begin with `hookmq_`, and histograms of the event loop's delay, of how long it takes to connect and of how
 *   long clients stay. Nothing is measured per message.
 * - `/healthz`: 200 as long as the process answers at all, also if something is wrong.
 * - `/healthz/ready`: 200 while the broker should get clients, 503 otherwise.
 *
 * Both health pages hold the same JSON: `{"status":"degraded","ready":true,"reasons":{"sqlite":"the disk is full"}}`,
 * or `{"status":"ok","ready":true,"reasons":{}}`. It is made of what the hooks say of themselves (`broker.health()`), and
 * of what was reported with `setHealth`; the broker is not ready as soon as one of them says `ready: false`.
 *
 * Nobody is asked for a password: the pages are for this machine, or for a network where everybody may read them.
 *
 * @module
 */
import { Registry } from "prom-client";
import type { Broker } from "../broker/broker.ts";
import type { ClientInfo, Hook } from "../broker/hooks.ts";
import packageFile from "../deno.json" with { type: "json" };
import { observeEventLoopDelay } from "./metrics/event_loop_delay.ts";
import { Health, type HealthReport } from "./metrics/health.ts";
import { registerFigures, registerHealth, registerHistograms, registerVersion } from "./metrics/instruments.ts";
import { answer } from "./metrics/page.ts";
import { BrokerMeter } from "./sys/broker_meter.ts";

export type { HealthReport };

/**
 * Options of {@linkcode metricsHook}.
 *
 * @example
 * ```ts
 * import { metricsHook, type MetricsOptions } from "@hookmq/broker/hooks";
 *
 * const forTheWholeNetwork: MetricsOptions = { hostname: "0.0.0.0", port: 9883 };
 * metricsHook(forTheWholeNetwork);
 * ```
 */
export interface MetricsOptions {
  /** 0 lets the system choose one. Default 9883. */
  port?: number;
  /** A host name or address of this machine, `"0.0.0.0"` for all of them. Default `"127.0.0.1"`. */
  hostname?: string;
}

/**
 * What {@linkcode metricsHook} returns.
 *
 * @example
 * ```ts
 * import { type MetricsHook, metricsHook } from "@hookmq/broker/hooks";
 * import { Gauge } from "prom-client";
 *
 * const metrics: MetricsHook = metricsHook();
 * const temperature = new Gauge({
 *   name: "kitchen_temperature_celsius",
 *   help: "What the sensor in the kitchen said last.",
 *   registers: [metrics.registry],
 * });
 * temperature.set(21.5);
 * ```
 */
export interface MetricsHook extends Hook {
  /** Where the pages are served; `undefined` while the hook is not in use. */
  readonly address: Deno.NetAddr | undefined;
  /** prom-client's registry of all that is on the page: for instruments of your own. */
  readonly registry: InstanceType<typeof import("prom-client")["Registry"]>;
  /**
   * Reports how something is that the broker depends on and no hook tells of: hooks that have a `health` method are asked
   * without it. The report holds until there is another of the same name. Parts that nothing is known of are not mentioned.
   *
   * @example
   * ```ts
   * import { metricsHook } from "@hookmq/broker/hooks";
   *
   * const metrics = metricsHook();
   * metrics.setHealth("upstream", { ok: false, reason: "the broker that messages are sent on to does not answer" });
   * metrics.setHealth("upstream", { ok: true });
   * ```
   */
  setHealth(part: string, report: HealthReport): void;
}

/**
 * Serves `/metrics` for Prometheus, and `/healthz` and `/healthz/ready`, on an HTTP port of its own from the time it is
 * added until it is removed. What is on the pages stands at the head of this module.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { metricsHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const metrics = metricsHook({ port: 0 });
 * await broker.use(metrics);
 * const page = await fetch(`http://127.0.0.1:${metrics.address!.port}/metrics`);
 * console.log(await page.text());
 * ```
 *
 * @throws {RangeError} If `port` is none. Adding the hook to a broker fails if the port cannot be had; the message says
 * why and what to do.
 */
export function metricsHook({ port = 9883, hostname = "127.0.0.1" }: MetricsOptions = {}): MetricsHook {
  assertPort(port);
  const registry = new Registry();
  const health = new Health(() => broker?.health().hooks ?? {});
  let broker: Broker | undefined;
  let meter: BrokerMeter | undefined;
  let server: Server | undefined;
  let endSampling: (() => void) | undefined;

  registerVersion(registry, packageFile.version);
  registerFigures(registry, () => meter?.read());
  registerHealth(registry, health);
  const { eventLoopDelay, connectDuration, connectionDuration } = registerHistograms(registry);

  return {
    id: "metrics",
    init(context) {
      const { logger } = context;
      broker = context.broker;
      meter = new BrokerMeter(broker);
      server = serve(port, hostname, (request) => answer(request, registry, health), (error) => {
        logger.error("a request for the metrics failed: {error}", { error });
      });
      endSampling = observeEventLoopDelay(eventLoopDelay);
    },
    async stop() {
      endSampling?.();
      await server?.close();
      server = undefined;
    },
    onConnected(client) {
      connectDuration.observe(secondsSinceConnect(client));
    },
    onDisconnect(client) {
      connectionDuration.observe(secondsSinceConnect(client));
    },
    get address() {
      return server?.address;
    },
    registry,
    setHealth: (part, report) => health.report(part, report),
  };
}

interface Server {
  readonly address: Deno.NetAddr;
  close(): Promise<void>;
}

function serve(
  port: number,
  hostname: string,
  handler: (request: Request) => Promise<Response>,
  onError: (error: unknown) => void,
): Server {
  const abort = new AbortController();
  const options = {
    port,
    hostname,
    signal: abort.signal,
    onListen() {},
    onError(error: unknown) {
      onError(error);
      return new Response("the page cannot be made; the log says why\n", { status: 500 });
    },
  };
  try {
    const server = Deno.serve(options, handler);
    return {
      address: server.addr,
      close() {
        // A graceful shutdown would wait for a peer that does not read its answer.
        abort.abort();
        return server.finished;
      },
    };
  } catch (error) {
    throw new Error(`cannot serve metrics on ${hostname}:${port}: ${explanation(error as Error)}`, { cause: error });
  }
}

function explanation(error: Error): string {
  if (error instanceof Deno.errors.AddrInUse) return "address in use (another broker? choose another port)";
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return "this machine has no such address (choose another hostname)";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied (ports below 1024 belong to the administrator; choose another port)";
  }
  return error.message;
}

/** Never negative, also if the clock has been put back. */
function secondsSinceConnect({ connectedAt }: ClientInfo): number {
  return Math.max(0, Date.now() - connectedAt) / 1000;
}

function assertPort(port: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return;
  throw new RangeError(`port is ${port}; it must be a whole number from 0 to 65535`);
}
