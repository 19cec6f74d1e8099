-- API keys, who holds them, and the sessions that were ended before their time.

-- A caller belongs to one tenant for good: everything that is recorded is found by the caller.
CREATE TABLE callers (
    caller text PRIMARY KEY,
    tenant text NOT NULL                         -- empty: none
);

CREATE TABLE keys (
    key_id     text PRIMARY KEY,                 -- stands in the key, and may be shown
    caller     text NOT NULL REFERENCES callers,
    digest     bytea NOT NULL,                   -- HMAC-SHA-256 of the key under the server's pepper
    roles      text[] NOT NULL,                  -- of 'ask', 'read', 'admin'
    granted    jsonb NOT NULL DEFAULT '{}',      -- limits, budget, content mode, cache scope; what is not there is the server's
    note       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX keys_of_caller ON keys (caller, created_at);

CREATE TABLE ended_sessions (
    session text PRIMARY KEY,                    -- its name, as the cookie has it
    ends_at timestamptz NOT NULL                 -- from when on the cookie is worth nothing by itself
);
CREATE INDEX ended_sessions_by_end ON ended_sessions (ends_at);
