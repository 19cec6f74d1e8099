-- name: get_answer
-- An answer that has not expired, by this database's clock. $1 scope, $2 fingerprint.
SELECT encoded FROM answers WHERE scope = $1 AND fingerprint = $2 AND expires_at > now();

-- name: put_answers
-- Store answers; of those to one question the one of the newest run stays, which a UUIDv7 tells. The order keeps two
-- writers from locking crosswise. Columns of equal length: $1 scopes, $2 fingerprints, $3 run_ids, $4 expiries in Unix
-- time, $5 the encoded answers.
INSERT INTO answers AS a (scope, fingerprint, run_id, expires_at, encoded)
SELECT DISTINCT ON (scope, fingerprint) scope, fingerprint, run_id::uuid, to_timestamp(expires_at), encoded
FROM unnest($1::text[], $2::text[], $3::text[], $4::double precision[], $5::bytea[])
    AS entry (scope, fingerprint, run_id, expires_at, encoded)
ORDER BY scope, fingerprint, run_id::uuid DESC, expires_at DESC
ON CONFLICT (scope, fingerprint) DO UPDATE SET
    run_id = EXCLUDED.run_id, created_at = now(), expires_at = EXCLUDED.expires_at, encoded = EXCLUDED.encoded
WHERE a.run_id < EXCLUDED.run_id OR a.expires_at < EXCLUDED.expires_at AND a.run_id = EXCLUDED.run_id
    OR a.expires_at <= now();

-- name: remove_answer
-- Forget one answer; how many there were that had not expired. $1 scope, $2 fingerprint.
WITH gone AS (
    DELETE FROM answers WHERE scope = $1 AND fingerprint = $2 RETURNING expires_at
)
SELECT count(*) FILTER (WHERE expires_at > now()) FROM gone;

-- name: clear_answers
-- Forget all answers of a scope, or all; how many there were that had not expired. $1 scope, null for all.
WITH gone AS (
    DELETE FROM answers WHERE $1::text IS NULL OR scope = $1 RETURNING expires_at
)
SELECT count(*) FILTER (WHERE expires_at > now()) FROM gone;

-- name: size_of_answers
-- How many answers have not expired, and their bytes.
SELECT count(*) AS entries, coalesce(sum(octet_length(encoded)), 0)::bigint AS bytes FROM answers WHERE expires_at > now();
