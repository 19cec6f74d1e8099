-- name: most_asked
-- The questions that were asked most often, each as it was asked last: by runs and replays whose texts are kept as they
-- were, and by requests that shared such a run; never those that wanted no stored answer. The time is inside the keys too,
-- so that a short while is read from their index. $1 caller, null for all callers, $2 since when, $3 how many.
WITH since AS (
    SELECT rpad(
        lpad(to_hex(floor(greatest(extract(epoch FROM $2::timestamptz), 0) * 1000)::bigint), 12, '0'), 32, '0'
    )::uuid AS run_id
), asked AS (
    SELECT r.fingerprint, count(*) AS n, max(r.run_id::text) AS newest
    FROM runs AS r
    JOIN run_payloads AS p ON p.run_id = r.run_id AND p.created_at = r.created_at
    WHERE ($1::text IS NULL OR r.caller = $1)
      AND r.run_id >= (SELECT run_id FROM since)
      AND p.run_id >= (SELECT run_id FROM since)
      AND r.created_at >= $2
      AND p.created_at >= $2
      AND r.source IN ('live', 'cache')
      AND r.content @> '{"mode": "full", "replaced": 0}'
      AND r.content -> 'masked' = '{}'
      AND r.content -> 'cut' = '[]'
      AND p.question #>> '{parameters,cache}' <> 'off'
    GROUP BY r.fingerprint
), shared AS (
    SELECT a.fingerprint, count(*) AS n, NULL AS newest
    FROM attachments AS a
    WHERE ($1 IS NULL OR a.caller = $1) AND a.created_at >= $2
    GROUP BY a.fingerprint
), most AS (
    SELECT fingerprint, sum(n)::bigint AS asked, max(newest)::uuid AS newest
    FROM (SELECT * FROM asked UNION ALL SELECT * FROM shared) AS both_kinds
    GROUP BY fingerprint
    HAVING max(newest) IS NOT NULL
    ORDER BY asked DESC, newest DESC
    LIMIT $3
)
SELECT most.fingerprint, most.asked, r.caller, r.policy, p.question, r.experiment, r.variant, r.prompt_class, r.tags
FROM most
JOIN runs AS r ON r.run_id = most.newest
JOIN run_payloads AS p ON p.run_id = r.run_id AND p.created_at = r.created_at
ORDER BY most.asked DESC, most.newest DESC;
