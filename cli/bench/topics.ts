/**
 * How the messages of a group find its subscribers: all subscribe to its `topic`, or to `wildcards` that match a topic of
 * each publisher; they are the members of one `shared` subscription; or the topics are `spread`, some to each subscriber.
 */
export type Routing = "topic" | "wildcards" | "shared" | "spread";

/** Which clients a group has, and how its messages find them. */
export interface GroupShape {
  routing: Routing;
  publishers: number;
  subscribers: number;
  /** With `spread`: topic filters of each subscriber. */
  topicsPerSubscriber: number;
}

/** What the clients of a group publish and subscribe to. */
export interface GroupTopics {
  /** For each publisher the topics that it publishes to in turn; all of them have the same length. */
  published: string[][];
  /** For each subscriber its topic filters. */
  filters: string[][];
}

/** The topics of a group, all of which begin with `base`. */
export function groupTopics(base: string, shape: GroupShape): GroupTopics {
  const { routing, publishers, subscribers } = shape;
  switch (routing) {
    case "topic":
      return { published: numbers(publishers).map(() => [base]), filters: numbers(subscribers).map(() => [base]) };
    case "wildcards":
      return {
        published: numbers(publishers).map((publisher) => [`${base}/${digits(publisher, publishers)}/state`]),
        filters: numbers(subscribers).map((subscriber) => [subscriber % 2 === 0 ? `${base}/+/state` : `${base}/#`]),
      };
    case "shared":
      return {
        published: numbers(publishers).map(() => [base]),
        filters: numbers(subscribers).map(() => [`$share/group/${base}`]),
      };
    case "spread":
      return spreadTopics(base, shape);
  }
}

/** Neighbouring topics belong to different subscribers, so that a publisher's next message goes to somebody else. */
function spreadTopics(base: string, { publishers, subscribers, topicsPerSubscriber }: GroupShape): GroupTopics {
  const count = subscribers * topicsPerSubscriber;
  const topics = numbers(count).map((number) => `${base}/${digits(number, count)}`);
  const filters: string[][] = numbers(subscribers).map(() => []);
  topics.forEach((topic, number) => filters[number % subscribers].push(topic));
  const share = Math.ceil(count / publishers);
  return {
    published: numbers(publishers).map((number) => topics.slice(number * share, (number + 1) * share)),
    filters,
  };
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, number) => number);
}

/** The number with as many digits as any below `count` has. */
function digits(number: number, count: number): string {
  return String(number).padStart(String(count - 1).length, "0");
}
