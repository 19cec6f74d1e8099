-- The record: one row a run, one a lane, and what was asked and said. Portable: PostgreSQL 14 and later, no extension.

CREATE TABLE runs (
    run_id        uuid PRIMARY KEY,              -- a UUIDv7 made by the server
    created_at    timestamptz NOT NULL,          -- the time inside run_id
    updated_at    timestamptz NOT NULL DEFAULT now(),
    version       integer NOT NULL,              -- 1 opened, 2 and later closed; a lower one never overwrites a higher
    caller        text NOT NULL,
    instance      text NOT NULL,                 -- the server that ran it
    status        text NOT NULL,                 -- 'running' until it is closed
    reason        text,
    policy        text NOT NULL,
    source        text NOT NULL,
    source_run_id uuid,                          -- of a replay: the run that is replayed
    fingerprint   text NOT NULL,
    deadline_ms   integer NOT NULL,
    final_lane    text,
    verified      boolean NOT NULL DEFAULT false,
    change        text,
    agreement     jsonb,
    latency_ms    double precision,
    cost_usd      double precision,              -- null when it is not known, never 0 instead
    usage         jsonb,
    experiment    text,
    variant       text,
    prompt_class  text,
    tags          text[] NOT NULL DEFAULT '{}'
);

CREATE INDEX runs_newest_of_caller ON runs (caller, created_at DESC, run_id DESC);
CREATE INDEX runs_running ON runs (created_at) WHERE status = 'running';

CREATE TABLE legs (
    run_id          uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    lane            text NOT NULL,
    model           text NOT NULL,
    outcome         text,                        -- null while the lane runs, and for one that never started
    reason          text,
    message         text,
    retryable       boolean,
    finish_reason   text,
    model_version   text,
    ttft_ms         double precision,
    latency_ms      double precision,
    input_tokens    bigint,
    output_tokens   bigint,
    thinking_tokens bigint,
    cached_tokens   bigint,
    usage_source    text,
    cost_usd        double precision,
    PRIMARY KEY (run_id, lane)
);

CREATE TABLE run_payloads (
    run_id   uuid PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    question jsonb NOT NULL,                     -- {messages, parameters}
    texts    jsonb,                              -- {lane: {answer, thinking}}
    log      bytea,                              -- every event's bytes as the readers saw them, compressed by zlib
    at_ms    integer[]                           -- one number an event: milliseconds since the run opened
);
ALTER TABLE run_payloads ALTER COLUMN log SET STORAGE EXTERNAL;

-- One row a run, the lanes side by side: flash is the fast lane, pro the slow one.
CREATE VIEW experiment_runs AS
SELECT runs.run_id AS id,
       runs.created_at,
       runs.status,
       flash.latency_ms AS flash_latency_ms,
       pro.latency_ms AS pro_latency_ms,
       flash.ttft_ms AS flash_ttft_ms,
       pro.ttft_ms AS pro_ttft_ms,
       runs.agreement ->> 'verdict' AS agreement,
       runs.cost_usd
FROM runs
LEFT JOIN legs AS flash ON flash.run_id = runs.run_id AND flash.lane = 'fast'
LEFT JOIN legs AS pro ON pro.run_id = runs.run_id AND pro.lane = 'slow';
