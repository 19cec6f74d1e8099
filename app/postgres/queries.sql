-- name: create_migrations_table
-- The list of applied migrations; made by the first migration that ever runs.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: lock_migrations
-- Wait until no other server migrates this database; the lock ends with the transaction. $1 key.
SELECT pg_advisory_xact_lock($1);

-- name: list_migrations
-- What was applied, in order.
SELECT version, name, checksum FROM schema_migrations ORDER BY version;

-- name: add_migration
-- Remember that a migration was applied. $1 version, $2 name, $3 checksum.
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3);

-- name: write_runs
-- Store a batch of entries in one statement, hence in one transaction, and mark the hours they touch for the roll-ups. A
-- run that is there in the same or a later version is left alone with all that belongs to it. Returns the runs written.
-- $1 runs, $2 lanes and $3 payloads as JSON arrays, each run once; $4 the runs with a log, $5 their logs, compressed,
-- $6 the times of their events, written as arrays.
WITH written AS (
    INSERT INTO runs AS r (
        run_id, created_at, version, content_hash, caller, instance, status, reason, policy, source, source_run_id,
        idempotency_key, fingerprint, deadline_ms, final_lane, verified, change, agreement, latency_ms, cost_nano,
        saved_nano, usage, content, experiment, variant, prompt_class, tags
    )
    SELECT
        run_id, created_at, version, decode(content_hash, 'hex'), caller, instance, status, reason, policy, source,
        source_run_id, idempotency_key, fingerprint, deadline_ms, final_lane, coalesce(verified, false), change,
        agreement, latency_ms, cost_nano, saved_nano, usage, content, experiment, variant, prompt_class, tags
    FROM json_to_recordset($1::json) AS entry (
        run_id uuid, created_at timestamptz, version integer, content_hash text, caller text, instance text,
        status text, reason text, policy text, source text, source_run_id uuid, idempotency_key text,
        fingerprint text, deadline_ms integer, final_lane text, verified boolean, change text, agreement jsonb,
        latency_ms double precision, cost_nano bigint, saved_nano bigint, usage jsonb, content jsonb, experiment text,
        variant text, prompt_class text, tags text[]
    )
    ON CONFLICT (run_id) DO UPDATE SET
        updated_at = now(), version = EXCLUDED.version, content_hash = EXCLUDED.content_hash, status = EXCLUDED.status,
        reason = EXCLUDED.reason, source_run_id = EXCLUDED.source_run_id, final_lane = EXCLUDED.final_lane,
        verified = EXCLUDED.verified, change = EXCLUDED.change, agreement = EXCLUDED.agreement,
        latency_ms = EXCLUDED.latency_ms, cost_nano = EXCLUDED.cost_nano, saved_nano = EXCLUDED.saved_nano,
        usage = EXCLUDED.usage, content = EXCLUDED.content
    WHERE r.version < EXCLUDED.version AND r.caller = EXCLUDED.caller
    RETURNING r.run_id, r.caller, r.created_at, r.version, r.agreement, r.tags, r.content
), lanes AS (
    INSERT INTO legs AS g (
        run_id, lane, attempt, caller, created_at, model, outcome, reason, message, retryable, finish_reason,
        model_version, ttft_ms, latency_ms, censored, input_tokens, output_tokens, thinking_tokens, cached_tokens,
        usage_source, cost_nano, input_nano, output_nano, cached_nano, price_version
    )
    SELECT
        run_id, lane, attempt, written.caller, written.created_at, model, outcome, reason, message, retryable,
        finish_reason, model_version, ttft_ms, latency_ms, coalesce(outcome IN ('cancelled', 'timeout'), false),
        input_tokens, output_tokens, thinking_tokens, cached_tokens, usage_source, cost_nano, input_nano, output_nano,
        cached_nano, price_version
    FROM json_to_recordset($2::json) AS entry (
        run_id uuid, lane text, attempt smallint, model text, outcome text, reason text, message text,
        retryable boolean, finish_reason text, model_version text, ttft_ms double precision,
        latency_ms double precision, input_tokens bigint, output_tokens bigint, thinking_tokens bigint,
        cached_tokens bigint, usage_source text, cost_nano bigint, input_nano double precision,
        output_nano double precision, cached_nano double precision, price_version text
    )
    JOIN written USING (run_id)
    ON CONFLICT (run_id, lane, attempt) DO UPDATE SET
        model = EXCLUDED.model, outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, message = EXCLUDED.message,
        retryable = EXCLUDED.retryable, finish_reason = EXCLUDED.finish_reason,
        model_version = EXCLUDED.model_version, ttft_ms = EXCLUDED.ttft_ms, latency_ms = EXCLUDED.latency_ms,
        censored = EXCLUDED.censored, input_tokens = EXCLUDED.input_tokens, output_tokens = EXCLUDED.output_tokens,
        thinking_tokens = EXCLUDED.thinking_tokens, cached_tokens = EXCLUDED.cached_tokens,
        usage_source = EXCLUDED.usage_source, cost_nano = EXCLUDED.cost_nano, input_nano = EXCLUDED.input_nano,
        output_nano = EXCLUDED.output_nano, cached_nano = EXCLUDED.cached_nano, price_version = EXCLUDED.price_version
    WHERE EXCLUDED.reason IS DISTINCT FROM 'interrupted' OR g.outcome IS NULL
    RETURNING g.run_id, g.lane, g.attempt
), first_attempts AS (  -- the opening told of one; the lane that ended says how many there were
    DELETE FROM legs AS g
    USING lanes AS l
    WHERE l.attempt > 1 AND g.run_id = l.run_id AND g.lane = l.lane AND g.attempt < l.attempt AND g.outcome IS NULL
), payloads AS (
    INSERT INTO run_payloads AS p (run_id, created_at, question, texts)
    SELECT run_id, written.created_at, question, texts
    FROM json_to_recordset($3::json) AS entry (run_id uuid, question jsonb, texts jsonb)
    JOIN written USING (run_id)
    ON CONFLICT (run_id, created_at) DO UPDATE SET
        question = EXCLUDED.question, texts = coalesce(EXCLUDED.texts, p.texts)
    WHERE p.run_id NOT IN (  -- an entry that lost its payload on the way takes nothing from an earlier one
        SELECT w.run_id FROM written AS w WHERE w.content -> 'cut' ? 'payload'
    )
), logs AS (
    INSERT INTO run_logs (run_id, created_at, log, at_ms)
    SELECT run_id, written.created_at, log, at_ms::integer[]
    FROM unnest($4::text[]::uuid[], $5::bytea[], $6::text[]) AS entry (run_id, log, at_ms)
    JOIN written USING (run_id)
    ON CONFLICT (run_id, created_at) DO UPDATE SET log = EXCLUDED.log, at_ms = EXCLUDED.at_ms
), judged AS (
    INSERT INTO comparisons AS c (run_id, version, verdict, method, similarity)
    SELECT run_id, (agreement ->> 'version')::integer, agreement ->> 'verdict', agreement ->> 'method',
           (agreement ->> 'similarity')::double precision
    FROM written WHERE agreement ->> 'verdict' IS NOT NULL
    ON CONFLICT (run_id, version) DO UPDATE SET
        verdict = EXCLUDED.verdict, method = EXCLUDED.method, similarity = EXCLUDED.similarity, compared_at = now()
), tagged AS (
    INSERT INTO run_tags (run_id, tag, caller, created_at)
    SELECT run_id, tag, caller, created_at FROM written, unnest(tags) AS tag
    ON CONFLICT (run_id, tag) DO NOTHING
), dirty AS (
    INSERT INTO rollup_dirty (caller, hour)
    SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM written
)
SELECT run_id::text FROM written;

-- name: look_at_runs
-- What is there of these runs now, whoever's they are: the store tells duplicates from conflicts by it. $1 run_ids.
SELECT run_id::text, version, content_hash, caller FROM runs WHERE run_id = ANY ($1::uuid[]);

-- name: bury_letters
-- Keep entries that could not become rows; one that is there already stays as it is. $1 to $6: columns of equal length.
INSERT INTO dead_letters (digest, run_id, version, reason, error, encoded)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::bytea[])
ON CONFLICT (digest, reason) DO NOTHING;

-- name: get_run
-- One run of one caller with its payload and the last attempt of each lane. $1 caller, $2 run_id.
SELECT r.*, l.lanes, p.question, p.texts, g.at_ms
FROM runs AS r
LEFT JOIN LATERAL (
    SELECT json_object_agg(legs.lane, to_json(legs) ORDER BY legs.attempt) AS lanes FROM legs WHERE legs.run_id = r.run_id
) AS l ON true
LEFT JOIN run_payloads AS p ON p.run_id = r.run_id AND p.created_at = r.created_at
LEFT JOIN run_logs AS g ON g.run_id = r.run_id AND g.created_at = r.created_at
WHERE r.caller = $1 AND r.run_id = $2;

-- name: saved_of_run
-- What a replay saved, in nano-dollars, null for other runs and where it is not known. $1 caller, $2 run_id.
SELECT saved_nano FROM runs WHERE caller = $1 AND run_id = $2;

-- name: get_log
-- The event log of a run, null while there is none, for the caller who opened it and for those who shared it.
-- $1 caller, $2 run_id.
SELECT r.created_at, r.deadline_ms, r.status, r.reason, r.fingerprint, g.log
FROM runs AS r
LEFT JOIN run_logs AS g ON g.run_id = r.run_id AND g.created_at = r.created_at
WHERE r.run_id = $2
  AND (r.caller = $1 OR EXISTS (SELECT FROM attachments AS a WHERE a.run_id = r.run_id AND a.caller = $1));

-- name: run_by_key
-- The run that an idempotency key of one caller was last used for, opened with it or shared. $1 caller, $2 hash of the
-- key, $3 since when it counts.
SELECT run_id::text, fingerprint
FROM (
    (
        SELECT run_id, fingerprint, created_at FROM runs
        WHERE caller = $1 AND idempotency_key = $2 AND created_at >= $3
        ORDER BY created_at DESC LIMIT 1
    )
    UNION ALL
    (
        SELECT run_id, fingerprint, created_at FROM attachments
        WHERE caller = $1 AND idempotency_key = $2 AND created_at >= $3
        ORDER BY created_at DESC LIMIT 1
    )
) AS used
ORDER BY created_at DESC LIMIT 1;
