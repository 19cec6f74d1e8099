// Prints what eventsource-parser finds in a response, one JSON line an event.
// Usage: node parse.mjs GET URL, or node parse.mjs POST URL BODY

import { createParser } from "eventsource-parser";

const [method, url, body] = process.argv.slice(2);
const say = (line) => console.log(JSON.stringify(line));
const headers = body === undefined ? {} : { "content-type": "application/json" };
const response = await fetch(url, { method, body, headers });
const parser = createParser({
  onEvent: ({ event, id, data }) => say({ name: event ?? "message", id, data }),
  onComment: () => say({ name: "comment" }),
  onError: (error) => say({ name: "broken", data: error.message }),
});
for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
