// Prints what an EventSource was given, one JSON line an event, until it stops for good or, with --once, until `done`.
// Usage: node read.mjs URL [--once]

import { EventSource } from "eventsource";

const [url, once] = process.argv.slice(2);
const source = new EventSource(url);
const say = (line) => console.log(JSON.stringify(line));

// `message` is what an event without a name would be; the server sends none.
for (const name of ["start", "delta", "preliminary", "lane_end", "final", "done", "message"]) {
  source.addEventListener(name, (event) => {
    say({ name, id: event.lastEventId, data: event.data });
    if (name === "done" && once) source.close();
  });
}
source.addEventListener("open", () => say({ name: "opened" }));
source.addEventListener("error", (event) => {
  say({ name: source.readyState === EventSource.CLOSED ? "stopped" : "lost", code: event.code ?? null });
});
