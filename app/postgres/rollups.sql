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
-- Count hours anew from their runs, beside the old counts. $1 callers, $2 hours, in pairs; $3 slow from so many ms;
-- {sums}: the sums of all numbers of `sums`.
WITH facts AS MATERIALIZED (
    SELECT f.*, md5(jsonb_build_array(
               f.policy, f.source, f.experiment, f.variant, f.prompt_class, f.fast_model, f.slow_model
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
    SELECT caller, hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
           count(*) AS runs, count(*) FILTER (WHERE latency_ms > $3) AS slow,
           ARRAY[{sums}]::bigint[] AS sums
    FROM facts
    GROUP BY caller, hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model
)
INSERT INTO rollups (
    caller, slice, span, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
    runs, slow, sums, cells
)
SELECT caller, 'all', 'new', hour, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
       runs, slow, sums, cells
FROM groups JOIN counters USING (caller, hour, grouping);

-- name: count_slices
-- The smaller slices of the new counts, from the one that keeps all labels. $1 callers, $2 hours; {sums} as above.
WITH parts AS MATERIALIZED (
    SELECT *, md5(jsonb_build_array(
               policy, source, experiment, variant, prompt_class, fast_model, slow_model
           )::text)::uuid AS grouping
    FROM (
        SELECT r.caller, s.slice, r.at, r.policy, r.source, r.runs, r.slow, r.sums, r.cells,
               CASE s.slice WHEN 'labels' THEN r.experiment END AS experiment,
               CASE s.slice WHEN 'labels' THEN r.variant END AS variant,
               CASE s.slice WHEN 'class' THEN r.prompt_class END AS prompt_class,
               CASE s.slice WHEN 'models' THEN r.fast_model END AS fast_model,
               CASE s.slice WHEN 'models' THEN r.slow_model END AS slow_model
        FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
        CROSS JOIN LATERAL (
            SELECT * FROM rollups AS r
            WHERE r.caller = h.caller AND r.slice = 'all' AND r.span = 'new' AND r.at = h.hour
            OFFSET 0
        ) AS r
        CROSS JOIN (VALUES ('labels'), ('class'), ('models'), ('total')) AS s (slice)
    ) AS p
), counters AS (
    SELECT caller, slice, at, grouping, array_agg((code << 32) + n) AS cells
    FROM (
        SELECT caller, slice, at, grouping, cell >> 32 AS code, sum((cell & 2147483647)::integer) AS n
        FROM parts, unnest(cells) AS cell GROUP BY caller, slice, at, grouping, cell >> 32
    ) AS c
    GROUP BY caller, slice, at, grouping
), groups AS (
    SELECT caller, slice, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
           sum(runs)::bigint AS runs, sum(slow)::bigint AS slow, ARRAY[{sums}]::bigint[] AS sums
    FROM parts
    GROUP BY caller, slice, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model
)
INSERT INTO rollups (
    caller, slice, span, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
    runs, slow, sums, cells
)
SELECT caller, slice, 'new', at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
       runs, slow, sums, cells
FROM groups JOIN counters USING (caller, slice, at, grouping);

-- name: add_to_wholes
-- Bring the days and the sum of all time to what they are with the new counts in place of the old. $1 callers, $2 hours;
-- {signed_sums}: as {sums}, each number times `sign`.
WITH change AS (
    SELECT w.whole, w.start, CASE r.span WHEN 'new' THEN 1 ELSE -1 END AS sign, r.*
    FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
    CROSS JOIN LATERAL (
        SELECT * FROM rollups AS r
        WHERE r.caller = h.caller AND r.slice = ANY ('{all,labels,class,models,total}') AND r.span IN ('hour', 'new')
          AND r.at = h.hour
        OFFSET 0
    ) AS r
    CROSS JOIN LATERAL (VALUES ('day', date_bin('1 day', r.at, 'epoch')), ('ever', to_timestamp(0))) AS w (whole, start)
), terms AS MATERIALIZED (
    SELECT * FROM change
    UNION ALL
    SELECT r.span, r.at, 1, r.*
    FROM (SELECT DISTINCT caller, slice, whole, start, grouping FROM change) AS c
    JOIN rollups AS r
      ON r.caller = c.caller AND r.slice = c.slice AND r.span = c.whole AND r.at = c.start AND r.grouping = c.grouping
), counters AS (
    SELECT caller, slice, whole, start, grouping, array_agg((code << 32) + n) AS cells
    FROM (
        SELECT caller, slice, whole, start, grouping, cell >> 32 AS code, sum(sign * (cell & 2147483647)::integer) AS n
        FROM terms, unnest(cells) AS cell GROUP BY caller, slice, whole, start, grouping, cell >> 32
    ) AS c
    WHERE n > 0
    GROUP BY caller, slice, whole, start, grouping
), groups AS (
    SELECT caller, slice, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model,
           slow_model, sum(sign * runs)::bigint AS runs, sum(sign * slow)::bigint AS slow,
           ARRAY[{signed_sums}]::bigint[] AS sums
    FROM terms
    GROUP BY caller, slice, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model,
             slow_model
)
INSERT INTO rollups AS r (
    caller, slice, span, at, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
    runs, slow, sums, cells
)
SELECT caller, slice, whole, start, grouping, policy, source, experiment, variant, prompt_class, fast_model, slow_model,
       runs, slow, sums, coalesce(cells, '{}')
FROM groups LEFT JOIN counters USING (caller, slice, whole, start, grouping)
ON CONFLICT (caller, slice, span, at, grouping) DO UPDATE SET
    runs = EXCLUDED.runs, slow = EXCLUDED.slow, sums = EXCLUDED.sums, cells = EXCLUDED.cells;

-- name: drop_old_counts
-- The old counts of these hours go. $1 callers, $2 hours.
DELETE FROM rollups AS r USING unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
WHERE r.caller = h.caller AND r.slice = ANY ('{all,labels,class,models,total}') AND r.span = 'hour' AND r.at = h.hour;

-- name: drop_empty_groups
-- Groups that the days of these hours, or all of time, no longer have go. $1 callers, $2 hours.
DELETE FROM rollups AS r USING (
    SELECT DISTINCT h.caller, w.span, w.at
    FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
    CROSS JOIN LATERAL (VALUES ('day', date_bin('1 day', h.hour, 'epoch')), ('ever', to_timestamp(0))) AS w (span, at)
) AS w
WHERE r.caller = w.caller AND r.slice = ANY ('{all,labels,class,models,total}') AND r.span = w.span AND r.at = w.at
  AND r.runs = 0;

-- name: put_new_counts
-- The new counts take their place. $1 callers, $2 hours.
UPDATE rollups AS r SET span = 'hour' FROM unnest($1::text[], $2::timestamptz[]) AS h (caller, hour)
WHERE r.caller = h.caller AND r.slice = ANY ('{all,labels,class,models,total}') AND r.span = 'new' AND r.at = h.hour;

-- name: count_behind
-- How many hours have changes that a reader does not see yet. $1 caller, $2 first hour, $3 end, $4 as in read_rollups.
SELECT count(*) FROM rollup_dirty_hours($1, $2, $3, $4) WHERE NOT fresh;

-- name: read_rollups
-- Count one caller's runs by some keys: roll-ups for whole spans, runs for what they do not cover, and for hours marked
-- dirty runs instead of what the roll-ups have of them. One row a group, in the order of the keys. {signed_sums} as above.
-- $1 caller, $2 slice; $3 spans with $4 beginnings and $5 ends; $6 beginnings and $7 ends of what is counted from runs;
-- $8 the first and $9 the end of the hours that may be dirty, $10 how many runs of theirs are counted at most; $11 keys,
-- $12 slow from so many ms, $13 the kinds of counters that are wanted, as bits; $14 experiment, $15 variant,
-- $16 prompt_class, $17 model, $18 lane whose model it is, any for null; $19 policy, $20 source; $21 without replays, of
-- which then only the counter by source (36) tells how many there were.
WITH dirty AS MATERIALIZED (
    SELECT hour FROM rollup_dirty_hours($1, $8, $9, $10) WHERE fresh
), parts AS (
    SELECT 1 AS sign, r.at, r.policy, r.source, r.experiment, r.variant, r.prompt_class, r.fast_model, r.slow_model,
           r.runs, r.slow, r.sums, r.cells
    FROM unnest($3::text[], $4::timestamptz[], $5::timestamptz[]) AS w (span, low, high)
    CROSS JOIN LATERAL (
        SELECT * FROM rollups AS r
        WHERE r.caller = $1 AND r.slice = $2 AND r.span = w.span AND r.at >= w.low AND r.at < w.high
        OFFSET 0
    ) AS r
    UNION ALL
    SELECT -1, r.at, r.policy, r.source, r.experiment, r.variant, r.prompt_class, r.fast_model, r.slow_model,
           r.runs, r.slow, r.sums, r.cells
    FROM dirty JOIN rollups AS r ON r.caller = $1 AND r.slice = $2 AND r.span = 'hour' AND r.at = dirty.hour
    UNION ALL
    SELECT 1, f.hour, f.policy, f.source, f.experiment, f.variant, f.prompt_class, f.fast_model, f.slow_model,
           1, (coalesce(f.latency_ms, 0) > $12)::integer, f.sums, f.cells
    FROM (
        SELECT * FROM unnest($6::timestamptz[], $7::timestamptz[]) AS w (low, high)
        UNION ALL
        SELECT hour, hour + interval '1 hour' FROM dirty
    ) AS w
    CROSS JOIN LATERAL (
        SELECT * FROM run_facts AS f WHERE f.caller = $1 AND f.created_at >= w.low AND f.created_at < w.high
        OFFSET 0                                 -- span by span, from the index
    ) AS f
), keyed AS (
    SELECT p.sign AS seen, CASE WHEN $21::boolean AND p.source = 'cache' THEN 0 ELSE p.sign END AS sign,
           p.runs, p.slow, p.sums, p.cells,
           CASE WHEN 'hour' = ANY ($11::text[]) THEN p.at END AS by_hour,
           CASE WHEN 'day' = ANY ($11) THEN date_bin('1 day', p.at, 'epoch') END AS by_day,
           CASE WHEN 'policy' = ANY ($11) THEN p.policy END AS by_policy,
           CASE WHEN 'source' = ANY ($11) THEN p.source END AS by_source,
           CASE WHEN 'experiment' = ANY ($11) THEN p.experiment END AS by_experiment,
           CASE WHEN 'variant' = ANY ($11) THEN p.variant END AS by_variant,
           CASE WHEN 'prompt_class' = ANY ($11) THEN p.prompt_class END AS by_prompt_class,
           CASE WHEN 'model' = ANY ($11) THEN p.fast_model END AS by_fast_model,
           CASE WHEN 'model' = ANY ($11) THEN p.slow_model END AS by_slow_model
    FROM parts AS p
    WHERE ($14::text IS NULL OR p.experiment = $14)
      AND ($15::text IS NULL OR p.variant = $15)
      AND ($16::text IS NULL OR p.prompt_class = $16)
      AND ($17::text IS NULL OR ($18::text IS DISTINCT FROM 'slow' AND p.fast_model = $17)
           OR ($18 IS DISTINCT FROM 'fast' AND p.slow_model = $17))
      AND ($19::text IS NULL OR p.policy = $19)
      AND ($20::text IS NULL OR p.source = $20)
      AND NOT ($21 AND p.source = 'cache' AND ($13::bigint >> 36) & 1 = 0)
), chosen AS MATERIALIZED (
    SELECT *, dense_rank() OVER (
               ORDER BY by_hour, by_day, by_policy, by_source, by_experiment, by_variant, by_prompt_class, by_fast_model,
                        by_slow_model
           ) AS place
    FROM keyed
), groups AS (
    SELECT place, min(by_hour) AS hour, min(by_day) AS day, min(by_policy) AS policy, min(by_source) AS source,
           min(by_experiment) AS experiment, min(by_variant) AS variant, min(by_prompt_class) AS prompt_class,
           min(by_fast_model) AS fast_model, min(by_slow_model) AS slow_model,
           sum(sign * runs)::bigint AS runs, sum(sign * slow)::bigint AS slow,
           ARRAY[{signed_sums}]::bigint[] AS sums
    FROM chosen GROUP BY place
), counters AS (
    SELECT place, array_agg((code << 32) + n ORDER BY code) AS cells
    FROM (
        SELECT place, cell >> 32 AS code,
               sum(CASE WHEN cell >> 42 = 36 THEN seen ELSE sign END * (cell & 2147483647)::integer) AS n
        FROM chosen, unnest(cells) AS cell
        WHERE ($13 >> (cell >> 42)::integer) & 1 = 1
        GROUP BY place, cell >> 32
    ) AS c
    WHERE n > 0
    GROUP BY place
)
SELECT * FROM groups LEFT JOIN counters USING (place) WHERE runs > 0 OR cells IS NOT NULL ORDER BY place;
