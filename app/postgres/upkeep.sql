-- name: beat
-- Say that a server lives. $1 instance.
INSERT INTO instances (instance) VALUES ($1) ON CONFLICT (instance) DO UPDATE SET beat_at = now();

-- name: sweep
-- Say of open runs that they were interrupted when neither they nor their server were heard of for a while, by this
-- database's clock. One server does it at a time; it returns how many it found, null when another one is at it.
-- $1 seconds of silence, $2 key of the lock, $3 at most so many.
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock($2) AS mine
), silent AS (
    SELECT r.run_id FROM runs AS r
    WHERE (SELECT mine FROM turn)
      AND r.status = 'running'
      AND r.updated_at < now() - make_interval(secs => $1)
      AND NOT EXISTS (
          SELECT FROM instances AS i WHERE i.instance = r.instance AND i.beat_at >= now() - make_interval(secs => $1)
      )
    ORDER BY r.run_id
    LIMIT $3
    FOR UPDATE
), closed AS (
    UPDATE runs AS r SET status = 'failed', reason = 'interrupted', version = 2, content_hash = NULL, updated_at = now()
    FROM silent WHERE r.run_id = silent.run_id AND r.status = 'running'
    RETURNING r.run_id, r.caller, r.created_at
), ended AS (
    UPDATE legs SET outcome = 'failed', reason = 'interrupted'
    FROM closed WHERE legs.run_id = closed.run_id AND legs.outcome IS NULL
), dirty AS (
    INSERT INTO rollup_dirty (caller, hour)
    SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM closed
)
SELECT CASE WHEN (SELECT mine FROM turn) THEN (SELECT count(*) FROM closed) END;

-- name: try_turn
-- Whether it is our turn, until the end of the transaction. $1 key.
SELECT pg_try_advisory_xact_lock($1);

-- name: wait_briefly
-- Nobody queues behind us for long: a lock that is not to be had at once, as while an export or a backup reads, is tried for
-- another time. Who writes a record waits for less than the end of a run does.
SET LOCAL lock_timeout = '100ms';

-- name: list_partitions
-- The partitions of a table that have a day. $1 the table.
SELECT c.relname::text AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass AND c.relname ~ '_[0-9]{8}$'
ORDER BY 2;

-- name: today
-- The day it is in UTC, by this database's clock.
SELECT (now() AT TIME ZONE 'UTC')::date;

-- name: make_partition
-- A partition of one day, with what the default partition has of that day. {table}, {name}, {day}, {next}: ours alone.
LOCK TABLE {table}_other IN ACCESS EXCLUSIVE MODE;
CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
WITH moved AS (
    DELETE FROM {table}_other WHERE created_at >= '{day} 00:00+00' AND created_at < '{next} 00:00+00' RETURNING *
)
INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00');

-- name: store_logs_outside
-- Logs are compressed already: kept out of line as they are. {name}: ours alone.
ALTER TABLE {name} ALTER COLUMN log SET STORAGE EXTERNAL;

-- name: drop_partition
-- Forget a whole day. {name}: ours alone.
DROP TABLE {name};

-- name: delete_others
-- Forget rows of a default partition that are older than so many days, some at a time. {table}: ours alone. $1 days, $2 how many.
WITH gone AS (
    DELETE FROM {table}_other WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {table}_other
        WHERE created_at < ((now() AT TIME ZONE 'UTC')::date - $1::integer)::timestamp AT TIME ZONE 'UTC' LIMIT $2
    ))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_runs
-- Forget runs older than so many days with all that belongs to them, some at a time, the oldest first: the time is inside
-- the key. By whole days, as their texts go. $1 days, $2 how many.
WITH gone AS (
    DELETE FROM runs WHERE run_id IN (
        SELECT run_id FROM runs
        WHERE run_id < rpad(
            lpad(to_hex(greatest((now() AT TIME ZONE 'UTC')::date - $1::integer - date 'epoch', 0) * 86400000::bigint), 12, '0'),
            32, '0'
        )::uuid
        ORDER BY run_id LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING caller, created_at
), dirty AS (
    INSERT INTO rollup_dirty (caller, hour) SELECT DISTINCT caller, date_bin('1 hour', created_at, 'epoch') FROM gone
)
SELECT count(*) FROM gone;

-- name: delete_answers
-- Forget answers that have expired, some at a time, those that did so first. $1 how many.
WITH gone AS (
    DELETE FROM answers WHERE (scope, fingerprint) IN (
        SELECT scope, fingerprint FROM answers WHERE expires_at <= now()
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_letters
-- Forget dead letters older than so many days, some at a time. $1 days, $2 how many.
WITH gone AS (
    DELETE FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters WHERE created_at < now() - make_interval(days => $1) ORDER BY id LIMIT $2
    )
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_instances
-- Forget servers that were not heard of for so many days. $1 days.
DELETE FROM instances WHERE beat_at < now() - make_interval(days => $1);
