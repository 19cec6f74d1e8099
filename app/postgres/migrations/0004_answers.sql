-- Answers that may be given again, who shared a run, and which run an idempotency key stands for.

CREATE TABLE answers (
    scope       text NOT NULL,                   -- within which it is shared: 'caller:...', 'tenant:...', 'global'
    fingerprint text NOT NULL,
    run_id      uuid NOT NULL,                   -- the run that is replayed
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    encoded     bytea NOT NULL,                  -- format, checksum, the answer compressed
    PRIMARY KEY (scope, fingerprint)
);
ALTER TABLE answers ALTER COLUMN encoded SET STORAGE EXTERNAL;
CREATE INDEX answers_by_expiry ON answers (expires_at);

-- Requests that attached to a run which an identical question had started.
CREATE TABLE attachments (
    request_id   uuid PRIMARY KEY,               -- a UUIDv7 made by the server
    created_at   timestamptz NOT NULL,           -- the time inside request_id
    run_id       uuid NOT NULL,                  -- the run that was shared; its row may come later
    caller       text NOT NULL,
    instance     text NOT NULL,
    fingerprint  text NOT NULL,
    experiment   text,
    variant      text,
    prompt_class text,
    tags         text[] NOT NULL DEFAULT '{}',
    idempotency_key text,                        -- SHA-256, in hex, of the key that the caller gave
    content_hash bytea NOT NULL                  -- SHA-256 of the entry that made this row
);
CREATE INDEX attachments_by_idempotency_key ON attachments (caller, idempotency_key, created_at DESC)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX attachments_newest_of_caller ON attachments (caller, created_at DESC, request_id DESC);
CREATE INDEX attachments_of_run ON attachments (run_id, caller);

ALTER TABLE runs
    ADD COLUMN idempotency_key text,             -- SHA-256, in hex, of the key that the caller gave
    ADD COLUMN saved_nano bigint;                -- of a replay: nano-dollars that the run it replays took
CREATE INDEX runs_by_idempotency_key ON runs (caller, idempotency_key, created_at DESC)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_by_fingerprint ON runs (fingerprint, created_at DESC);
