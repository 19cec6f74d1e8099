// What is asked for the page Health, by what whoever looks may see.

const READY = "/health/ready";
const SOURCES = {
  health: [
    ["admin", "/health/detailed"],
    ["read", "/health/"],
    [null, READY],
  ],
  metrics: [["admin", "/metrics"]],
  breakers: [["admin", "/api/breakers"]],
  limits: [
    ["ask", "/v1/limits"],
    ["read", "/v1/limits"],
  ],
};

/** By source: its path, or the role that is lacking. rights: of whoever looks; unknown ones are tried. */
export function planOf(rights) {
  const has = (right) => right === null || !Array.isArray(rights) || rights.includes(right);
  const chosen = Object.entries(SOURCES).map(([name, ways]) => {
    const way = ways.find(([right]) => has(right));
    return [name, way ? { path: way[1] } : { lacks: ways[0][0] }];
  });
  return Object.fromEntries(chosen);
}

/**
 * Ask for everything at once: by source {data}, {lacks} or {problem}. Rejects only when nothing at all could be read.
 * A source that is refused for want of a role is not asked again: the plan is changed.
 */
export async function readAll(api, plan, signal) {
  const entries = Object.entries(plan);
  const asked = await Promise.allSettled(entries.map(([, { path }]) => (path ? api.getJSON(path, { signal }) : null)));
  signal?.throwIfAborted();
  const found = entries.map(([name, { lacks }], i) => {
    const { value, reason } = asked[i];
    if (lacks) return [name, { lacks }];
    if (reason?.status === 403) return [name, (plan[name] = { lacks: "admin" })];
    if (reason?.status === 503 && plan[name].path === READY) return [name, { data: { status: "not ready" } }]; // its way to say so
    return [name, reason ? { problem: reason } : { data: value }];
  });
  const problems = found.filter(([, { problem }]) => problem);
  if (problems.length > 0 && !found.some(([, { data }]) => data)) throw problems[0][1].problem;
  return Object.fromEntries(found);
}
