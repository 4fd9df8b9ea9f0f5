-- SPDX-License-Identifier: BSD-2-Clause
--
-- What the scheduled tests of customers' servers (relayctl scan) have found: a row is a time in which one check of
-- one subject had the same finding.  It is a record for people: no node reads it.

CREATE TABLE postern.scan_results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('backend', 'domain', 'network')),
    name text NOT NULL,                 -- CUSTOMER/N, a domain, a network
    address text NOT NULL DEFAULT '',   -- of several that one name has
    "check" text NOT NULL,
    finding text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'warn', 'fail', 'unknown')),
    text text NOT NULL,
    detail text NOT NULL DEFAULT '',    -- as it was last
    remedy text NOT NULL DEFAULT '',
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    is_current boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX scan_results_current ON postern.scan_results (kind, name, address, "check") WHERE is_current;
CREATE INDEX scan_results_ended ON postern.scan_results (last_seen) WHERE NOT is_current;

-- Writes down one result, an object as `relayctl backend test --json` prints it, and returns what is not as it was
-- before.  Of several findings of one check the worst counts.  What could not be found out this time changes nothing
-- that is known.  A check of a domain without a finding is over; one of a server may not have been reached.
CREATE FUNCTION postern.scan_record(of_kind text, result jsonb)
RETURNS TABLE (address text, "check" text, before_finding text, before_verdict text, finding text, verdict text, text text,
               detail text, remedy text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    f record;
    last postern.scan_results%ROWTYPE;
BEGIN
    IF jsonb_typeof(result -> 'findings') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'a result without findings says nothing';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('postern.scan:' || of_kind || ':' || (result ->> 'name')));
    FOR f IN
        SELECT DISTINCT ON (1, 2) coalesce(x.address, '') AS address, x."check", x.finding, x.verdict, x.text,
               coalesce(x.detail, '') AS detail, coalesce(x.remedy, '') AS remedy
        FROM jsonb_to_recordset(result -> 'findings')
            AS x (address text, "check" text, finding text, verdict text, text text, detail text, remedy text)
        ORDER BY 1, 2, array_position('{fail,warn,unknown,pass}', x.verdict)
    LOOP
        last := NULL;
        SELECT r.* INTO last FROM postern.scan_results r
        WHERE r.kind = of_kind AND r.name = result ->> 'name' AND r.address = f.address AND r."check" = f."check"
          AND r.is_current
        FOR UPDATE;
        CONTINUE WHEN f.verdict = 'unknown' AND last.verdict <> 'unknown';
        IF last.finding = f.finding AND last.verdict = f.verdict THEN
            UPDATE postern.scan_results r SET last_seen = now(), text = f.text, detail = f.detail, remedy = f.remedy WHERE r.id = last.id;
            CONTINUE;
        END IF;
        UPDATE postern.scan_results r SET is_current = false WHERE r.id = last.id;
        INSERT INTO postern.scan_results (kind, name, address, "check", finding, verdict, text, detail, remedy)
        VALUES (of_kind, result ->> 'name', f.address, f."check", f.finding, f.verdict, f.text, f.detail, f.remedy);
        RETURN QUERY SELECT f.address, f."check", last.finding, last.verdict, f.finding, f.verdict, f.text, f.detail, f.remedy;
    END LOOP;
    UPDATE postern.scan_results r SET is_current = false
    WHERE r.kind = of_kind AND r.name = result ->> 'name' AND r.is_current
      AND NOT EXISTS (SELECT FROM jsonb_to_recordset(result -> 'findings') AS x (address text, "check" text)
                      WHERE coalesce(x.address, '') = r.address AND (of_kind <> 'domain' OR x."check" = r."check"));
END $$;

-- What is gone from the registry is not current any more; what ended long ago goes.
CREATE FUNCTION postern.scan_tend() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE postern.scan_results r SET is_current = false
    WHERE r.is_current AND (
        (r.kind = 'backend' AND NOT EXISTS (SELECT FROM postern.backends b JOIN postern.customers c ON c.id = b.customer_id
                                            WHERE r.name = c.name || '/' || b.number))
        OR (r.kind = 'domain' AND NOT EXISTS (SELECT FROM postern.domains d WHERE d.name = r.name)));
    DELETE FROM postern.scan_results WHERE NOT is_current AND last_seen < now() - interval '400 days';
$$;

-- That the owner of a network has agreed to be tested, in the audit, under the name of who says so.
CREATE FUNCTION postern.scan_consent(network cidr, consent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF btrim(coalesce(consent, '')) = '' THEN
        RAISE EXCEPTION 'who has consented, and when, must be said';
    END IF;
    INSERT INTO postern.audit (at, who, table_name, operation, new_row, reason)
    VALUES (now(), session_user, 'scan', 'insert', jsonb_build_object('network', network), consent);
END $$;

REVOKE ALL ON postern.scan_results FROM PUBLIC;
REVOKE ALL ON FUNCTION postern.scan_record(text, jsonb), postern.scan_tend(), postern.scan_consent(cidr, text) FROM PUBLIC;
GRANT SELECT ON postern.scan_results TO postern_support, postern_operator;
GRANT EXECUTE ON FUNCTION postern.scan_record(text, jsonb), postern.scan_tend(), postern.scan_consent(cidr, text)
    TO postern_operator;
