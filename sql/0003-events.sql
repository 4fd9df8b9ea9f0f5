-- SPDX-License-Identifier: BSD-2-Clause
--
-- Events: what happened to every connection and message, copied from the nodes' event logs by their control
-- processes, a batch and its place in the log in one transaction.  Partitioned by day (UTC), so that old
-- days go by DROP and not by DELETE.
CREATE TABLE postern.events (
    at timestamptz NOT NULL,
    node integer NOT NULL,
    kind text NOT NULL,
    ref text,
    customer_id integer,
    detail jsonb NOT NULL DEFAULT '{}'
) PARTITION BY RANGE (at);
CREATE INDEX events_by_ref ON postern.events (ref) WHERE ref IS NOT NULL;
CREATE INDEX events_by_customer ON postern.events (customer_id, at);
CREATE INDEX events_by_time ON postern.events USING brin (at);

-- Where nothing fits (a clock that is wrong, partitions not made in time): nothing is lost for it.
CREATE TABLE postern.events_default PARTITION OF postern.events DEFAULT;

-- How far each event log has been copied.
CREATE TABLE postern.events_copied (
    node integer NOT NULL,
    file text NOT NULL,
    offset_bytes bigint NOT NULL CHECK (offset_bytes >= 0),
    copied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, file)
);

-- Makes the partitions of yesterday to `ahead` days from today; returns how many were missing.  Rows that
-- waited in the default partition move into their day.
CREATE FUNCTION postern.events_partitions_make(ahead integer DEFAULT 7) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    part text;
    made integer := 0;
    day_begins timestamptz;
    day_ends timestamptz;
BEGIN
    IF ahead NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'ahead is %; use 0 to 366 days', ahead USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('postern.events_partitions'));
    FOR offset_days IN -1 .. ahead LOOP
        day := today + offset_days;
        part := 'events_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('postern.' || part) IS NOT NULL;
        day_begins := day::timestamp AT TIME ZONE 'UTC';
        day_ends := (day + 1)::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('CREATE TABLE postern.%I (LIKE postern.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format('WITH moved AS (DELETE FROM postern.events_default WHERE at >= %L AND at < %L RETURNING *)
                        INSERT INTO postern.%I SELECT * FROM moved', day_begins, day_ends, part);
        EXECUTE format('ALTER TABLE postern.events ATTACH PARTITION postern.%I FOR VALUES FROM (%L) TO (%L)',
                       part, day_begins, day_ends);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drops the days before `day`; returns how many went.
CREATE FUNCTION postern.events_partitions_drop(day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('postern.events_partitions'));
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'postern.events'::regclass AND c.relname ~ '^events_[0-9]{8}$'
          AND to_date(substr(c.relname, 8), 'YYYYMMDD') < day
    LOOP
        EXECUTE format('DROP TABLE postern.%I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

SELECT postern.events_partitions_make(7);
