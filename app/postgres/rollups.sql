-- name: take_turn
-- Only one job rolls up at a time. No query, so that the snapshot of the transaction is taken when the turn is ours.
SET LOCAL work_mem = '64MB';
LOCK TABLE rollup_turn IN EXCLUSIVE MODE NOWAIT;

-- name: take_dirty_hours
-- Take away the marks of some hours, the newest first; a mark that comes later stays for the next time. $1 how many.
WITH hours AS (
    SELECT DISTINCT caller, hour FROM rollup_dirty ORDER BY hour DESC, caller LIMIT $1
), taken AS (
    DELETE FROM rollup_dirty AS d USING hours AS h WHERE d.caller = h.caller AND d.hour = h.hour
)
SELECT caller, hour FROM hours;

-- name: count_hours
-- Count hours anew from their runs, beside the old counts. $1 callers, $2 hours, in pairs; $3 slow from so many ms.
WITH facts AS MATERIALIZED (
    SELECT f.*, md5(jsonb_build_array(
               f.policy, f.source, f.experiment, f.variant, f.prompt_class, f.fast_model, f.slow_model, f.status
           )::text)::uuid AS grouping
    FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
    CROSS JOIN LATERAL (
        SELECT * FROM run_facts AS f
        WHERE f.caller = h.caller AND f.created_at >= h.hour AND f.created_at < h.hour + interval '1 hour'
        OFFSET 0                                 -- hour by hour, from the index
    ) AS f
), counters AS (
    SELECT caller, hour, grouping, array_agg(counter) AS cells
    FROM (
        SELECT caller, hour, grouping, (cell >> 32 << 32) + count(*) AS counter
        FROM facts, unnest(cells) AS cell GROUP BY caller, hour, grouping, cell
    ) AS c
    GROUP BY caller, hour, grouping
), groups AS (
    SELECT caller, hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status,
           count(*) AS runs, count(*) FILTER (WHERE latency_ms > $3) AS slow,
           ARRAY[
               sum(sums[1]), sum(sums[2]), sum(sums[3]), sum(sums[4]), sum(sums[5]), sum(sums[6]), sum(sums[7]),
               sum(sums[8]), sum(sums[9]), sum(sums[10]), sum(sums[11])
           ]::bigint[] AS sums
    FROM facts
    GROUP BY caller, hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status
)
INSERT INTO rollups (
    caller, span, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status,
    runs, slow, sums, cells
)
SELECT caller, 'new', hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status,
       runs, slow, sums, cells
FROM groups JOIN counters USING (caller, hour, grouping);

-- name: add_to_wholes
-- Bring the days and the sum of all time to what they are with the new counts in place of the old. $1 callers, $2 hours.
WITH change AS (
    SELECT w.whole, w.start, CASE r.span WHEN 'new' THEN 1 ELSE -1 END AS sign, r.*
    FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
    CROSS JOIN LATERAL (
        SELECT * FROM rollups AS r WHERE r.caller = h.caller AND r.at = h.hour AND r.span IN ('hour', 'new') OFFSET 0
    ) AS r
    CROSS JOIN LATERAL (VALUES ('day', date_bin('1 day', r.at, 'epoch')), ('ever', to_timestamp(0))) AS w (whole, start)
), terms AS MATERIALIZED (
    SELECT * FROM change
    UNION ALL
    SELECT r.span, r.at, 1, r.*
    FROM (SELECT DISTINCT caller, whole, start, grouping FROM change) AS c
    JOIN rollups AS r ON r.caller = c.caller AND r.span = c.whole AND r.at = c.start AND r.grouping = c.grouping
), counters AS (
    SELECT caller, whole, start, grouping, array_agg((code << 32) + n) AS cells
    FROM (
        SELECT caller, whole, start, grouping, cell >> 32 AS code, sum(sign * (cell & 2147483647)::integer) AS n
        FROM terms, unnest(cells) AS cell GROUP BY caller, whole, start, grouping, cell >> 32
    ) AS c
    WHERE n > 0
    GROUP BY caller, whole, start, grouping
), groups AS (
    SELECT caller, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
           status, sum(sign * runs)::bigint AS runs, sum(sign * slow)::bigint AS slow,
           ARRAY[
               sum(sign * sums[1]), sum(sign * sums[2]), sum(sign * sums[3]), sum(sign * sums[4]),
               sum(sign * sums[5]), sum(sign * sums[6]), sum(sign * sums[7]), sum(sign * sums[8]),
               sum(sign * sums[9]), sum(sign * sums[10]), sum(sign * sums[11])
           ]::bigint[] AS sums
    FROM terms
    GROUP BY caller, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
             status
)
INSERT INTO rollups AS r (
    caller, span, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status,
    runs, slow, sums, cells
)
SELECT caller, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model, status,
       runs, slow, sums, coalesce(cells, '{}')
FROM groups LEFT JOIN counters USING (caller, whole, start, grouping)
ON CONFLICT (caller, span, at, grouping) DO UPDATE SET
    runs = EXCLUDED.runs, slow = EXCLUDED.slow, sums = EXCLUDED.sums, cells = EXCLUDED.cells;

-- name: drop_old_counts
-- The old counts of these hours go. $1 callers, $2 hours.
DELETE FROM rollups AS r USING unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
WHERE r.caller = h.caller AND r.span = 'hour' AND r.at = h.hour;

-- name: drop_empty_groups
-- Groups that the days of these hours, or all of time, no longer have go. $1 callers, $2 hours.
DELETE FROM rollups AS r USING (
    SELECT DISTINCT h.caller, w.span, w.at
    FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
    CROSS JOIN LATERAL (VALUES ('day', date_bin('1 day', h.hour, 'epoch')), ('ever', to_timestamp(0))) AS w (span, at)
) AS w
WHERE r.caller = w.caller AND r.span = w.span AND r.at = w.at AND r.runs = 0;

-- name: put_new_counts
-- The new counts take their place. $1 callers, $2 hours.
UPDATE rollups AS r SET span = 'hour' FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
WHERE r.caller = h.caller AND r.span = 'new' AND r.at = h.hour;

-- name: read_rollups
-- Count one caller's runs by some keys: roll-ups for whole spans, runs for what they do not cover, and for the hours marked
-- dirty runs instead of what the roll-ups have of them. One row a group, in the order of the keys.
-- $1 caller, $2 spans with $3 beginnings and $4 ends, $5 beginnings and $6 ends of what is counted from runs, $7 the first
-- and $8 the end of the hours that may be dirty, $9 keys, $10 slow from so many ms, $11 experiment, $12 variant,
-- $13 prompt_class, $14 model of a lane, $15 policy, $16 source.
WITH dirty AS MATERIALIZED (
    SELECT DISTINCT hour FROM rollup_dirty WHERE caller = $1 AND hour >= $7::timestamptz AND hour < $8::timestamptz
), parts AS (
    SELECT 1 AS sign, r.at, r.policy, r.source, r.experiment, r.variant, r.prompt_class, r.fast_model, r.slow_model,
           r.status, r.runs, r.slow, r.sums, r.cells
    FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS w (span, low, high)
    CROSS JOIN LATERAL (
        SELECT * FROM rollups AS r WHERE r.caller = $1 AND r.span = w.span AND r.at >= w.low AND r.at < w.high OFFSET 0
    ) AS r
    UNION ALL
    SELECT -1, r.at, r.policy, r.source, r.experiment, r.variant, r.prompt_class, r.fast_model, r.slow_model,
           r.status, r.runs, r.slow, r.sums, r.cells
    FROM dirty JOIN rollups AS r ON r.caller = $1 AND r.span = 'hour' AND r.at = dirty.hour
    UNION ALL
    SELECT 1, f.hour, f.policy, f.source, f.experiment, f.variant, f.prompt_class, f.fast_model, f.slow_model,
           f.status, 1, (coalesce(f.latency_ms, 0) > $10)::integer, f.sums::bigint[], f.cells
    FROM (
        SELECT * FROM unnest($5::timestamptz[], $6::timestamptz[]) AS w (low, high)
        UNION ALL
        SELECT hour, hour + interval '1 hour' FROM dirty
    ) AS w
    CROSS JOIN LATERAL (
        SELECT * FROM run_facts AS f WHERE f.caller = $1 AND f.created_at >= w.low AND f.created_at < w.high
        OFFSET 0                                 -- span by span, from the index
    ) AS f
), keyed AS (
    SELECT p.*,
           CASE WHEN 'hour' = ANY ($9::text[]) THEN p.at END AS by_hour,
           CASE WHEN 'policy' = ANY ($9) THEN p.policy END AS by_policy,
           CASE WHEN 'source' = ANY ($9) THEN p.source END AS by_source,
           CASE WHEN 'experiment' = ANY ($9) THEN p.experiment END AS by_experiment,
           CASE WHEN 'variant' = ANY ($9) THEN p.variant END AS by_variant,
           CASE WHEN 'prompt_class' = ANY ($9) THEN p.prompt_class END AS by_prompt_class,
           CASE WHEN 'model' = ANY ($9) THEN p.fast_model END AS by_fast_model,
           CASE WHEN 'model' = ANY ($9) THEN p.slow_model END AS by_slow_model,
           CASE WHEN 'status' = ANY ($9) THEN p.status END AS by_status
    FROM parts AS p
    WHERE ($11::text IS NULL OR p.experiment = $11)
      AND ($12::text IS NULL OR p.variant = $12)
      AND ($13::text IS NULL OR p.prompt_class = $13)
      AND ($14::text IS NULL OR p.fast_model = $14 OR p.slow_model = $14)
      AND ($15::text IS NULL OR p.policy = $15)
      AND ($16::text IS NULL OR p.source = $16)
), chosen AS MATERIALIZED (
    SELECT *, dense_rank() OVER (
               ORDER BY by_hour, by_policy, by_source, by_experiment, by_variant, by_prompt_class, by_fast_model,
                        by_slow_model, by_status
           ) AS place
    FROM keyed
), groups AS (
    SELECT place, min(by_hour) AS hour, min(by_policy) AS policy, min(by_source) AS source,
           min(by_experiment) AS experiment, min(by_variant) AS variant, min(by_prompt_class) AS prompt_class,
           min(by_fast_model) AS fast_model, min(by_slow_model) AS slow_model, min(by_status) AS status,
           sum(sign * runs)::bigint AS runs, sum(sign * slow)::bigint AS slow,
           ARRAY[
               sum(sign * sums[1]), sum(sign * sums[2]), sum(sign * sums[3]), sum(sign * sums[4]),
               sum(sign * sums[5]), sum(sign * sums[6]), sum(sign * sums[7]), sum(sign * sums[8]),
               sum(sign * sums[9]), sum(sign * sums[10]), sum(sign * sums[11])
           ]::bigint[] AS sums
    FROM chosen GROUP BY place
), counters AS (
    SELECT place, array_agg((code << 32) + n ORDER BY code) AS cells
    FROM (
        SELECT place, cell >> 32 AS code, sum(sign * (cell & 2147483647)::integer) AS n
        FROM chosen, unnest(cells) AS cell GROUP BY place, cell >> 32
    ) AS c
    WHERE n > 0
    GROUP BY place
)
SELECT * FROM groups JOIN counters USING (place) WHERE runs > 0 ORDER BY place;
