import type { z } from "zod";
import type { configSchema } from "../config/schema.ts";
import type { Statement } from "./conf_file.ts";

/** A configuration as it is written in our YAML. */
export type Draft = z.input<typeof configSchema>;

/** Notes what has become of a statement that has no counterpart, or one that is not quite the same. */
export type Say = (statement: Statement, message: string) => void;
