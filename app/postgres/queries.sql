-- name: create_migrations_table
-- The list of applied migrations; made by the first migration that ever runs.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: lock_migrations
-- Wait until no other server migrates this database; the lock ends with the connection. $1 key.
SELECT pg_advisory_lock($1);

-- name: list_migrations
-- What was applied, in order.
SELECT version, name, checksum FROM schema_migrations ORDER BY version;

-- name: add_migration
-- Remember that a migration was applied. $1 version, $2 name, $3 checksum.
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3);

-- name: write_runs
-- Store a batch of openings and closings in one statement, hence in one transaction. A run that is there in the same
-- or a later version is left alone, with its lanes and payload. Returns how many runs were written.
-- $1 runs, $2 lanes and $3 payloads as JSON arrays, each run once; $4 the compressed logs, in the order of $3.
WITH written AS (
    INSERT INTO runs AS r (
        run_id, created_at, version, caller, instance, status, reason, policy, source, source_run_id, fingerprint,
        deadline_ms, final_lane, verified, change, agreement, latency_ms, cost_usd, usage,
        experiment, variant, prompt_class, tags
    )
    SELECT
        run_id, created_at, version, caller, instance, status, reason, policy, source, source_run_id, fingerprint,
        deadline_ms, final_lane, coalesce(verified, false), change, agreement, latency_ms, cost_usd, usage,
        experiment, variant, prompt_class, tags
    FROM json_to_recordset($1::json) AS entry (
        run_id uuid, created_at timestamptz, version integer, caller text, instance text, status text, reason text,
        policy text, source text, source_run_id uuid, fingerprint text, deadline_ms integer, final_lane text,
        verified boolean, change text, agreement jsonb, latency_ms double precision, cost_usd double precision,
        usage jsonb, experiment text, variant text, prompt_class text, tags text[]
    )
    ON CONFLICT (run_id) DO UPDATE SET
        updated_at = now(), version = EXCLUDED.version, status = EXCLUDED.status, reason = EXCLUDED.reason,
        source_run_id = EXCLUDED.source_run_id, final_lane = EXCLUDED.final_lane, verified = EXCLUDED.verified,
        change = EXCLUDED.change, agreement = EXCLUDED.agreement, latency_ms = EXCLUDED.latency_ms,
        cost_usd = EXCLUDED.cost_usd, usage = EXCLUDED.usage
    WHERE r.version < EXCLUDED.version AND r.caller = EXCLUDED.caller
    RETURNING r.run_id
), lanes AS (
    INSERT INTO legs (
        run_id, lane, model, outcome, reason, message, retryable, finish_reason, model_version, ttft_ms, latency_ms,
        input_tokens, output_tokens, thinking_tokens, cached_tokens, usage_source, cost_usd
    )
    SELECT
        run_id, lane, model, outcome, reason, message, retryable, finish_reason, model_version, ttft_ms, latency_ms,
        input_tokens, output_tokens, thinking_tokens, cached_tokens, usage_source, cost_usd
    FROM json_to_recordset($2::json) AS entry (
        run_id uuid, lane text, model text, outcome text, reason text, message text, retryable boolean,
        finish_reason text, model_version text, ttft_ms double precision, latency_ms double precision,
        input_tokens bigint, output_tokens bigint, thinking_tokens bigint, cached_tokens bigint, usage_source text,
        cost_usd double precision
    )
    JOIN written USING (run_id)
    ON CONFLICT (run_id, lane) DO UPDATE SET
        model = EXCLUDED.model, outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, message = EXCLUDED.message,
        retryable = EXCLUDED.retryable, finish_reason = EXCLUDED.finish_reason,
        model_version = EXCLUDED.model_version, ttft_ms = EXCLUDED.ttft_ms, latency_ms = EXCLUDED.latency_ms,
        input_tokens = EXCLUDED.input_tokens, output_tokens = EXCLUDED.output_tokens,
        thinking_tokens = EXCLUDED.thinking_tokens, cached_tokens = EXCLUDED.cached_tokens,
        usage_source = EXCLUDED.usage_source, cost_usd = EXCLUDED.cost_usd
), payloads AS (
    INSERT INTO run_payloads (run_id, question, texts, log, at_ms)
    SELECT run_id, question, texts, log, at_ms
    FROM ROWS FROM (
        json_to_recordset($3::json) AS (run_id uuid, question jsonb, texts jsonb, at_ms integer[]),
        unnest($4::bytea[])
    ) AS entry (run_id, question, texts, at_ms, log)
    JOIN written USING (run_id)
    ON CONFLICT (run_id) DO UPDATE SET texts = EXCLUDED.texts, log = EXCLUDED.log, at_ms = EXCLUDED.at_ms
)
SELECT count(*) FROM written;

-- name: list_runs
-- A page of one caller's runs, newest first, each with its lanes. Every filter that is null lets everything pass.
-- $1 caller, $2 limit, $3 and $4 only runs before this (created_at, run_id), $5 since, $6 until, $7 status, $8 outcome
-- of a lane, $9 experiment, $10 variant, $11 prompt_class, $12 model of a lane, $13 source, $14 agreement, $15 least
-- latency_ms, $16 tag.
SELECT r.*, l.lanes
FROM runs AS r
LEFT JOIN LATERAL (SELECT json_object_agg(legs.lane, to_json(legs)) AS lanes FROM legs WHERE legs.run_id = r.run_id) AS l
    ON true
WHERE r.caller = $1
  AND (r.created_at, r.run_id) < (
      coalesce($3::timestamptz, 'infinity'), coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
  AND r.created_at >= coalesce($5::timestamptz, '-infinity')
  AND r.created_at < coalesce($6::timestamptz, 'infinity')
  AND ($7::text IS NULL OR r.status = $7)
  AND ($8::text IS NULL OR EXISTS (SELECT FROM legs WHERE legs.run_id = r.run_id AND legs.outcome = $8))
  AND ($9::text IS NULL OR r.experiment = $9)
  AND ($10::text IS NULL OR r.variant = $10)
  AND ($11::text IS NULL OR r.prompt_class = $11)
  AND ($12::text IS NULL OR EXISTS (SELECT FROM legs WHERE legs.run_id = r.run_id AND legs.model = $12))
  AND ($13::text IS NULL OR r.source = $13)
  AND ($14::text IS NULL OR r.agreement ->> 'verdict' = $14)
  AND ($15::double precision IS NULL OR r.latency_ms >= $15)
  AND ($16::text IS NULL OR $16 = ANY (r.tags))
ORDER BY r.created_at DESC, r.run_id DESC
LIMIT $2;

-- name: get_run
-- One run of one caller with its lanes and payload. $1 caller, $2 run_id.
SELECT r.*, l.lanes, p.question, p.texts, p.at_ms
FROM runs AS r
LEFT JOIN LATERAL (SELECT json_object_agg(legs.lane, to_json(legs)) AS lanes FROM legs WHERE legs.run_id = r.run_id) AS l
    ON true
LEFT JOIN run_payloads AS p ON p.run_id = r.run_id
WHERE r.caller = $1 AND r.run_id = $2;

-- name: get_log
-- The event log of one run of one caller, null while there is none. $1 caller, $2 run_id.
SELECT r.created_at, r.deadline_ms, r.status, r.reason, r.fingerprint, p.log
FROM runs AS r
LEFT JOIN run_payloads AS p ON p.run_id = r.run_id
WHERE r.caller = $1 AND r.run_id = $2;

-- name: close_interrupted
-- Say of every run that is still open, from before $1, that it was interrupted. The version stays, so that an outcome
-- which arrives late still replaces this. Returns how many there were. Over all callers: it is the server's own doing.
WITH closed AS (
    UPDATE runs SET status = 'failed', reason = 'interrupted', updated_at = now()
    WHERE status = 'running' AND created_at < $1
    RETURNING run_id
), ended AS (
    UPDATE legs SET outcome = 'failed', reason = 'interrupted'
    FROM closed WHERE legs.run_id = closed.run_id AND legs.outcome IS NULL
)
SELECT count(*) FROM closed;
