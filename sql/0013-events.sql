-- SPDX-License-Identifier: BSD-2-Clause
--
-- Events: columns to search by, the copying of a node's log exactly once, days that are made, shortened and
-- dropped in time.

-- What is searched for is in columns of its own; `detail` is the whole line of the log.
ALTER TABLE postern.events
    ADD COLUMN customer text,
    ADD COLUMN verdict text,
    ADD COLUMN client inet,             -- an address, or the network of a line that counts
    ADD COLUMN sender text,             -- in lower case; "" is the null reverse-path
    ADD COLUMN recipient_keys text[],   -- addresses in lower case, and "@domain" of each
    ADD COLUMN message_id text;
DROP INDEX postern.events_by_time, postern.events_by_customer;
CREATE INDEX events_by_time ON postern.events (at);
CREATE INDEX events_by_customer ON postern.events (customer, at) WHERE customer IS NOT NULL;
CREATE INDEX events_by_verdict ON postern.events (verdict, at) WHERE verdict IS NOT NULL;
CREATE INDEX events_by_client ON postern.events (client, at) WHERE client IS NOT NULL;
CREATE INDEX events_by_sender ON postern.events (sender, at) WHERE sender IS NOT NULL;
CREATE INDEX events_by_message_id ON postern.events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX events_by_recipient ON postern.events USING gin (recipient_keys);

-- The keys of "rcpt", which is one address or a list of them.
CREATE FUNCTION postern.event_recipient_keys(rcpt jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(address) || array_agg(DISTINCT substring(address FROM '@[^@]*$'))
               FILTER (WHERE address LIKE '%@%')
    FROM (SELECT lower(value) AS address
          FROM jsonb_array_elements_text(CASE jsonb_typeof(rcpt) WHEN 'array' THEN rcpt
                                         ELSE jsonb_build_array(rcpt) END)) addresses
    WHERE rcpt IS NOT NULL
$$;

-- Adds lines of a log.  It fails with the first one that is no event.
CREATE FUNCTION postern.events_add(of_node integer, lines text) RETURNS void
LANGUAGE sql AS $$
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
$$;

-- Copies the lines of node's `of_file` that begin at octet `begins` and end before `ends`, unless that was done
-- before; returns how far the file has been copied.  The caller goes on from there, whatever it believed.  A
-- line that is no event is kept as it is, as an event "damaged".
CREATE FUNCTION postern.events_copy(of_node integer, of_file text, begins bigint, ends bigint, lines text)
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
        PERFORM postern.events_add(of_node, lines);
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
        FOREACH line IN ARRAY string_to_array(lines, E'\n') LOOP
            BEGIN
                PERFORM postern.events_add(of_node, line);
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

-- Days whose addresses have been shortened, and how far.  The salt of their hashes is thrown away at the end,
-- so that nobody can try names on them afterwards.
CREATE TABLE postern.events_shortened (
    day date PRIMARY KEY,
    done_until timestamptz NOT NULL DEFAULT '-infinity',
    is_done boolean NOT NULL DEFAULT false,
    salt text
);

CREATE FUNCTION postern.event_short_address(address text, salt text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN address = '' OR address IS NULL THEN address
           ELSE 'h-' || left(encode(sha256(convert_to(salt || lower(regexp_replace(address, '@[^@]*$', '')), 'UTF8')), 'hex'), 16)
                || coalesce(substring(lower(address) FROM '@[^@]*$'), '') END
$$;

CREATE FUNCTION postern.event_short_client(client inet) RETURNS inet
LANGUAGE sql IMMUTABLE AS $$
    SELECT network(set_masklen(client, least(masklen(client), CASE family(client) WHEN 4 THEN 24 ELSE 48 END)))::inet
$$;

-- What may stay of a line: what is known to name no person.  A reply is its codes alone.
CREATE FUNCTION postern.event_short_detail(detail jsonb, salt text) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((SELECT jsonb_object_agg(key, value) FROM jsonb_each(detail)
                     WHERE key IN ('at', 'event', 'ref', 'node', 'customer', 'customer_id', 'domain', 'verdict', 'decided_by',
                                   'size', 'ms', 'phases_ms', 'tls', 'cipher', 'tls_session', 'backend', 'backend_tls',
                                   'messages', 'recipients', 'commands', 'errors', 'end', 'notes', 'minute', 'count',
                                   'verdicts', 'lines', 'bytes')), '{}')
        || jsonb_strip_nulls(jsonb_build_object(
            'shortened', true,
            'client', CASE WHEN detail ? 'client'
                      THEN text(postern.event_short_client((detail ->> 'client')::inet)) END,
            'from', postern.event_short_address(detail ->> 'from', salt),
            'rcpt', CASE jsonb_typeof(detail -> 'rcpt')
                    WHEN 'array' THEN (SELECT jsonb_agg(postern.event_short_address(value, salt))
                                       FROM jsonb_array_elements_text(detail -> 'rcpt'))
                    WHEN 'string' THEN to_jsonb(postern.event_short_address(detail ->> 'rcpt', salt)) END,
            'reply', substring(detail ->> 'reply' FROM '^[0-9]{3}(?: [245][.][0-9]+[.][0-9]+)?'),
            'backend_reply', substring(detail ->> 'backend_reply' FROM '^[0-9]{3}(?: [245][.][0-9]+[.][0-9]+)?')))
$$;

-- Shortens those of `part` that are not yet, from `begins` on to before `ends`.
CREATE FUNCTION postern.events_shorten_between(begins timestamptz, ends timestamptz, salt text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shortened bigint;
BEGIN
    UPDATE postern.events SET
        client = postern.event_short_client(client),
        sender = postern.event_short_address(sender, salt),
        recipient_keys = postern.event_recipient_keys(postern.event_short_detail(detail, salt) -> 'rcpt'),
        message_id = NULL,
        detail = postern.event_short_detail(detail, salt)
    WHERE at >= begins AND at < ends AND NOT detail ? 'shortened';
    GET DIAGNOSTICS shortened = ROW_COUNT;
    RETURN shortened;
END $$;

-- A portion of at most about `most` events of the oldest day that is older than `age` and not shortened; -1 when
-- there is none.  What is copied into such a day later is found again: events_copied_late.
CREATE FUNCTION postern.events_shorten(age interval, most integer DEFAULT 20000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cutoff date := ((now() - age) AT TIME ZONE 'UTC')::date;
    begins timestamptz;
    ends timestamptz;
    today postern.events_shortened%ROWTYPE;
    the_day date;
    shortened bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('postern.events_shorten')) THEN
        RETURN -1; -- another node is at it
    END IF;
    SELECT min(d.day) INTO the_day
    FROM (SELECT to_date(substr(c.relname, 8), 'YYYYMMDD') AS day
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'postern.events'::regclass AND c.relname ~ '^events_[0-9]{8}$'
          UNION SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM postern.events_default) d
    WHERE d.day < cutoff AND NOT EXISTS (SELECT FROM postern.events_shortened s WHERE s.day = d.day AND s.is_done);
    IF the_day IS NULL THEN
        RETURN -1;
    END IF;
    INSERT INTO postern.events_shortened (day, salt)
    VALUES (the_day, gen_random_uuid()::text || gen_random_uuid()::text)
    ON CONFLICT (day) DO UPDATE SET salt = coalesce(events_shortened.salt, excluded.salt)
    RETURNING * INTO today;
    begins := greatest(today.done_until, the_day::timestamp AT TIME ZONE 'UTC');
    ends := (the_day + 1)::timestamp AT TIME ZONE 'UTC';
    ends := least(ends, (SELECT max(at) + interval '1 microsecond'
                         FROM (SELECT at FROM postern.events WHERE at >= begins AND at < ends AND NOT detail ? 'shortened'
                               ORDER BY at LIMIT most) portion));
    shortened := CASE WHEN ends IS NULL THEN 0 ELSE postern.events_shorten_between(begins, ends, today.salt) END;
    UPDATE postern.events_shortened SET
        done_until = coalesce(ends, begins), is_done = shortened = 0, salt = CASE WHEN shortened > 0 THEN salt END
    WHERE day = the_day;
    RETURN shortened;
END $$;

-- Days that got lines after they had been shortened are shortened once more.
CREATE FUNCTION postern.events_copied_late() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE postern.events_shortened SET done_until = '-infinity', is_done = false
    WHERE day IN (SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM added WHERE at < now() - interval '1 day');
    RETURN NULL;
END $$;
CREATE TRIGGER events_copied_late AFTER INSERT ON postern.events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION postern.events_copied_late();

-- Makes the days to come and drops those older than `age`; NULL if another node is at it.
CREATE FUNCTION postern.events_tend(age interval) RETURNS integer
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
    RETURN dropped;
END $$;

REVOKE ALL ON postern.events_shortened FROM PUBLIC;
REVOKE ALL ON FUNCTION postern.event_recipient_keys(jsonb), postern.events_add(integer, text),
    postern.events_copy(integer, text, bigint, bigint, text), postern.event_short_address(text, text),
    postern.event_short_client(inet), postern.event_short_detail(jsonb, text),
    postern.events_shorten_between(timestamptz, timestamptz, text), postern.events_shorten(interval, integer),
    postern.events_copied_late(), postern.events_tend(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.event_recipient_keys(jsonb), postern.events_add(integer, text),
    postern.events_copy(integer, text, bigint, bigint, text), postern.events_shorten(interval, integer),
    postern.events_tend(interval) TO postern_relay;
