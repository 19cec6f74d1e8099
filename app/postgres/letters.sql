-- name: list_letters
-- Dead letters, the newest first. $1 how many.
SELECT id, created_at, run_id, version, reason, error, digest, encoded
FROM dead_letters ORDER BY id DESC LIMIT $1;

-- name: count_letters
-- How many dead letters there are.
SELECT count(*) FROM dead_letters;

-- name: drop_letter
-- Forget one dead letter, because its entry is stored now. $1 id.
DELETE FROM dead_letters WHERE id = $1;

-- name: count_runs
-- How many runs are recorded, and how many of them are open.
SELECT count(*) AS runs, count(*) FILTER (WHERE status = 'running') AS open FROM runs;

-- name: list_instances
-- The servers that were heard of in the last hour, and how many seconds ago.
SELECT instance, extract(epoch FROM now() - beat_at)::double precision AS silent_s
FROM instances WHERE beat_at > now() - interval '1 hour' ORDER BY beat_at DESC;
