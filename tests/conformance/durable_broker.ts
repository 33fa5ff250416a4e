/** `hookmq serve` with a database; the environment says where it lies. The other tests' brokers keep everything in memory. */

import { main } from "../../cli.ts";

Deno.exit(await main(["serve"]));
