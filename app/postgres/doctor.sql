-- name: look_at_server
-- The server's version and time, what the database can hold, and what our role may do in the schema it would write to.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       extract(epoch FROM clock_timestamp())::double precision AS now,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       to_regclass('schema_migrations') IS NOT NULL AS migrated;

-- name: look_at_rights
-- The tables of ours that our role may not read and write.
SELECT c.relname AS name
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
        AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY 1;
