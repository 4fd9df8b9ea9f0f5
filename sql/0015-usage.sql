-- SPDX-License-Identifier: BSD-2-Clause
--
-- Usage: sums of each customer's mail by day, the base of reports and bills.  They are counted in the
-- transaction that copies the events, so each event counts once, and they outlive the events: what is needed of
-- an event is here when its day is dropped.  A row for each outcome, so that nothing has to be added when a new
-- verdict is; a customer that has been removed stays by its name.
CREATE TABLE postern.usage_daily (
    day date NOT NULL,                 -- of the service's time zone, as the node says
    customer_id integer NOT NULL,
    node integer NOT NULL,
    event text NOT NULL,               -- "message", "recipient-refused"
    class integer NOT NULL,            -- of the reply: 2 taken, 4 put off, 5 refused; 0: none is known
    verdict text NOT NULL,
    customer text NOT NULL,
    events bigint NOT NULL,
    recipients bigint NOT NULL,
    bytes bigint NOT NULL,
    kept_events bigint NOT NULL,       -- messages that were kept for some of their recipients, or for all
    kept_recipients bigint NOT NULL,
    PRIMARY KEY (day, customer_id, node, event, class, verdict)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX usage_daily_by_customer ON postern.usage_daily (customer, day);

-- The most that waited for a customer in a node's spool on a day of the service, as its keeper has seen it.
CREATE TABLE postern.usage_spool (
    day date NOT NULL,
    customer_id integer NOT NULL,
    node integer NOT NULL,
    customer text NOT NULL,
    peak_messages bigint NOT NULL,
    peak_bytes bigint NOT NULL,
    PRIMARY KEY (day, customer_id, node)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX usage_spool_by_customer ON postern.usage_spool (customer, day);

-- When a customer's servers took no mail while some waited for them, as the keeper of a node saw it.
CREATE TABLE postern.usage_outages (
    customer_id integer NOT NULL,
    node integer NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz, -- NULL: not yet
    customer text NOT NULL,
    PRIMARY KEY (customer_id, node, began_at)
);
CREATE INDEX usage_outages_by_time ON postern.usage_outages (began_at);
CREATE INDEX usage_outages_open ON postern.usage_outages (node) WHERE ended_at IS NULL;

DROP FUNCTION postern.events_copy(integer, text, bigint, bigint, text), postern.events_add(integer, text),
    postern.events_tend(interval);

-- Adds lines of a log, and counts them.  Day days[n] begins at starts[n] and ends at starts[n + 1]; what lies in
-- none of them counts on its day of UTC.  It fails with the first line that is no event.
CREATE FUNCTION postern.events_add(of_node integer, lines text, days date[], starts timestamptz[]) RETURNS void
LANGUAGE sql AS $$
    WITH added AS (
        INSERT INTO postern.events (at, node, kind, ref, customer_id, customer, verdict, client, sender, recipient_keys,
                                    message_id, detail)
        SELECT (e ->> 'at')::timestamptz, of_node, e ->> 'event', e ->> 'ref', (e ->> 'customer_id')::integer,
               e ->> 'customer', e ->> 'verdict', (e ->> 'client')::inet, lower(e ->> 'from'),
               -- event_recipient_keys, written out for speed
               CASE WHEN e ? 'rcpt' THEN
                   (SELECT array_agg(lower(address)) || array_agg(DISTINCT lower(substring(address FROM '@[^@]*$')))
                               FILTER (WHERE address LIKE '%@%')
                    FROM jsonb_array_elements_text(CASE jsonb_typeof(e -> 'rcpt') WHEN 'array' THEN e -> 'rcpt'
                                                   ELSE jsonb_build_array(e -> 'rcpt') END) address) END,
               e ->> 'message_id', e
        FROM (SELECT line::jsonb AS e FROM string_to_table(lines, E'\n') line WHERE line <> '' OFFSET 0) events
        RETURNING at, kind, customer_id, customer, verdict, detail),
    counted AS (
        SELECT coalesce(days[nullif(width_bucket(at, starts), 0)], (at AT TIME ZONE 'UTC')::date) AS day, customer_id, kind,
               CASE WHEN detail ->> 'reply' ~ '^[245]' THEN left(detail ->> 'reply', 1)::integer
                    WHEN verdict IN ('delivered', 'spooled') THEN 2 ELSE 0 END AS class,
               coalesce(verdict, '') AS verdict, coalesce(customer, '#' || customer_id) AS customer,
               CASE WHEN jsonb_typeof(detail -> 'rcpt') = 'array' THEN jsonb_array_length(detail -> 'rcpt')
                    ELSE 1 END AS recipients,
               coalesce((detail ->> 'size')::bigint, 0) AS bytes, (detail ->> 'kept')::bigint AS kept
        FROM added
        WHERE customer_id IS NOT NULL AND kind IN ('message', 'recipient-refused')
        OFFSET 0)
    INSERT INTO postern.usage_daily AS u (day, customer_id, node, event, class, verdict, customer, events, recipients,
                                          bytes, kept_events, kept_recipients)
    SELECT day, customer_id, of_node, kind, class, verdict, max(customer), count(*), sum(recipients), sum(bytes),
           count(*) FILTER (WHERE class = 2 AND coalesce(kept > 0, verdict = 'spooled')),
           coalesce(sum(coalesce(kept, CASE WHEN verdict = 'spooled' THEN recipients ELSE 0 END)) FILTER (WHERE class = 2), 0)
    FROM counted
    GROUP BY day, customer_id, kind, class, verdict
    ORDER BY day, customer_id, kind, class, verdict
    ON CONFLICT (day, customer_id, node, event, class, verdict) DO UPDATE SET
        customer = excluded.customer, events = u.events + excluded.events, recipients = u.recipients + excluded.recipients,
        bytes = u.bytes + excluded.bytes, kept_events = u.kept_events + excluded.kept_events,
        kept_recipients = u.kept_recipients + excluded.kept_recipients
$$;

-- Copies the lines of node's `of_file` that begin at octet `begins` and end before `ends`, unless that was done
-- before; returns how far the file has been copied.  The caller goes on from there, whatever it believed.  A
-- line that is no event is kept as it is, as an event "damaged".
CREATE FUNCTION postern.events_copy(of_node integer, of_file text, begins bigint, ends bigint, lines text,
                                    days date[] DEFAULT NULL, starts timestamptz[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    copied bigint;
    line text;
BEGIN
    INSERT INTO postern.events_copied (node, file, offset_bytes) VALUES (of_node, of_file, 0) ON CONFLICT DO NOTHING;
    SELECT offset_bytes INTO copied FROM postern.events_copied WHERE node = of_node AND file = of_file FOR UPDATE;
    IF copied <> begins THEN
        RETURN copied;
    END IF;
    BEGIN
        PERFORM postern.events_add(of_node, lines, days, starts);
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
        FOREACH line IN ARRAY string_to_array(lines, E'\n') LOOP
            BEGIN
                PERFORM postern.events_add(of_node, line, days, starts);
            EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
                INSERT INTO postern.events (at, node, kind, detail)
                VALUES (now(), of_node, 'damaged', jsonb_build_object('event', 'damaged', 'at', now(), 'file', of_file,
                                                                      'line', left(line, 1000)));
            END;
        END LOOP;
    END;
    UPDATE postern.events_copied SET offset_bytes = ends, copied_at = now() WHERE node = of_node AND file = of_file;
    RETURN ends;
END $$;

-- Makes the days of events to come, and drops those older than `age`, and sums older than `usage_age`; NULL if
-- another node is at it.
CREATE FUNCTION postern.events_tend(age interval, usage_age interval DEFAULT '1096 days') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    dropped integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('postern.events_tend')) THEN
        RETURN NULL;
    END IF;
    PERFORM postern.events_partitions_make(7);
    dropped := postern.events_partitions_drop(((now() - age) AT TIME ZONE 'UTC')::date);
    DELETE FROM postern.events_default WHERE at < now() - age;
    DELETE FROM postern.events_copied WHERE copied_at < now() - age - interval '7 days';
    DELETE FROM postern.events_shortened WHERE day < (now() - age - interval '7 days')::date;
    DELETE FROM postern.usage_daily WHERE day < ((now() - usage_age) AT TIME ZONE 'UTC')::date;
    DELETE FROM postern.usage_spool WHERE day < ((now() - usage_age) AT TIME ZONE 'UTC')::date;
    DELETE FROM postern.usage_outages WHERE ended_at < now() - usage_age;
    RETURN dropped;
END $$;

REVOKE ALL ON postern.usage_daily, postern.usage_spool, postern.usage_outages FROM PUBLIC;
REVOKE ALL ON FUNCTION postern.events_add(integer, text, date[], timestamptz[]),
    postern.events_copy(integer, text, bigint, bigint, text, date[], timestamptz[]),
    postern.events_tend(interval, interval) FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON postern.usage_daily TO postern_relay;
GRANT SELECT, INSERT, UPDATE ON postern.usage_spool, postern.usage_outages TO postern_spool;
GRANT SELECT ON postern.usage_daily, postern.usage_spool, postern.usage_outages TO postern_support, postern_operator;
GRANT EXECUTE ON FUNCTION postern.events_add(integer, text, date[], timestamptz[]),
    postern.events_copy(integer, text, bigint, bigint, text, date[], timestamptz[]),
    postern.events_tend(interval, interval) TO postern_relay;
