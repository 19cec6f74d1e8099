-- Roll-ups that follow ingest order. Whoever changes a run adds its hour to rollup_dirty in the same transaction; a job
-- takes those rows away and computes the hours anew, so that late rows and corrections are counted like all others.

CREATE TABLE rollup_dirty (
    caller text NOT NULL,
    hour   timestamptz NOT NULL
);
CREATE INDEX rollup_dirty_by_hour ON rollup_dirty (caller, hour);

INSERT INTO rollup_dirty (caller, hour) SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM runs;

CREATE TABLE rollup_turn ();                     -- always empty: locked by the one job that works

-- One row a group of runs; the rows of a day and of all time ('ever', at the epoch) are the exact sums of their hours'.
CREATE TABLE rollups (
    caller        text NOT NULL,
    span          text NOT NULL,                 -- hour, day, ever
    at            timestamptz NOT NULL,          -- where the span begins
    grouping      uuid NOT NULL,                 -- a hash of the eight columns that follow
    policy        text NOT NULL,
    source        text NOT NULL,
    experiment    text,
    variant       text,
    prompt_class  text,
    fast_model    text,
    slow_model    text,
    status        text NOT NULL,
    runs          bigint NOT NULL,
    slow          bigint NOT NULL,               -- beyond the slow threshold
    sums          bigint[] NOT NULL,             -- cost of the run; cost, input, output, thinking, cached of fast, of slow
    cells         bigint[] NOT NULL,             -- counters, as (code << 32) + count; see run_facts
    PRIMARY KEY (caller, span, at, grouping)
);

-- The number of a time's bucket in a histogram whose buckets grow by 2 %, from 0.1 ms on; 1023 at most. Not STRICT, so
-- that it is inlined.
CREATE FUNCTION time_bucket_2pc(ms double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN ms IS NOT NULL
                THEN least(ceil(ln(greatest(ms, 0.1) * 10) / 0.01980262729617973), 1023)::bigint END
$$;

-- One row a run with everything that is counted of it. A counter is (code << 32) + count, a code is kind * 1024 + bucket.
-- Kinds of the fast lane, and 16 more of the slow one: 0 outcome, 1 first token, 2 cut before it, 3 completed, 4 cut before
-- that, 5 known numbers (cost, input, output, thinking, cached). Of the run: 32 verdict, 33 its cost is known, 34 latency,
-- 35 status, 36 source. The order of the words inside is what a bucket means: only ever add at the end.
CREATE VIEW run_facts AS
SELECT r.run_id, r.caller, r.created_at, date_bin('1 hour', r.created_at, 'epoch') AS hour,
       r.policy, r.source, r.experiment, r.variant, r.prompt_class, l.fast_model, l.slow_model, r.status,
       r.latency_ms,
       ARRAY[coalesce(r.cost_nano, 0)::numeric] || l.sums AS sums,
       ARRAY(
           SELECT (code << 32) + 1
           FROM unnest(l.codes || ARRAY[
               32 * 1024 + array_position(ARRAY['agree', 'disagree', 'unknown'], r.agreement ->> 'verdict')::bigint,
               CASE WHEN r.cost_nano IS NOT NULL THEN 33 * 1024 END,
               34 * 1024 + time_bucket_2pc(r.latency_ms),
               35 * 1024 + array_position(
                   ARRAY['running', 'completed', 'partial', 'timeout', 'failed', 'cancelled', 'shutdown'], r.status
               ),
               36 * 1024 + array_position(ARRAY['live', 'cache', 'import'], r.source),
               NULL, NULL, NULL                  -- as wide as a leg's
           ]) AS code
           WHERE code IS NOT NULL
       ) AS cells
FROM runs AS r
CROSS JOIN LATERAL (
    SELECT (array_agg(g.model ORDER BY g.attempt DESC) FILTER (WHERE g.lane = 'fast'))[1] AS fast_model,
           (array_agg(g.model ORDER BY g.attempt DESC) FILTER (WHERE g.lane = 'slow'))[1] AS slow_model,
           ARRAY[
               coalesce(sum(g.cost_nano) FILTER (WHERE g.lane = 'fast'), 0),
               coalesce(sum(g.input_tokens) FILTER (WHERE g.lane = 'fast'), 0),
               coalesce(sum(g.output_tokens) FILTER (WHERE g.lane = 'fast'), 0),
               coalesce(sum(g.thinking_tokens) FILTER (WHERE g.lane = 'fast'), 0),
               coalesce(sum(g.cached_tokens) FILTER (WHERE g.lane = 'fast'), 0),
               coalesce(sum(g.cost_nano) FILTER (WHERE g.lane = 'slow'), 0),
               coalesce(sum(g.input_tokens) FILTER (WHERE g.lane = 'slow'), 0),
               coalesce(sum(g.output_tokens) FILTER (WHERE g.lane = 'slow'), 0),
               coalesce(sum(g.thinking_tokens) FILTER (WHERE g.lane = 'slow'), 0),
               coalesce(sum(g.cached_tokens) FILTER (WHERE g.lane = 'slow'), 0)
           ] AS sums,
           array_agg(
               ARRAY[
                   g.lane_kind + array_position(
                       ARRAY['completed', 'timeout', 'failed', 'incomplete', 'empty', 'cancelled', 'refused'], g.outcome
                   ),
                   CASE
                       WHEN g.ttft_ms IS NOT NULL THEN g.lane_kind + 1 * 1024 + time_bucket_2pc(g.ttft_ms)
                       WHEN g.censored THEN g.lane_kind + 2 * 1024 + time_bucket_2pc(g.latency_ms)
                   END,
                   CASE
                       WHEN g.outcome = 'completed' THEN g.lane_kind + 3 * 1024 + time_bucket_2pc(g.latency_ms)
                       WHEN g.censored THEN g.lane_kind + 4 * 1024 + time_bucket_2pc(g.latency_ms)
                   END,
                   CASE WHEN g.cost_nano IS NOT NULL THEN g.lane_kind + 5 * 1024 + 0 END,
                   CASE WHEN g.input_tokens IS NOT NULL THEN g.lane_kind + 5 * 1024 + 1 END,
                   CASE WHEN g.output_tokens IS NOT NULL THEN g.lane_kind + 5 * 1024 + 2 END,
                   CASE WHEN g.thinking_tokens IS NOT NULL THEN g.lane_kind + 5 * 1024 + 3 END,
                   CASE WHEN g.cached_tokens IS NOT NULL THEN g.lane_kind + 5 * 1024 + 4 END
               ]
           ) AS codes
    FROM (
        SELECT legs.*, CASE lane WHEN 'fast' THEN 0 ELSE 16 * 1024 END::bigint AS lane_kind
        FROM legs WHERE legs.run_id = r.run_id
    ) AS g
) AS l;
