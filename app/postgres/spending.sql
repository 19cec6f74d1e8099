-- name: spending
-- What runs that ended since a moment have cost and how many tokens they took, by caller and minute; before the hour that
-- is asked for in detail, by the first minute of each hour. Run ids begin with their time, so that the primary key finds
-- the newest runs. $1 a run id made that long ago, and the longest run before it; $2 that moment; $3 from when on by the
-- minute; $4 only runs that were opened before; $5 the instance whose runs are left out, or nothing; $6 rows at most.
SELECT r.caller, coalesce(c.tenant, '') AS tenant, r.minute,
       sum(r.cost_nano)::bigint AS cost_nano, sum(r.tokens)::bigint AS tokens
FROM (
    SELECT caller, coalesce(cost_nano, lanes.known_nano, 0) AS cost_nano,
           coalesce((usage ->> 'input_tokens')::bigint, 0) + coalesce((usage ->> 'output_tokens')::bigint, 0) AS tokens,
           created_at + coalesce(latency_ms, 0) * interval '1 millisecond' AS ended_at,
           floor(extract(epoch FROM CASE
               WHEN created_at + coalesce(latency_ms, 0) * interval '1 millisecond' >= $3
               THEN created_at + coalesce(latency_ms, 0) * interval '1 millisecond'
               ELSE date_trunc('hour', created_at + coalesce(latency_ms, 0) * interval '1 millisecond', 'UTC')
           END) / 60)::bigint AS minute
    FROM runs LEFT JOIN (
        SELECT run_id, sum(cost_nano) AS known_nano FROM legs WHERE run_id >= $1 GROUP BY run_id
    ) AS lanes USING (run_id)
    WHERE run_id >= $1 AND created_at < $4 AND source = 'live' AND ($5 = '' OR instance <> $5) AND status <> 'running'
) AS r LEFT JOIN callers AS c USING (caller)
WHERE r.ended_at >= $2 AND (r.cost_nano > 0 OR r.tokens > 0)
GROUP BY r.caller, tenant, r.minute
ORDER BY r.minute DESC
LIMIT $6;
