-- SPDX-License-Identifier: BSD-2-Clause
--
-- Events: whole domains are found by an index, as recipients of all subdomains of one, and as senders of one.

-- Copying waits until all of it is done, instead of running into it; so do days that are being shortened.
SELECT pg_advisory_xact_lock(hashtext('postern.events_shorten'));
LOCK TABLE postern.events IN SHARE ROW EXCLUSIVE MODE;

-- The domains above those of "rcpt", with a leading dot; of two labels at least, and of seven at most, since who
-- sends chooses them.
CREATE FUNCTION postern.event_parent_keys(rcpt jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT '.' || array_to_string(labels[i:], '.'))
    FROM (SELECT string_to_array(lower(substring(value FROM '@([^@]*)$')), '.') AS labels
          FROM jsonb_array_elements_text(CASE jsonb_typeof(rcpt) WHEN 'array' THEN rcpt
                                         ELSE jsonb_build_array(rcpt) END)) domains,
         generate_series(greatest(2, cardinality(labels) - 6), cardinality(labels) - 1) i
    WHERE rcpt IS NOT NULL
$$;

-- The keys of "rcpt", which is one address or a list of them: addresses, "@domain" and ".parent" of each.
CREATE OR REPLACE FUNCTION postern.event_recipient_keys(rcpt jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(address) || array_agg(DISTINCT substring(address FROM '@[^@]*$'))
               FILTER (WHERE address LIKE '%@%') || postern.event_parent_keys(rcpt)
    FROM (SELECT lower(value) AS address
          FROM jsonb_array_elements_text(CASE jsonb_typeof(rcpt) WHEN 'array' THEN rcpt
                                         ELSE jsonb_build_array(rcpt) END)) addresses
    WHERE rcpt IS NOT NULL
$$;

UPDATE postern.events SET recipient_keys = recipient_keys || postern.event_parent_keys(detail -> 'rcpt')
WHERE recipient_keys IS NOT NULL AND text(detail -> 'rcpt') LIKE '%@%.%.%';

-- Turned round, an address begins with its domain: one index finds both.
DROP INDEX postern.events_by_sender;
CREATE INDEX events_by_sender ON postern.events (reverse(sender) text_pattern_ops, at) WHERE sender IS NOT NULL;

-- Adds lines of a log, and counts them.  Day days[n] begins at starts[n] and ends at starts[n + 1]; what lies in
-- none of them counts on its day of UTC.  It fails with the first line that is no event.
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

REVOKE ALL ON FUNCTION postern.event_parent_keys(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.event_parent_keys(jsonb) TO postern_relay;
