-- SPDX-License-Identifier: BSD-2-Clause
--
-- What operators have the spool do (relayctl spool hold, remove, export, ...) stands in the audit beside the
-- changes of the registry.  The node's ledger is where it is decided and recorded first; this is the copy that
-- outlives the messages.

-- One row an order, of up to some thousand messages.  Said again (the keeper does not know whether its last word
-- arrived) it changes nothing: an order is known by node, moment and key.  The keeper is believed who the operator
-- was, since the peer of its control socket is; anybody else is written down as himself, and as of now.
CREATE FUNCTION postern.audit_spool_order(given_at timestamptz, node integer, key text, operator text, act text,
                                          reason text, detail text, refs text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    by_keeper boolean := pg_has_role(session_user, 'postern_spool', 'MEMBER');
    moment timestamptz := CASE WHEN by_keeper THEN given_at ELSE now() END;
BEGIN
    INSERT INTO postern.audit (at, who, table_name, operation, new_row, reason)
    SELECT moment, CASE WHEN by_keeper THEN operator ELSE session_user END, 'spool',
           CASE act WHEN 'remove' THEN 'delete' ELSE 'update' END,
           jsonb_build_object('node', node, 'key', key, 'act', act, 'detail', nullif(detail, ''),
                              'refs', to_jsonb(refs)),
           nullif(audit_spool_order.reason, '')
    WHERE NOT EXISTS (SELECT FROM postern.audit a
                      WHERE a.at = moment AND a.table_name = 'spool' AND a.new_row ->> 'key' = audit_spool_order.key
                        AND a.new_row -> 'node' = to_jsonb(audit_spool_order.node));
END $$;

REVOKE ALL ON FUNCTION postern.audit_spool_order(timestamptz, integer, text, text, text, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.audit_spool_order(timestamptz, integer, text, text, text, text, text, text[])
    TO postern_spool, postern_operator;
