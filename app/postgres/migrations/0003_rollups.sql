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
-- A slice keeps some of the labels and has null for the others, so that a question is answered from the smallest one that
-- has what it names: 'all' keeps all, 'labels' experiment and variant, 'class' the class, 'models' both models, 'total'
-- none.
CREATE TABLE rollups (
    caller        text NOT NULL,
    slice         text NOT NULL,
    span          text NOT NULL,                 -- hour, day, ever
    at            timestamptz NOT NULL,          -- where the span begins
    grouping      uuid NOT NULL,                 -- a hash of the seven columns that follow
    policy        text NOT NULL,
    source        text NOT NULL,
    experiment    text,
    variant       text,
    prompt_class  text,
    fast_model    text,
    slow_model    text,
    runs          bigint NOT NULL,
    slow          bigint NOT NULL,               -- beyond the slow threshold
    sums          bigint[] NOT NULL,             -- see run_facts
    cells         bigint[] NOT NULL,             -- counters, as (code << 32) + count; see run_facts
    PRIMARY KEY (caller, slice, span, at, grouping)
);
ALTER TABLE rollups ALTER COLUMN cells SET STORAGE EXTERNAL;  -- written often, and read by every statistic

-- The hours of a caller that are marked dirty, and whether a reader counts them from their runs: the newest ones, as long
-- as they have no more than so many runs together. What the others are behind is counted with the next roll-up.
CREATE FUNCTION rollup_dirty_hours(of_caller text, low timestamptz, high timestamptz, runs_max bigint)
RETURNS TABLE (hour timestamptz, fresh boolean) LANGUAGE sql STABLE ROWS 5 AS $$
    SELECT d.hour, sum(n.runs) OVER (ORDER BY d.hour DESC) <= runs_max
    FROM (
        SELECT DISTINCT m.hour FROM rollup_dirty AS m WHERE m.caller = of_caller AND m.hour >= low AND m.hour < high
    ) AS d
    CROSS JOIN LATERAL (
        SELECT count(*) AS runs FROM (
            SELECT FROM runs AS r
            WHERE r.caller = of_caller AND r.created_at >= d.hour AND r.created_at < d.hour + interval '1 hour'
            LIMIT runs_max + 1
        ) AS found
    ) AS n
$$;

-- The number of a time's bucket in a histogram whose buckets grow by 2 %, from 0.1 ms on; 1023 at most. Not STRICT, so
-- that it is inlined.
CREATE FUNCTION time_bucket_2pc(ms double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN ms IS NOT NULL
                THEN least(ceil(ln(greatest(ms, 0.1) * 10) / 0.01980262729617973), 1023)::bigint END
$$;

-- One row a run with everything that is counted of it. A counter is (code << 32) + count, a code is kind * 1024 + bucket.
-- Kinds of the fast lane, and 16 more of the slow one: 0 outcome, 1 first token, 2 cut before it, 3 completed, 4 cut before
-- that, 5 known numbers (cost, input, output, thinking, cached), 6 times that nobody measured (0 end, 1 first token).
-- Of the run: 32 verdict, 33 its cost is known, 34 latency, 35 status, 36 source; where it has a verdict 37 what is known
-- (0 wait on change, 1 cost of the fast answer, 2 of the slow one), 38 how much longer the slow answer took, 39 the fast
-- one. The order of the words inside is what a bucket means: only ever add at the end.
-- Sums: cost of the run; cost, input, output, thinking, cached of fast, of slow; where it has a verdict how much longer the
-- slow answer took, the same where they disagree, the head start where they agree (microseconds), cost of fast, of slow.
CREATE VIEW run_facts AS
SELECT r.run_id, r.caller, r.created_at, date_bin('1 hour', r.created_at, 'epoch') AS hour,
       r.policy, r.source, r.experiment, r.variant, r.prompt_class, l.fast_model, l.slow_model, r.latency_ms,
       ARRAY[
           coalesce(r.cost_nano, 0),
           l.fast_cost, l.fast_input, l.fast_output, l.fast_thinking, l.fast_cached,
           l.slow_cost, l.slow_input, l.slow_output, l.slow_thinking, l.slow_cached,
           coalesce(round(w.wait_ms * 1000), 0),
           CASE WHEN w.verdict = 'disagree' THEN coalesce(round(w.wait_ms * 1000), 0) ELSE 0 END,
           CASE WHEN w.verdict = 'agree' THEN coalesce(round(greatest(w.wait_ms, 0) * 1000), 0) ELSE 0 END,
           CASE WHEN w.verdict IS NOT NULL THEN coalesce(l.fast_answer_cost, 0) ELSE 0 END,
           CASE WHEN w.verdict IS NOT NULL THEN coalesce(l.slow_answer_cost, 0) ELSE 0 END
       ]::bigint[] AS sums,
       ARRAY(
           SELECT (code << 32) + 1
           FROM unnest(l.codes || ARRAY[
               32 * 1024 + array_position(ARRAY['agree', 'disagree', 'unknown'], w.verdict)::bigint,
               CASE WHEN r.cost_nano IS NOT NULL THEN 33 * 1024 END,
               34 * 1024 + time_bucket_2pc(r.latency_ms),
               35 * 1024 + array_position(
                   ARRAY['running', 'completed', 'partial', 'timeout', 'failed', 'cancelled', 'shutdown'], r.status
               ),
               36 * 1024 + array_position(ARRAY['live', 'cache', 'import'], r.source),
               CASE WHEN w.verdict = 'disagree' AND w.wait_ms IS NOT NULL THEN 37 * 1024 + 0 END,
               CASE WHEN w.verdict IS NOT NULL AND l.fast_answer_cost IS NOT NULL THEN 37 * 1024 + 1 END,
               CASE WHEN w.verdict IS NOT NULL AND l.slow_answer_cost IS NOT NULL THEN 37 * 1024 + 2 END,
               CASE WHEN w.wait_ms >= 0 THEN 38 * 1024 ELSE 39 * 1024 END + time_bucket_2pc(abs(w.wait_ms)),
               NULL                              -- as wide as a leg's
           ]) AS code
           WHERE code IS NOT NULL
       ) AS cells
FROM runs AS r
CROSS JOIN LATERAL (
    SELECT (array_agg(g.model ORDER BY g.attempt DESC) FILTER (WHERE g.lane = 'fast'))[1] AS fast_model,
           (array_agg(g.model ORDER BY g.attempt DESC) FILTER (WHERE g.lane = 'slow'))[1] AS slow_model,
           coalesce(sum(g.cost_nano) FILTER (WHERE g.lane = 'fast'), 0) AS fast_cost,
           coalesce(sum(g.input_tokens) FILTER (WHERE g.lane = 'fast'), 0) AS fast_input,
           coalesce(sum(g.output_tokens) FILTER (WHERE g.lane = 'fast'), 0) AS fast_output,
           coalesce(sum(g.thinking_tokens) FILTER (WHERE g.lane = 'fast'), 0) AS fast_thinking,
           coalesce(sum(g.cached_tokens) FILTER (WHERE g.lane = 'fast'), 0) AS fast_cached,
           coalesce(sum(g.cost_nano) FILTER (WHERE g.lane = 'slow'), 0) AS slow_cost,
           coalesce(sum(g.input_tokens) FILTER (WHERE g.lane = 'slow'), 0) AS slow_input,
           coalesce(sum(g.output_tokens) FILTER (WHERE g.lane = 'slow'), 0) AS slow_output,
           coalesce(sum(g.thinking_tokens) FILTER (WHERE g.lane = 'slow'), 0) AS slow_thinking,
           coalesce(sum(g.cached_tokens) FILTER (WHERE g.lane = 'slow'), 0) AS slow_cached,
           min(g.latency_ms) FILTER (WHERE g.lane = 'fast' AND g.outcome = 'completed') AS fast_ms,
           min(g.latency_ms) FILTER (WHERE g.lane = 'slow' AND g.outcome = 'completed') AS slow_ms,
           min(g.cost_nano) FILTER (WHERE g.lane = 'fast' AND g.outcome = 'completed') AS fast_answer_cost,
           min(g.cost_nano) FILTER (WHERE g.lane = 'slow' AND g.outcome = 'completed') AS slow_answer_cost,
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
                   CASE WHEN g.cached_tokens IS NOT NULL THEN g.lane_kind + 5 * 1024 + 4 END,
                   CASE WHEN g.latency_ms IS NULL AND (g.outcome = 'completed' OR g.censored)
                        THEN g.lane_kind + 6 * 1024 + 0 END,
                   CASE WHEN g.latency_ms IS NULL AND g.ttft_ms IS NULL AND g.censored
                        THEN g.lane_kind + 6 * 1024 + 1 END
               ]
           ) AS codes
    FROM (
        SELECT legs.*, CASE lane WHEN 'fast' THEN 0 ELSE 16 * 1024 END::bigint AS lane_kind
        FROM legs WHERE legs.run_id = r.run_id
    ) AS g
) AS l
CROSS JOIN LATERAL (
    SELECT r.agreement ->> 'verdict' AS verdict,
           CASE WHEN r.agreement IS NOT NULL THEN l.slow_ms - l.fast_ms END AS wait_ms
) AS w;

-- What was judged is found from the judgements: they are few beside the runs.
CREATE INDEX feedback_judgements ON feedback (run_id) INCLUDE (name, value)
    WHERE name IN ('fast_correct', 'slow_correct');
