-- name: payloads_of_runs
-- What was asked and said in some runs of one caller, where it is still kept. $1 caller, $2 run_ids.
SELECT r.run_id, p.question, p.texts, g.at_ms
FROM runs AS r
JOIN run_payloads AS p ON p.run_id = r.run_id AND p.created_at = r.created_at
LEFT JOIN run_logs AS g ON g.run_id = r.run_id AND g.created_at = r.created_at
WHERE r.caller = $1 AND r.run_id = ANY ($2::uuid[]);

-- name: end_when_idle
-- Give up a reader of an export that takes nothing for so long; of this transaction alone, which a pooler lets pass.
SET LOCAL idle_in_transaction_session_timeout = '5min';

-- name: export_runs
-- One caller's runs, newest first, with the last attempt of each lane; for a cursor. $1 caller, $2 whether with payloads;
-- {wanted}: the conditions that are asked for.
SELECT r.*, l.lanes, p.question, p.texts, NULL::integer[] AS at_ms
FROM runs AS r
LEFT JOIN LATERAL (
    SELECT json_object_agg(legs.lane, to_json(legs) ORDER BY legs.attempt) AS lanes FROM legs WHERE legs.run_id = r.run_id
) AS l ON true
LEFT JOIN run_payloads AS p ON $2::boolean AND p.run_id = r.run_id AND p.created_at = r.created_at
WHERE r.caller = $1 AND {wanted}
ORDER BY r.created_at DESC, r.run_id DESC;

-- name: count_verdicts
-- How often the two answers said the same, by class; sums beside the counts of what they are over. A wait is how much
-- longer the slow lane took, the head start the same but 0 where it was first.
-- $1 caller; {wanted}: the conditions that are asked for.
SELECT prompt_class,
       count(*) FILTER (WHERE verdict = 'agree') AS agree,
       count(*) FILTER (WHERE verdict = 'disagree') AS disagree,
       count(*) FILTER (WHERE verdict = 'unknown') AS unknown,
       count(wait_ms) AS waits,
       coalesce(sum(wait_ms), 0) AS wait_ms,
       count(wait_ms) FILTER (WHERE verdict = 'disagree') AS waits_on_change,
       coalesce(sum(wait_ms) FILTER (WHERE verdict = 'disagree'), 0) AS wait_on_change_ms,
       coalesce(sum(greatest(wait_ms, 0)) FILTER (WHERE verdict = 'agree'), 0) AS head_start_ms,
       count(fast_nano) AS fast_costs,
       coalesce(sum(fast_nano), 0)::double precision AS fast_nano,
       count(slow_nano) AS slow_costs,
       coalesce(sum(slow_nano), 0)::double precision AS slow_nano
FROM (
    SELECT r.prompt_class, r.agreement ->> 'verdict' AS verdict, slow.latency_ms - fast.latency_ms AS wait_ms,
           fast.cost_nano AS fast_nano, slow.cost_nano AS slow_nano
    FROM runs AS r
    LEFT JOIN legs AS fast ON fast.run_id = r.run_id AND fast.lane = 'fast' AND fast.outcome = 'completed'
    LEFT JOIN legs AS slow ON slow.run_id = r.run_id AND slow.lane = 'slow' AND slow.outcome = 'completed'
    WHERE r.caller = $1
      AND r.agreement IS NOT NULL
      AND {wanted}
) AS compared
GROUP BY prompt_class;

-- name: count_judged
-- What feedback says of the answers of runs that have a verdict, by class and verdict.
-- $1 caller; {wanted}: the conditions that are asked for.
SELECT r.prompt_class, r.agreement ->> 'verdict' AS verdict, f.fast_correct, f.slow_correct, count(*) AS n
FROM (
    SELECT run_id,
           bool_or(value = 'true') FILTER (WHERE name = 'fast_correct' AND jsonb_typeof(value) = 'boolean') AS fast_correct,
           bool_or(value = 'true') FILTER (WHERE name = 'slow_correct' AND jsonb_typeof(value) = 'boolean') AS slow_correct
    FROM feedback WHERE name IN ('fast_correct', 'slow_correct')
    GROUP BY run_id
) AS f
JOIN runs AS r ON r.run_id = f.run_id
WHERE r.caller = $1
  AND r.agreement IS NOT NULL
  AND {wanted}
GROUP BY 1, 2, 3, 4;

-- name: wait_quantiles
-- The median and the 95th percentile of how much longer the slow lane took, by class, and over all (whole) of them.
-- $1 caller; {wanted}: the conditions that are asked for.
SELECT r.prompt_class,
       grouping(r.prompt_class) = 1 AS whole,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY slow.latency_ms - fast.latency_ms) AS quantiles
FROM runs AS r
JOIN legs AS fast ON fast.run_id = r.run_id AND fast.lane = 'fast' AND fast.outcome = 'completed'
JOIN legs AS slow ON slow.run_id = r.run_id AND slow.lane = 'slow' AND slow.outcome = 'completed'
WHERE r.caller = $1
  AND r.agreement IS NOT NULL
  AND fast.latency_ms IS NOT NULL
  AND slow.latency_ms IS NOT NULL
  AND {wanted}
GROUP BY GROUPING SETS ((r.prompt_class), ());

-- name: lane_times
-- How long one lane took, in whole milliseconds, and how its attempts ended: finished, censored, or failed otherwise.
-- $1 caller, $2 lane, $3 whether the first token is meant and not the end; {wanted}: the conditions that are asked for.
SELECT CASE WHEN NOT timed.finished AND NOT l.censored THEN 'failed'
            WHEN timed.finished THEN 'finished'
            ELSE 'censored' END AS ended,
       round(CASE WHEN timed.finished AND $3::boolean THEN l.ttft_ms ELSE l.latency_ms END) AS ms,
       count(*) AS n
FROM runs AS r
JOIN legs AS l ON l.run_id = r.run_id AND l.lane = $2 AND l.outcome IS NOT NULL
CROSS JOIN LATERAL (
    SELECT CASE WHEN $3::boolean THEN l.ttft_ms IS NOT NULL ELSE l.outcome = 'completed' END AS finished
) AS timed
WHERE r.caller = $1
  AND {wanted}
GROUP BY 1, 2;

-- name: outcomes_of_variants
-- One row a run of two variants of an experiment, newest first: its question as a hash, null where the question is not
-- kept, and what was measured, null where it was not. $1 caller, $2 since, $3 until, $4 experiment, $5 and $6 variants,
-- $7 limit, $8 prompt_class, $9 metric, $10 lane or run.
SELECT r.variant,
       CASE WHEN p.question #>> '{messages,-1,content}' <> ''
            THEN sha256(convert_to((p.question -> 'messages')::text, 'UTF8')) END AS question,
       CASE $9::text
           WHEN 'correct' THEN CASE WHEN jsonb_typeof(said.value) = 'boolean' THEN said.value::boolean::int END
           WHEN 'agreement' THEN CASE r.agreement ->> 'verdict' WHEN 'agree' THEN 1 WHEN 'disagree' THEN 0 END
           WHEN 'latency' THEN CASE WHEN $10 = 'run' THEN r.latency_ms ELSE l.latency_ms END
           WHEN 'ttft' THEN l.ttft_ms
           WHEN 'cost' THEN CASE WHEN $10 = 'run' THEN r.cost_nano ELSE l.cost_nano END / 1e9::double precision
       END::double precision AS value
FROM runs AS r
LEFT JOIN LATERAL (
    SELECT min(legs.ttft_ms) AS ttft_ms,
           min(legs.latency_ms) FILTER (WHERE legs.outcome = 'completed') AS latency_ms,
           CASE WHEN count(legs.cost_nano) = count(*) THEN sum(legs.cost_nano) END AS cost_nano
    FROM legs WHERE legs.run_id = r.run_id AND ($10 = 'run' OR legs.lane = $10)
) AS l ON $9 IN ('latency', 'ttft', 'cost')
LEFT JOIN feedback AS said ON said.run_id = r.run_id
    AND said.name = CASE WHEN $10 = 'run' THEN r.final_lane ELSE $10 END || '_correct'
LEFT JOIN run_payloads AS p ON p.run_id = r.run_id AND p.created_at = r.created_at
WHERE r.caller = $1
  AND r.created_at >= coalesce($2::timestamptz, '-infinity')
  AND r.created_at < coalesce($3::timestamptz, 'infinity')
  AND r.experiment = $4
  AND r.variant IN ($5, $6)
  AND ($8::text IS NULL OR r.prompt_class = $8)
  AND r.status <> 'running'
  AND r.source <> 'cache'
ORDER BY r.created_at DESC, r.run_id DESC
LIMIT $7;

-- name: put_feedback
-- Say something about one run of one caller; said again, it changes nothing. No row: the caller has no such run, or the
-- run has as many names as it may have. $1 caller, $2 run_id, $3 name, $4 value, $5 comment, $6 how many names.
INSERT INTO feedback AS f (run_id, name, value, comment)
SELECT r.run_id, $3, $4::jsonb, $5
FROM runs AS r
WHERE r.caller = $1 AND r.run_id = $2
  AND (SELECT count(*) FROM feedback AS other WHERE other.run_id = r.run_id AND other.name <> $3) < $6
ON CONFLICT (run_id, name) DO UPDATE SET
    value = EXCLUDED.value, comment = EXCLUDED.comment,
    updated_at = CASE WHEN (f.value, f.comment) IS DISTINCT FROM (EXCLUDED.value, EXCLUDED.comment)
                      THEN now() ELSE f.updated_at END
RETURNING f.name, f.value, f.comment, f.created_at, f.updated_at;

-- name: delete_feedback
-- Take back what was said about one run of one caller; harmless when it was never said. $1 caller, $2 run_id, $3 name.
DELETE FROM feedback AS f USING runs AS r WHERE r.caller = $1 AND r.run_id = $2 AND f.run_id = r.run_id AND f.name = $3;

-- name: feedback_of_run
-- Whether the caller has this run, and what was said about it: one row with no name when nothing was. $1 caller, $2 run_id.
SELECT f.name, f.value, f.comment, f.created_at, f.updated_at
FROM runs AS r
LEFT JOIN feedback AS f ON f.run_id = r.run_id
WHERE r.caller = $1 AND r.run_id = $2
ORDER BY f.name;

-- name: put_feedback_of_many
-- Say something about many runs of one caller at once; said again, it changes nothing. Runs that the caller has not are
-- passed over. Each run and name once. Returns how much was new or changed. $1 caller, $2 run_ids, $3 names, $4 values as JSON.
WITH said AS (
    INSERT INTO feedback AS f (run_id, name, value)
    SELECT r.run_id, wanted.name, wanted.value::jsonb
    FROM unnest($2::uuid[], $3::text[], $4::text[]) AS wanted (run_id, name, value)
    JOIN runs AS r ON r.run_id = wanted.run_id AND r.caller = $1
    ORDER BY r.run_id, wanted.name
    ON CONFLICT (run_id, name) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
    WHERE f.value IS DISTINCT FROM EXCLUDED.value
    RETURNING 1
)
SELECT count(*) FROM said;

-- name: first_import
-- When the first run of an experiment was imported, null when there is none: whatever time the run itself is given, which
-- may be that of its line. Nothing changes an imported run. $1 caller, $2 experiment.
SELECT min(r.updated_at) FROM runs AS r WHERE r.caller = $1 AND r.experiment = $2 AND r.source = 'import';
