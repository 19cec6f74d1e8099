// The contract in Node: TANDEM has the world as JSON, CONTRACT which rules.
import { test } from "node:test";
import { EventSource } from "eventsource";
import * as contract from "./contract.mjs";

const world = JSON.parse(process.env.TANDEM);
const withKey = (url, init) => {
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${world.key}`);
  return fetch(url, { ...init, headers });
};
// In a page a cookie stands for the key; here what carries the requests shows it.
class Source extends EventSource {
  constructor(url) {
    super(url, { fetch: withKey });
  }
}
world.watching = { EventSource: Source, fetch: withKey };

for (const [rule, check] of contract[process.env.CONTRACT]) test(rule, () => check(world));
