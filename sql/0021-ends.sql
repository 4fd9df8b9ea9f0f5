-- SPDX-License-Identifier: BSD-2-Clause
--
-- What becomes of mail that was kept, in the sums of reports; what is ordered of a node itself, in the audit; and reasons
-- for what was stopped without one.

-- A node taken out of service or back into it (relayctl node drain).  The relay does it, whether or not there is a
-- database; who may ask it is its control socket's to say, so whoever could says so here, under his own name, and can
-- say nothing else.
CREATE FUNCTION postern.audit_node_order(of_node integer, act text, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (of_node > 0 AND act IN ('drain', 'drain-end')) IS NOT TRUE THEN
        RAISE EXCEPTION 'a node is ordered to drain or drain-end, and has a number; not node %: %', of_node, act
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO postern.audit (table_name, operation, new_row, reason)
    VALUES ('node', 'update', jsonb_build_object('node', of_node, 'act', act), nullif(audit_node_order.reason, ''));
END $$;

-- A suspension or hold of before it needed a reason has one now: an import of an export wants it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM postern.customers WHERE state <> 'active' AND coalesce(state_reason, '') = '')
       OR EXISTS (SELECT FROM postern.backends WHERE held AND coalesce(held_reason, '') = '') THEN
        PERFORM set_config('postern.reason', 'migration 0021: no reason was asked for', true);
        UPDATE postern.customers SET state_reason = 'not recorded'
        WHERE state <> 'active' AND coalesce(state_reason, '') = '';
        UPDATE postern.backends SET held_reason = 'not recorded' WHERE held AND coalesce(held_reason, '') = '';
        PERFORM set_config('postern.reason', '', true);
    END IF;
END $$;

-- What has become of mail that was kept is an event of its node's log, "ended", one for each recipient; "place" tells
-- apart those of one address.  A keeper that was killed may have written the last of them, or not, so the next one
-- writes them again.  These are those among `lines` that are not known yet, each once, and events of other kinds in
-- which a peer has said the word.  Whose a shortened one is cannot be told any more: its message's of that moment are
-- known then.  One look for all of a message that ended at once, and one sort: it may have a thousand recipients.
CREATE FUNCTION postern.events_new_ends(of_node integer, lines text) RETURNS SETOF jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH said AS MATERIALIZED (
        SELECT e ->> 'ref' AS ref, (e ->> 'at')::timestamptz AS at, e ->> 'verdict' AS verdict, e -> 'rcpt' AS rcpt,
               e -> 'place' AS place, CASE WHEN e ->> 'event' = 'ended' THEN 0 ELSE n END AS other, e,
               false AS is_known, false AS is_shortened
        FROM (SELECT line::jsonb AS e, n FROM string_to_table(lines, E'\n') WITH ORDINALITY l(line, n)
              WHERE line LIKE '%"ended"%' OFFSET 0) l),
    known AS (
        SELECT k.* FROM (SELECT DISTINCT ref, at FROM said WHERE other = 0) s CROSS JOIN LATERAL (
            SELECT ref, at, verdict, detail -> 'rcpt', detail -> 'place', 0::bigint, NULL::jsonb, true, detail ? 'shortened'
            FROM postern.events
            WHERE events.ref = s.ref AND events.at = s.at AND node = of_node AND kind = 'ended' OFFSET 0) k)
    SELECT e FROM (SELECT DISTINCT ON (ref, at, verdict, rcpt, place, other) e, is_known,
                          bool_or(is_shortened) OVER (PARTITION BY ref, at, verdict, other) AS is_shortened
                   FROM (SELECT * FROM said UNION ALL SELECT * FROM known) all_of_them
                   ORDER BY ref, at, verdict, rcpt, place, other, is_known DESC) each_once
    WHERE NOT is_known AND NOT is_shortened
$$;

-- As before, and ends are counted: rows of event "ended" and class 0 in usage_daily, of the day of the end.
CREATE OR REPLACE FUNCTION postern.events_add(of_node integer, lines text, days date[], starts timestamptz[]) RETURNS void
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
                                                   ELSE jsonb_build_array(e -> 'rcpt') END) address)
                   || CASE WHEN e ->> 'rcpt' LIKE '%@%.%.%' THEN postern.event_parent_keys(e -> 'rcpt') END END,
               e ->> 'message_id', e
        FROM (SELECT line::jsonb AS e FROM string_to_table(lines, E'\n') line
              WHERE line <> '' AND line NOT LIKE '%"ended"%'
              UNION ALL SELECT e FROM postern.events_new_ends(of_node, lines) e
              OFFSET 0) events
        RETURNING at, kind, customer_id, customer, verdict, detail),
    counted AS (
        SELECT coalesce(days[nullif(width_bucket(at, starts), 0)], (at AT TIME ZONE 'UTC')::date) AS day, customer_id, kind,
               CASE WHEN kind = 'ended' THEN 0
                    WHEN detail ->> 'reply' ~ '^[245]' THEN left(detail ->> 'reply', 1)::integer
                    WHEN verdict IN ('delivered', 'spooled') THEN 2 ELSE 0 END AS class,
               coalesce(verdict, '') AS verdict, coalesce(customer, '#' || customer_id) AS customer,
               CASE WHEN jsonb_typeof(detail -> 'rcpt') = 'array' THEN jsonb_array_length(detail -> 'rcpt')
                    ELSE 1 END AS recipients,
               coalesce((detail ->> 'size')::bigint, 0) AS bytes, (detail ->> 'kept')::bigint AS kept
        FROM added
        WHERE customer_id IS NOT NULL AND kind IN ('message', 'recipient-refused', 'ended')
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

REVOKE ALL ON FUNCTION postern.audit_node_order(integer, text, text), postern.events_new_ends(integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.audit_node_order(integer, text, text)
    TO postern_operator, postern_support, postern_spool, postern_relay;
GRANT EXECUTE ON FUNCTION postern.events_new_ends(integer, text) TO postern_relay;
-- How much waits is in reports, which auditors read; whose, from whom and to whom is not.
GRANT SELECT (customer_id, customer, received_at, open_recipients) ON postern.spool_index TO postern_auditor;
