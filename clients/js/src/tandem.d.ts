import type { Done, Question, Refusal, ScalarQuestion, TandemEvent } from "./protocol.js";

export type * from "./protocol.js";

/** Why a run cannot be read, beside what a server refuses; `http_...` where a proxy answered in its place. */
export type ErrorCode =
  | Refusal
  | "unreachable"
  | "connection_lost"
  | "not_a_stream"
  | "event_too_large"
  | "too_much_unread"
  | `http_${number}`;

/** A request that was refused, or a run that was lost. */
export class TandemError extends Error {
  name: "TandemError";
  /** The HTTP status; null when nobody answered. */
  status: number | null;
  /** Stable; a newer server may have others. */
  code: ErrorCode | (string & {});
  /** What happened, for people. */
  title: string;
  /** What it was this time, for people. */
  detail: string;
  /** Seconds, when the server said when to come back. */
  retryAfter: number | null;
  /** Whether the same may go well later. */
  retryable: boolean;
  /** The run that goes on without its reader, or was refused; null before there was one. */
  runId: string | null;
}

/** asking: no answer yet. live: events come. lost: the attempt of that number begins in inMs. over: that was all. */
export interface State {
  phase: "asking" | "live" | "lost" | "over";
  attempt: number;
  /** Milliseconds; 0 but for `lost`. */
  inMs: number;
}

export interface Options {
  /** Ends the reading, not the run: that is what cancel() is for. */
  signal?: AbortSignal;
  /** Told every event; the run cannot be iterated then. */
  onEvent?: (event: TandemEvent) => void;
  onState?: (state: State) => void;
}

export interface AskOptions extends Options {
  /** 1 to 255 visible ASCII characters; a new one for each question if not given. */
  idempotencyKey?: string;
}

export interface ResumeOptions extends Options {
  /** The id of the last event that was seen. */
  lastEventId?: string | null;
}

/** What the server says to a command: whether the run had ended. */
export interface Commanded {
  run_id: string;
  ended: boolean;
}

/** One run: every event once, in order, ending behind `done`; throws TandemError, or what the signal was aborted with. */
export interface Run extends AsyncIterable<TandemEvent> {
  /** Null until the server has answered. */
  readonly id: string | null;
  /** attached: the run of an identical question. Null until it is known. */
  readonly source: "live" | "attached" | "cache" | null;
  /** Null until the run is over. */
  readonly done: Done | null;
  /** Of the last event that was told; for resume(), in another page or process. */
  readonly lastEventId: string | null;
  /** Null when `done` had been seen before. */
  readonly finished: Promise<Done | null>;
  /** Stop the run; waits until it has an id. */
  cancel(): Promise<Commanded>;
  /** Take the preliminary answer and stop the slow lane. */
  accept(): Promise<Commanded>;
}

/** The record of a run, as GET /v1/runs/{run_id} has it. */
export interface RunRecord {
  run_id: string;
  [field: string]: unknown;
}

export interface EventSourceLike {
  addEventListener(name: string, listener: (event: any) => void): void;
  close(): void;
}

export interface ClientOptions {
  /** Where the server is; in a page the page's own server if not given. */
  baseUrl?: string;
  /** As `Authorization`; watch() cannot send any. */
  headers?: HeadersInit;
  fetch?: (input: string, init: RequestInit) => Promise<Response>;
  EventSource?: new (url: string) => EventSourceLike;
  /** Resolves after milliseconds, or when the signal aborts. */
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** From 0 to 1, for the jitter. */
  random?: () => number;
  /** Milliseconds, for `at`. */
  now?: () => number;
}

export interface Client {
  /** Ask over fetch; a string is the `input` of a question. */
  ask(question: string | Question, options?: AskOptions): Run;
  /** Ask, or read a run, over an EventSource. */
  watch(question: string | ScalarQuestion | { runId: string }, options?: ResumeOptions): Run;
  /** Read a run from behind an event, or from its beginning. */
  resume(runId: string, options?: ResumeOptions): Run;
  cancel(runId: string): Promise<Commanded>;
  accept(runId: string): Promise<Commanded>;
  run(runId: string): Promise<RunRecord>;
  /** The address of a path of the server. */
  url(path?: string): string;
}

export function createClient(options?: ClientOptions): Client;
