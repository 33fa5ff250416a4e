import type { BrokerContext } from "./broker_context.ts";
import type { ClientInfo, HookWith } from "./hooks.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";

/** Whether the hooks let a client publish on a topic. Throws, or rejects, if one of them fails. */
export function mayWrite({ hooks }: BrokerContext, info: ClientInfo, topicName: string): MaybePromise<boolean> {
  const { canWrite } = hooks.on;
  return canWrite.length === 0 || askInTurn(canWrite, info, topicName, 0);
}

function askInTurn(
  hooks: readonly HookWith<"canWrite">[],
  info: ClientInfo,
  topicName: string,
  from: number,
): MaybePromise<boolean> {
  for (let index = from; index < hooks.length; index++) {
    const allowed = hooks[index].canWrite(info, topicName);
    if (isPromise(allowed)) return allowed.then((value) => value && askInTurn(hooks, info, topicName, index + 1));
    if (!allowed) return false;
  }
  return true;
}
