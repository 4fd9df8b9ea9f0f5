-- SPDX-License-Identifier: BSD-2-Clause
--
-- What becomes of mail that was kept, in the sums of reports; and what is ordered of a node itself, in the audit.

-- A node taken out of service or back into it (relayctl node drain).  The relay does it, whether or not there is a
-- database; who may ask it is its control socket's to say, so whoever could says so here, under his own name.
CREATE FUNCTION postern.audit_node_order(of_node integer, act text, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO postern.audit (table_name, operation, new_row, reason)
    VALUES ('node', 'update', jsonb_build_object('node', of_node, 'act', act), nullif(audit_node_order.reason, ''))
$$;

REVOKE ALL ON FUNCTION postern.audit_node_order(integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.audit_node_order(integer, text, text)
    TO postern_operator, postern_support, postern_spool, postern_relay;
