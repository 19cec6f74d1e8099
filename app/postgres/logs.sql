-- The request log: a request that opened a run stands in `runs`, one that shared a run in `attachments`. Each branch of a
-- page reads its newest rows in the order of an index and stops at the limit; merged, they are the page.

-- name: log_of_runs
-- The newest requests of a caller that opened a run, from before a position. Imported runs were never requests.
-- $1 caller, $2 limit, $3 and $4 the position; {wanted}: the conditions that are asked for.
SELECT r.run_id AS id, r.created_at, r.run_id, r.source, r.fingerprint, r.status, r.reason, r.source AS run_source,
       r.latency_ms AS run_ms, r.latency_ms AS duration_ms, r.experiment, r.variant, r.prompt_class, r.tags
FROM runs AS r
WHERE r.caller = $1
  AND (r.created_at, r.run_id) < ($3::timestamptz, $4::uuid)
  AND {wanted}
ORDER BY r.created_at DESC, r.run_id DESC
LIMIT $2;

-- name: log_of_tagged_runs
-- The same of those with a tag, found by it however rare it is. {tag}: the tag; the others as above.
SELECT r.run_id AS id, r.created_at, r.run_id, r.source, r.fingerprint, r.status, r.reason, r.source AS run_source,
       r.latency_ms AS run_ms, r.latency_ms AS duration_ms, r.experiment, r.variant, r.prompt_class, r.tags
FROM run_tags AS t
JOIN runs AS r ON r.run_id = t.run_id
WHERE t.caller = $1
  AND t.tag = {tag}
  AND (t.created_at, t.run_id) < ($3::timestamptz, $4::uuid)
  AND r.caller = $1
  AND {wanted}
ORDER BY t.created_at DESC, t.run_id DESC
LIMIT $2;

-- name: log_of_attachments
-- The newest requests of a caller that shared a run, which may be another's: of that only how and when it ended, which is
-- null while its row is not there. $1 caller, $2 limit, $3 and $4 the position; {wanted}: the conditions that are asked for.
SELECT a.request_id AS id, a.created_at, a.run_id, 'attached' AS source, a.fingerprint, r.status, r.reason,
       r.source AS run_source, r.latency_ms AS run_ms, {duration} AS duration_ms,
       a.experiment, a.variant, a.prompt_class, a.tags
FROM attachments AS a
LEFT JOIN runs AS r ON r.run_id = a.run_id
WHERE a.caller = $1
  AND (a.created_at, a.request_id) < ($3::timestamptz, $4::uuid)
  AND {wanted}
ORDER BY a.created_at DESC, a.request_id DESC
LIMIT $2;
