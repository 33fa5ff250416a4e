// Who may do what: everybody has `home/{user name}/…`, sensors only write, the administrator sees all.
//
//   deno run --allow-net=127.0.0.1 examples/acl.ts
//
// Try it: alice's own topics are granted, and bob's are not.
//
//   deno run -A cli.ts sub -u alice -P wonderland -v -t 'home/alice/#'
//   deno run -A cli.ts sub -u alice -P wonderland -v -t 'home/bob/#'
import { Broker } from "@hookmq/broker";
import { aclHook, authHook } from "@hookmq/broker/hooks";

const broker = new Broker();

// Rules are only as good as the names in them: this comes first.
await broker.use(authHook({
  credentials: { admin: "top secret", alice: "wonderland", "sensor-1": "celsius" },
}));

await broker.use(aclHook({
  denyByDefault: true,
  // The first rule that matches decides.
  rules: [
    { permission: "allow", username: "admin" },
    { permission: "allow", username: "sensor-*", topicFilter: "sensors/%u/+", access: "write" },
    { permission: "deny", username: "sensor-*" },
    { permission: "allow", topicFilter: "home/%u/#" },
    { permission: "allow", topicFilter: "announcements/#", access: "read" },
  ],
}));

const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
