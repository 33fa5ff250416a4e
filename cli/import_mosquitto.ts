import type { Command } from "commander";

/** Adds the command `import-mosquitto`, which translates the configuration of a mosquitto into one of ours. */
export function addImportMosquittoCommand(program: Command): void {
  program.command("import-mosquitto")
    .description("Translate a mosquitto.conf, and its ACL file, into a configuration of ours on standard output.")
    .argument("<file>", "the mosquitto.conf, as mosquitto 2.0 takes it")
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
What has no counterpart, or is not quite the same, is said in comments at the end of the output, and on standard error: a
line each, with the place in mosquitto's files. Where the same is not possible, what comes out is stricter, unless its line
says otherwise. Password files stay as they are: those of mosquitto_passwd are read.

Relative paths are looked for from the working directory, as mosquitto does.

Examples:
  hookmq import-mosquitto /etc/mosquitto/mosquitto.conf > hookmq.yaml
  hookmq check hookmq.yaml
  hookmq serve --config hookmq.yaml`,
    )
    .action(async (file: string) => {
      // Only now, since the other commands are done in less time than all of this takes to load.
      const { importMosquitto } = await import("./import_mosquitto/import.ts");
      const { yaml, notes } = await importMosquitto(file);
      for (const note of notes) console.error(note);
      console.log(yaml);
    });
}
