-- name: find_key
-- A key with its caller's tenant, and whether one session of it has ended. $1 key id, $2 session or null.
SELECT k.key_id, k.digest, k.caller, c.tenant, k.roles, k.granted,
       extract(epoch FROM k.expires_at)::double precision AS expires_at,
       k.revoked_at IS NOT NULL AS revoked,
       EXISTS (SELECT FROM ended_sessions AS e WHERE e.session = $2) AS ended
FROM keys AS k JOIN callers AS c USING (caller) WHERE k.key_id = $1;

-- name: add_key
-- Add a key, and its caller if that is new; nothing when the caller is of another tenant.
-- $1 key id, $2 caller, $3 tenant, $4 digest, $5 roles, $6 what is granted, $7 note, $8 its end or null.
WITH who AS (
    INSERT INTO callers (caller, tenant) VALUES ($2, $3)
    ON CONFLICT (caller) DO UPDATE SET caller = excluded.caller
    RETURNING caller, tenant
)
INSERT INTO keys (key_id, caller, digest, roles, granted, note, expires_at)
SELECT $1, who.caller, $4, $5::text[], $6::jsonb, $7, $8::timestamptz FROM who WHERE who.tenant = $3
RETURNING created_at;

-- name: list_keys
-- Every key, or those of one caller, the oldest first; never the digest. $1 caller or null, $2 key id or null.
SELECT k.key_id, k.caller, c.tenant, k.roles, k.granted, k.note, k.created_at, k.expires_at, k.revoked_at
FROM keys AS k JOIN callers AS c USING (caller)
WHERE ($1::text IS NULL OR k.caller = $1) AND ($2::text IS NULL OR k.key_id = $2)
ORDER BY k.caller, k.created_at, k.key_id;

-- name: revoke_key
-- Make a key worth nothing from now on; when it was first revoked stays. $1 key id.
UPDATE keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 RETURNING key_id;

-- name: end_key
-- Let a key end then, unless it ends sooner. $1 key id, $2 when.
UPDATE keys SET expires_at = least(expires_at, $2::timestamptz) WHERE key_id = $1;

-- name: end_session
-- Note that a session is over, and forget those whose cookies are worth nothing any more. $1 session, $2 its end.
WITH past AS (DELETE FROM ended_sessions WHERE ends_at < now())
INSERT INTO ended_sessions (session, ends_at) VALUES ($1, to_timestamp($2)) ON CONFLICT (session) DO NOTHING;
