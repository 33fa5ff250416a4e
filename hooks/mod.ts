/**
 * What a hook is. The hooks that come with HookMQ are exported from here as they are added.
 *
 * @module
 */
export type { Hook, HookContext } from "../broker/hooks.ts";
