// Every English text of the page Health.

export const HEALTH = {
  title: "Health",
  reading: "Asking the server how it is…",
  failed: "The server did not say how it is",
  live: (inMs) => (inMs > 9000 ? `Looks again every ${Math.round(inMs / 1000)} s, to leave you most of your limit of requests` : "Live"),
  failing: (inMs) => `No answer; what you see is old. Looks again in ${Math.max(1, Math.round(inMs / 1000))} s`,
  paused: "Paused",
  pause: "Pause",
  resume: "Resume",
  instance: (name) => `This instance: ${name}. Each of several speaks for itself alone.`,
  needs: (role) => `This part needs the role “${role}”, which your key does not have.`,
  needsMore: "How long each part took and what was last wrong with it needs the role “admin”.",
  unreadable: "This part cannot be read now",
};

export const TITLES = {
  glance: "At a glance",
  parts: "Parts",
  breakers: "Circuit breakers",
  ledger: "Audit ledger",
  limits: "Your limits",
  numbers: "How long things take",
};

export const GLANCE = {
  status: "New runs",
  ready: "Welcome",
  notReady: "Not welcome now",
  runs: "Live runs",
  streams: "Open streams",
  stuck: "Stuck lanes",
  queue: "Waiting in line",
  lag: "Loop lag, p99",
  memory: "Memory",
  uptime: "Up since",
  version: "Version",
  of: (now, most) => `${now} of ${most}`,
  seeRunning: "See them",
};

export const PARTS = {
  columns: ["Part", "State", "Last call", "Last error"],
  noError: "none",
  silent: "–",
  names: {
    loop: "Event loop",
    drainer: "Drainer of the audit",
    models: "Models",
    database: "Database",
    redis: "Redis",
    cache: "Cache",
    audit: "Audit",
    traces: "Traces",
    process: "Process",
    fast: "Fast lane",
    slow: "Slow lane",
    memory: "Memory",
    postgres: "PostgreSQL",
  },
  late: (p99) => `p99 ${p99} late`,
};

export const BREAKERS = {
  columns: ["Breaker", "State", "Held by hand"],
  states: { closed: "Closed", open: "Open", half_open: "Half open" },
  meaning: "Closed lets everything pass. Open asks nothing of what is behind it.",
  wanted: { open: "Open", closed: "Closed", auto: "Auto" },
  never: "cannot be held",
  none: "There are no breakers here.",
  ask: { open: "Hold this breaker open?", closed: "Hold this breaker closed?", auto: "Let this breaker go on by itself?" },
  consequence: {
    open: "Nothing will be asked of what is behind it until you let it go or this process ends.",
    closed: "Everything will be let through, however often it fails, until you let it go or this process ends.",
    auto: "It opens and closes by what it sees.",
  },
  local: "This holds on this instance alone.",
  confirm: "Yes, do it",
  cancel: "Cancel",
  done: { open: "Held open.", closed: "Held closed.", auto: "It goes on by itself." },
};

export const LEDGER = {
  accepted: "accepted",
  places: { stored: "stored", duplicate: "duplicate", dead_lettered: "dead-lettered", logged: "logged", spooled: "spooled", in_flight: "in flight" },
  balanced: "Balanced: every accepted record is in exactly one place.",
  unbalanced: (n) => `Out of balance by ${n}: a record is in no place, or in two.`,
  others: { refused: "refused", stripped: "stripped", conflicts: "conflicts", retries: "retries", adopted: "adopted", interrupted: "interrupted" },
  oldest: "Oldest not stored",
  nothingOld: "nothing waits",
  sink: "Sink",
  store: "Store",
  spool: "Spool",
  memory: "In memory",
  disk: "Disk free",
  chores: "Chores",
};

export const LIMITS = {
  none: "Nothing is limited for you. LIMIT_CALLER, LIMIT_TENANT and LIMIT_GLOBAL set limits, and a key may carry its own.",
  columns: ["Whose", "Limit", "Used", "Left"],
  scopes: { caller: "yours", tenant: "your tenant’s", global: "everybody’s" },
  meter: (name, used, most) => `${name}: ${used} of ${most} used`,
};

export const NUMBERS = {
  spans: { "5m": "5 minutes", "1h": "1 hour", "24h": "24 hours" },
  span: "Span",
  columns: ["", "n", "p50", "p95", "p99"],
  run: (source) => ({ live: "Run, live", cache: "Run, from the cache", attached: "Run, attached" })[source] ?? `Run, ${source}`,
  first: (lane) => `${lane}: first token`,
  total: (lane) => `${lane}: whole answer`,
  routes: "By route",
  nothing: "Nothing happened in this span.",
  requests: "Requests",
  errors: "Errors",
  hits: "Cache hits",
  cost: "Cost",
  rate: (n, each) => `${n} (${each}/s)`,
  since: (words) => `Counted for ${words} so far.`,
};
