-- name: write_attachments
-- Store who shared a run; one that is there already stays as it is. Returns those that were new. $1 a JSON array, each
-- request once, in the order of their ids.
INSERT INTO attachments (
    request_id, created_at, run_id, caller, instance, fingerprint, experiment, variant, prompt_class, tags,
    idempotency_key, content_hash
)
SELECT request_id, created_at, run_id, caller, instance, fingerprint, experiment, variant, prompt_class, tags,
       idempotency_key, decode(content_hash, 'hex')
FROM json_to_recordset($1::json) AS entry (
    request_id uuid, created_at timestamptz, run_id uuid, caller text, instance text, fingerprint text,
    experiment text, variant text, prompt_class text, tags text[], idempotency_key text, content_hash text
)
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id::text;

-- name: look_at_attachments
-- What is there of these requests now: the store tells duplicates from conflicts by it. $1 request_ids.
SELECT request_id::text, content_hash FROM attachments WHERE request_id = ANY ($1::uuid[]);

-- name: delete_attachments
-- Forget requests that shared a run and are older than so many days, some at a time, the oldest first: the time is inside
-- the key. $1 days, $2 how many.
WITH gone AS (
    DELETE FROM attachments WHERE request_id IN (
        SELECT request_id FROM attachments
        WHERE request_id < rpad(
            lpad(to_hex(greatest((now() AT TIME ZONE 'UTC')::date - $1::integer - date 'epoch', 0) * 86400000::bigint), 12, '0'),
            32, '0'
        )::uuid
        ORDER BY request_id LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM gone;
