// Made by clients/js/declare.py from the server's own schema; a change here is overwritten.

export type LaneName = "fast" | "slow";

/** Whether two answers say the same, by which method; similarity is from 0 to 1 and never called agreement. */
export interface Agreement {
  verdict: "agree" | "disagree" | "unknown";
  method: string;
  version: number;
  similarity: number | null;
}

/** A piece of what one lane says. */
export interface Delta {
  lane: "fast" | "slow";
  kind: "answer" | "thinking";
  text: string;
}

/** The last event; it tells the truth. */
export interface Done {
  status: "cancelled" | "completed" | "failed" | "partial" | "shutdown" | "timeout";
  final_lane: "fast" | "slow" | null;
  verified: boolean;
  reason: string | null;
  usage: Usage;
  cost_usd: number | null;
  latency_ms: number | null;
  slow: boolean;
  fingerprint: string;
  audit: "durable" | "pending";
  source: "cache" | "live";
}

/** Whose answer stands. verified: the slow lane completed. */
export interface Final {
  lane: "fast" | "slow";
  verified: boolean;
  text: string;
  agreement: Agreement | null;
  change: "confirmed" | "revised" | "undetermined" | "unopposed" | "unverified";
}

/** How one lane ended. Times in milliseconds since the lane started. */
export interface LaneEnd {
  lane: "fast" | "slow";
  outcome: "cancelled" | "completed" | "empty" | "failed" | "incomplete" | "refused" | "timeout";
  reason: string | null;
  message: string | null;
  retryable: boolean;
  ttft_ms: number | null;
  latency_ms: number;
  usage: Usage;
  cost_usd: number | null;
  model_version: string | null;
}

/** The fast answer, shown before the run was settled. */
export interface Preliminary {
  lane: "fast" | "slow";
  text: string;
  finish_reason: string;
  ttft_ms: number | null;
  latency_ms: number;
  usage: Usage;
  cost_usd: number | null;
}

/** The first event. Times in milliseconds. */
export interface Start {
  run_id: string;
  policy: string;
  lanes: Record<LaneName, { model: string }>;
  deadline_ms: number;
  audit: "durable" | "pending";
  source: "cache" | "live";
  queued_ms: number;
  protocol: number;
}

/** Tokens of one lane or of a run. A number that is not known is null, never 0. */
export interface Usage {
  input_tokens: number | null;
  output_tokens: number | null;
  thinking_tokens: number | null;
  cached_tokens: number | null;
  source: "estimated" | "reported" | "unknown";
}

/** One event. at: when it came, in milliseconds of `performance.now()`. */
export interface Told<Name extends string, Data> {
  name: Name;
  /** `<run_id>:<seq>` */
  id: string;
  seq: number;
  data: Data;
  at: number;
}

export type TandemEvent =
  | Told<"start", Start>
  | Told<"delta", Delta>
  | Told<"preliminary", Preliminary>
  | Told<"lane_end", LaneEnd>
  | Told<"final", Final>
  | Told<"done", Done>;

/** What a client may ask of one lane; times in seconds. */
export interface LaneWishes {
  model?: string | null;
  timeout_s?: number | null;
  first_token_timeout_s?: number | null;
  idle_timeout_s?: number | null;
  max_output_tokens?: number | null;
  temperature?: number | null;
}

/** One turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** What may be said beside the question. */
export interface Wishes {
  /** `race`: both lanes start at once; the fast answer is preliminary, the slow one final */
  policy?: string;
  /** Bounds the whole run, in seconds; the server's own bound caps it */
  deadline_s?: number | null;
  /** `use` a live run or a stored answer; `refresh`: ask anew and store; `off`: neither look, store nor share */
  cache?: "use" | "refresh" | "off";
  /** How a stored answer is played: at once, or at the pace at which it was given */
  replay?: "instant" | "paced";
  /** Whether the run is cancelled when its last reader has left, or goes on within its deadline */
  on_disconnect?: "cancel" | "finish";
  /** A label for the record */
  experiment?: string | null;
  /** A label for the record */
  variant?: string | null;
  /** A label for the record, by which a stored answer lives longer or shorter */
  prompt_class?: string | null;
  fast?: LaneWishes | null;
  slow?: LaneWishes | null;
  tags?: string[] | null;
}

/** A question: exactly one of `input` and `messages`. */
export type Question = Wishes & ({ input: string; messages?: null } | { input?: null; messages: Message[] });

/** What an address can ask: the scalars alone. */
export type ScalarQuestion = { input: string } & Pick<
  Wishes,
  "policy" | "deadline_s" | "cache" | "replay" | "on_disconnect" | "experiment" | "variant" | "prompt_class"
>;

/** Why a server refuses. */
export type Refusal =
  | "answer_not_found"
  | "audit_full"
  | "bad_last_event_id"
  | "body_too_large"
  | "breaker_not_found"
  | "budget_exceeded"
  | "cache_unavailable"
  | "forbidden"
  | "foreign_page"
  | "idempotency_key_reused"
  | "identity_unavailable"
  | "internal"
  | "invalid_request"
  | "key_not_found"
  | "method_not_allowed"
  | "model_not_allowed"
  | "model_unpriced"
  | "not_found"
  | "nothing_to_accept"
  | "overloaded"
  | "parquet_unavailable"
  | "queue_full"
  | "queue_timeout"
  | "rate_limited"
  | "record_unavailable"
  | "run_expired"
  | "run_not_found"
  | "run_not_live"
  | "run_shared"
  | "shutting_down"
  | "too_many_attempts"
  | "too_many_exports"
  | "too_many_runs"
  | "too_many_streams"
  | "unauthenticated"
  | "unknown_model"
  | "unknown_policy"
  | "unsupported_media_type";
