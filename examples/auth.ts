// Only users with the right password are let in: alice from the beginning, bob from when he is added.
//
//   deno run --allow-net=127.0.0.1 examples/auth.ts
//
// Try it: the first one is let in, the second one is not.
//
//   deno run -A cli.ts sub -t '#' -u alice -P 'correct horse battery staple'
//   deno run -A cli.ts sub -t '#' -u alice -P 'wrong'
import { Broker } from "@hookmq/broker";
import { authHook, hashPassword } from "@hookmq/broker/hooks";

const broker = new Broker();

const auth = authHook({
  credentials: {
    // As `hookmq passwd` writes it into a password file. With `passwordFile: "users.txt"` the users are those of the file.
    alice: "$scrypt$ln=15,r=8,p=1$GEsDNjWOLf5ys1cIkG/7Dw$RKaPuqwWRPo/FBiIN1LiLXCxcIxxs004/MQesgunA9Q",
  },
});
await broker.use(auth);
auth.addUser("bob", await hashPassword("another secret"));

const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
