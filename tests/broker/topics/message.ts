import { Message } from "../../../broker/message.ts";
import { Topic } from "../../../broker/topics/topic_cache.ts";
import { type PublishOptions, publishPacket } from "../../support/raw_client.ts";

/** A message on a topic, as the broker holds it. */
export function message(topicName: string, options: PublishOptions = {}): Message {
  const topic = new Topic(topicName, new TextEncoder().encode(topicName));
  return Message.from(topic, publishPacket({ payload: "x", ...options }));
}
