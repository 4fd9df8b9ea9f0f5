-- SPDX-License-Identifier: BSD-2-Clause
--
-- How far PostgreSQL has seen each spool log, so that an older copy of it (a restored disk) is noticed before
-- what has been delivered since is delivered again.  One that is older is refused by its keeper, which delivers
-- nothing of it until an operator accepts it (relayctl node accept-spool).
CREATE TABLE postern.spool_logs (
    node integer NOT NULL,
    -- Of spool-dir/identity: another disk is another log.
    log text NOT NULL CONSTRAINT spool_logs_log_form CHECK (log ~ '^[0-9a-f]{32}$'),
    -- Number of the ledger's file, and the octets of it.
    ledger bigint NOT NULL,
    octets bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- How far the refused one goes.
    refused_ledger bigint,
    refused_octets bigint,
    refused_at timestamptz,
    accepted_at timestamptz,
    PRIMARY KEY (node, log)
);

-- For the keeper: how far its log has been seen; no row: not yet.  That it is refused, for being older or since it
-- was refused before, is noted, and stays so until that very place has been accepted.
CREATE FUNCTION postern.spool_log_seen(of_node integer, of_log text, at_ledger bigint, at_octets bigint, is_refused boolean)
RETURNS TABLE (ledger bigint, octets bigint, accepted boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO postern.spool_logs (node, log, ledger, octets)
    SELECT of_node, of_log, at_ledger, at_octets
    WHERE is_refused
    ON CONFLICT DO NOTHING;
    UPDATE postern.spool_logs l
    SET refused_ledger = at_ledger, refused_octets = at_octets, refused_at = now(), accepted_at = NULL
    WHERE l.node = of_node AND l.log = of_log AND (is_refused OR (at_ledger, at_octets) < (l.ledger, l.octets))
      AND (l.refused_ledger, l.refused_octets) IS DISTINCT FROM (at_ledger, at_octets);
    RETURN QUERY
    SELECT l.ledger, l.octets, l.accepted_at IS NOT NULL
    FROM postern.spool_logs l
    WHERE l.node = of_node AND l.log = of_log;
END $$;

-- An operator's word; the number of logs that it was about.
CREATE FUNCTION postern.accept_spool(of_node integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    accepted integer;
BEGIN
    WITH changed AS (
        UPDATE postern.spool_logs SET accepted_at = now()
        WHERE node = of_node AND refused_at IS NOT NULL AND accepted_at IS NULL
        RETURNING *), noted AS (
        INSERT INTO postern.audit (table_name, operation, new_row, reason)
        SELECT 'spool_logs', 'update', to_jsonb(changed), nullif(current_setting('postern.reason', true), '')
        FROM changed
        RETURNING id)
    SELECT count(*) INTO accepted FROM noted;
    RETURN accepted;
END $$;

REVOKE ALL ON FUNCTION postern.spool_log_seen(integer, text, bigint, bigint, boolean), postern.accept_spool(integer) FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON postern.spool_logs TO postern_spool;
GRANT SELECT ON postern.spool_logs TO postern_operator, postern_support;
GRANT EXECUTE ON FUNCTION postern.spool_log_seen(integer, text, bigint, bigint, boolean) TO postern_spool;
GRANT EXECUTE ON FUNCTION postern.accept_spool(integer) TO postern_operator;
