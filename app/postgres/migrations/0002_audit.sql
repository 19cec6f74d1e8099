-- The audit: content hashes, one leg a lane and attempt with its prices, payloads and logs apart and by day, so that each
-- can be dropped in its own time; what people say about runs, what could not be stored, which servers live.

ALTER TABLE runs
    ADD COLUMN content_hash bytea,               -- SHA-256 of the entry that made this row
    ADD COLUMN content jsonb,                    -- what was done to the texts: {mode, masked, cut, replaced}
    ADD COLUMN cost_nano bigint;                 -- nano-dollars; null when it is not known, never 0 instead
DROP VIEW experiment_runs;
UPDATE runs SET cost_nano = round(cost_usd * 1e9) WHERE cost_usd IS NOT NULL;
UPDATE runs SET version = version + 1 WHERE version > 1;  -- 1 opened, 2 interrupted, 3 closed, 4 closed late, 5 a fault
ALTER TABLE runs DROP COLUMN cost_usd;

ALTER TABLE legs
    ADD COLUMN attempt smallint NOT NULL DEFAULT 1,
    ADD COLUMN censored boolean NOT NULL DEFAULT false,  -- cancelled or timed out: it would have taken longer than it did
    ADD COLUMN cost_nano bigint,
    ADD COLUMN input_nano double precision,      -- unit prices in nano-dollars a token, and where they come from
    ADD COLUMN output_nano double precision,
    ADD COLUMN cached_nano double precision,
    ADD COLUMN price_version text,
    ADD COLUMN caller text,                      -- both of the run, so that one index finds a page by model or outcome
    ADD COLUMN created_at timestamptz,
    DROP CONSTRAINT legs_pkey,
    ADD PRIMARY KEY (run_id, lane, attempt);
UPDATE legs SET
    censored = coalesce(legs.outcome IN ('cancelled', 'timeout'), false),
    cost_nano = round(legs.cost_usd * 1e9),
    caller = runs.caller,
    created_at = runs.created_at
FROM runs WHERE runs.run_id = legs.run_id;
ALTER TABLE legs
    ALTER COLUMN caller SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL,
    DROP COLUMN cost_usd;

-- A page for any one filter is read from one index, newest first, however rare the value is.
CREATE INDEX runs_by_status ON runs (caller, status, created_at DESC, run_id DESC);
CREATE INDEX runs_by_source ON runs (caller, source, created_at DESC, run_id DESC);
CREATE INDEX runs_by_experiment ON runs (caller, experiment, created_at DESC, run_id DESC) WHERE experiment IS NOT NULL;
CREATE INDEX runs_by_variant ON runs (caller, variant, created_at DESC, run_id DESC) WHERE variant IS NOT NULL;
CREATE INDEX runs_by_class ON runs (caller, prompt_class, created_at DESC, run_id DESC) WHERE prompt_class IS NOT NULL;
CREATE INDEX runs_by_verdict ON runs (caller, (agreement ->> 'verdict'), created_at DESC, run_id DESC)
    WHERE agreement IS NOT NULL;
CREATE INDEX runs_by_latency ON runs (caller, latency_ms);
CREATE INDEX legs_by_model ON legs (caller, model, created_at DESC, run_id DESC);
CREATE INDEX legs_by_outcome ON legs (caller, outcome, created_at DESC, run_id DESC);

CREATE TABLE run_tags (
    run_id     uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    tag        text NOT NULL,
    caller     text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, tag)
);
INSERT INTO run_tags (run_id, tag, caller, created_at)
SELECT DISTINCT run_id, unnest(tags), caller, created_at FROM runs;
CREATE INDEX run_tags_by_tag ON run_tags (caller, tag, created_at DESC, run_id DESC);

ALTER TABLE run_payloads RENAME TO run_payloads_before;
ALTER INDEX run_payloads_pkey RENAME TO run_payloads_before_pkey;

-- Partitioned by day; the default partition takes what lies outside the days that are there.
CREATE TABLE run_payloads (
    run_id     uuid NOT NULL,
    created_at timestamptz NOT NULL,
    question   jsonb NOT NULL,                   -- {messages, parameters}
    texts      jsonb,                            -- {lane: {answer, thinking}}
    PRIMARY KEY (run_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE run_payloads_other PARTITION OF run_payloads DEFAULT;

CREATE TABLE run_logs (
    run_id     uuid NOT NULL,
    created_at timestamptz NOT NULL,
    log        bytea NOT NULL,                   -- every event's bytes as the readers saw them, compressed by zlib
    at_ms      integer[] NOT NULL,               -- one number an event: milliseconds since the run opened
    PRIMARY KEY (run_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE run_logs_other PARTITION OF run_logs DEFAULT;
ALTER TABLE run_logs ALTER COLUMN log SET STORAGE EXTERNAL;
ALTER TABLE run_logs_other ALTER COLUMN log SET STORAGE EXTERNAL;

INSERT INTO run_payloads (run_id, created_at, question, texts)
SELECT run_id, created_at, question, texts FROM run_payloads_before JOIN runs USING (run_id);
INSERT INTO run_logs (run_id, created_at, log, at_ms)
SELECT run_id, created_at, log, at_ms FROM run_payloads_before JOIN runs USING (run_id)
WHERE log IS NOT NULL AND at_ms IS NOT NULL;
DROP TABLE run_payloads_before;

-- What somebody said about a run afterwards: thumbs, a score, whether an answer was right.
CREATE TABLE feedback (
    run_id     uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    name       text NOT NULL,                    -- fast_correct and slow_correct are read by the statistics
    value      jsonb NOT NULL,                   -- a boolean, a number or a text
    comment    text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, name)
);

-- Whether the two answers of a run say the same, by every version of the method that ever judged them.
CREATE TABLE comparisons (
    run_id      uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    version     integer NOT NULL,
    verdict     text NOT NULL,
    method      text NOT NULL,
    similarity  double precision,
    compared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, version)
);

INSERT INTO comparisons (run_id, version, verdict, method, similarity, compared_at)
SELECT run_id, (agreement ->> 'version')::integer, agreement ->> 'verdict', agreement ->> 'method',
       (agreement ->> 'similarity')::double precision, updated_at
FROM runs WHERE agreement IS NOT NULL;

-- Entries that could not become rows, encoded as they were.
CREATE TABLE dead_letters (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     bytea NOT NULL,                   -- SHA-256 of the encoded entry
    run_id     text,                             -- as the entry has it, an id or not
    version    integer,
    reason     text NOT NULL,                    -- rejected, conflict, undecodable
    error      text NOT NULL,
    encoded    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (digest, reason)
);

-- The servers that write here, and when each was last heard of.
CREATE TABLE instances (
    instance   text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW experiment_runs AS
SELECT runs.run_id AS id,
       runs.created_at,
       runs.status,
       flash.latency_ms AS flash_latency_ms,
       pro.latency_ms AS pro_latency_ms,
       flash.ttft_ms AS flash_ttft_ms,
       pro.ttft_ms AS pro_ttft_ms,
       runs.agreement ->> 'verdict' AS agreement,
       runs.cost_nano / 1e9::double precision AS cost_usd
FROM runs
LEFT JOIN LATERAL (
    SELECT * FROM legs WHERE legs.run_id = runs.run_id AND lane = 'fast' ORDER BY attempt DESC LIMIT 1
) AS flash ON true
LEFT JOIN LATERAL (
    SELECT * FROM legs WHERE legs.run_id = runs.run_id AND lane = 'slow' ORDER BY attempt DESC LIMIT 1
) AS pro ON true;
