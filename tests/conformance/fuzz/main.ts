/** Fuzzes a broker: `deno task fuzz`. What it finds can be had again with the seed that it prints. */

import { Command, Option } from "commander";
import { integer } from "../../../cli/option_values.ts";
import { type Transport, transports } from "../transport.ts";
import { fuzzRun } from "./fuzz_run.ts";

const anySeed = Math.floor(Math.random() * 2 ** 31);

await new Command("deno task fuzz")
  .description("Say to a broker what is almost MQTT, and look whether it goes on serving others.")
  .addOption(
    new Option("--seed <number>", "which conversations").argParser(integer(0, 2 ** 31 - 1)).default(
      anySeed,
      "others each time",
    ),
  )
  .addOption(new Option("--seconds <number>", "for how long").argParser(integer(1, 86_400)).default(300))
  .option("--durable", "have the broker store sessions in a database")
  .addOption(new Option("--transport <name>", "over what to talk to the broker").choices(transports).default("tcp"))
  .action(async (options: { seed: number; seconds: number; durable?: true; transport: Transport }) => {
    console.log(`fuzzing for ${options.seconds} seconds over ${options.transport} with --seed ${options.seed} …`);
    const { faults, summary } = await fuzzRun(options);
    console.log(summary);
    for (const fault of faults) console.error(`fault: ${fault}`);
    if (faults.length > 0) Deno.exitCode = 1;
  })
  .parseAsync(Deno.args, { from: "user" });
