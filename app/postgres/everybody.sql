-- name: read_everybodys_rollups
-- Count the runs of all callers by model or in total, from the roll-ups alone; one row a group, as read_rollups has them.
-- $1 slice, $2 the first hour, $3 the end, $4 whether by model, $5 the kinds of counters that are wanted, as bits. The
-- callers are found one by one, each from the index, since it begins with them.
WITH RECURSIVE callers AS (
    (SELECT caller FROM rollups ORDER BY caller LIMIT 1)
    UNION ALL
    SELECT (SELECT r.caller FROM rollups AS r WHERE r.caller > c.caller ORDER BY r.caller LIMIT 1)
    FROM callers AS c WHERE c.caller IS NOT NULL
), chosen AS MATERIALIZED (
    SELECT dense_rank() OVER (
               ORDER BY CASE WHEN $4::boolean THEN r.fast_model END, CASE WHEN $4 THEN r.slow_model END
           ) AS place,
           CASE WHEN $4 THEN r.fast_model END AS fast_model, CASE WHEN $4 THEN r.slow_model END AS slow_model,
           CASE WHEN r.source = 'cache' THEN 0 ELSE 1 END AS sign, r.runs, r.slow, r.sums, r.cells
    FROM callers AS c
    CROSS JOIN LATERAL (
        SELECT * FROM rollups AS r
        WHERE r.caller = c.caller AND r.slice = $1 AND r.span = 'hour' AND r.at >= $2::timestamptz
          AND r.at < $3::timestamptz
        OFFSET 0
    ) AS r
), groups AS (
    SELECT place, min(fast_model) AS fast_model, min(slow_model) AS slow_model, sum(sign * runs)::bigint AS runs,
           sum(sign * slow)::bigint AS slow, ARRAY[{signed_sums}]::bigint[] AS sums
    FROM chosen GROUP BY place
), counters AS (
    SELECT place, array_agg((code << 32) + n ORDER BY code) AS cells
    FROM (
        SELECT place, cell >> 32 AS code,
               sum(CASE WHEN cell >> 42 = 36 THEN 1 ELSE sign END * (cell & 2147483647)::integer) AS n
        FROM chosen, unnest(cells) AS cell
        WHERE ($5::bigint >> (cell >> 42)::integer) & 1 = 1
        GROUP BY place, cell >> 32
    ) AS c
    WHERE n > 0
    GROUP BY place
)
SELECT * FROM groups LEFT JOIN counters USING (place) WHERE runs > 0 OR cells IS NOT NULL ORDER BY place;

-- name: count_everybodys_behind
-- How many hours of callers have changes that the roll-ups do not have yet. $1 the first hour, $2 the end.
SELECT count(*) FROM (
    SELECT DISTINCT caller, hour FROM rollup_dirty WHERE hour >= $1::timestamptz AND hour < $2::timestamptz
) AS behind;
