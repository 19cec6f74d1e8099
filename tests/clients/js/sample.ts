// What a user of TypeScript writes; tsc --strict finds nothing here, and something on every line behind an expected error.
import { createClient, TandemError, type Done, type Run, type TandemEvent } from "tandem-client";

const client = createClient({ baseUrl: "http://127.0.0.1:8080", headers: { authorization: "Bearer KEY" } });

export async function answer(question: string): Promise<string | null> {
  const run: Run = client.ask({ input: question, slow: { timeout_s: 20 }, tags: ["a"] }, { idempotencyKey: "k" });
  for await (const event of run) {
    if (event.name === "delta" && event.data.kind === "answer") console.log(event.data.lane, event.data.text.length);
    if (event.name === "start") console.log(event.data.lanes.slow.model);
    if (event.name === "final") return event.data.agreement?.verdict ?? event.data.change;
  }
  const done: Done | null = run.done;
  return done?.reason ?? null;
}

export function told(event: TandemEvent): string {
  switch (event.name) {
    case "start":
      return event.data.run_id;
    case "delta":
    case "preliminary":
    case "final":
      return event.data.text;
    case "lane_end":
      return event.data.outcome;
    case "done":
      return event.data.status;
  }
}

client.watch({ input: "Why?", cache: "off" }, { onState: ({ phase, inMs }) => console.log(phase, inMs) });
client.watch({ runId: "r" }, { lastEventId: "r:7" });
client.resume("r", { signal: new AbortController().signal }).finished.catch((error: unknown) => {
  if (error instanceof TandemError && error.code === "run_expired") console.log(error.retryAfter ?? 0, error.title);
});

// @ts-expect-error: a question is one of input and messages
client.ask({ input: "Why?", messages: [] });
// @ts-expect-error: and not none
client.ask({ cache: "off" });
// @ts-expect-error: no such field
client.ask({ input: "Why?", model: "m" });
// @ts-expect-error: an address has no lanes
client.watch({ input: "Why?", fast: { model: "m" } });
// @ts-expect-error: what is not known is null
client.run("r").then(({ run_id }) => run_id, () => client.ask("Why?").id.length);
