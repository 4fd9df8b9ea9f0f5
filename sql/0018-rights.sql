-- SPDX-License-Identifier: BSD-2-Clause
--
-- Who may do what, finer: auditors, who read the audit, the registry and the sums of reports, and nothing of anybody's mail; and the few
-- things that support staff may change, since they change little: a retry, and the forgetting of single recipients.
DO $$
BEGIN
    CREATE ROLE postern_auditor NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL; -- it belongs to the whole cluster
    WHEN insufficient_privilege THEN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postern_auditor') THEN
            RAISE EXCEPTION 'the role postern_auditor is missing and "%" may not create it', session_user
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'let a database administrator run CREATE ROLE postern_auditor NOLOGIN, then try again';
        END IF;
END $$;

GRANT USAGE ON SCHEMA postern TO postern_auditor;
GRANT SELECT ON postern.replica_state, postern.migrations, postern.registry_state, postern.audit, postern.customers,
    postern.customer_changes, postern.domains, postern.backends, postern.upstream_filters, postern.recipients,
    postern.removed_domains, postern.spf_includes, postern.sender_rules, postern.usage_daily, postern.usage_spool,
    postern.usage_outages TO postern_auditor;

-- What one person has done; and what a customer was called that is gone.
CREATE INDEX audit_by_who ON postern.audit (who, at);
CREATE INDEX audit_of_customers_gone ON postern.audit ((old_row ->> 'name'))
    WHERE table_name = 'customers' AND operation = 'delete';

-- A registered recipient is none any more.  A complete list of none would refuse all mail: it is one no more.
CREATE FUNCTION postern.recipient_forget(of_domain text, of_local_part text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    removed integer;
BEGIN
    DELETE FROM postern.recipients WHERE domain = of_domain AND local_part = of_local_part;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed > 0 THEN
        UPDATE postern.domains d SET recipients_complete = false
        WHERE d.name = of_domain AND d.recipients_complete
          AND NOT EXISTS (SELECT FROM postern.recipients r WHERE r.domain = d.name);
    END IF;
    RETURN removed;
END $$;

-- As before, and of support staff a retry alone is taken.
CREATE OR REPLACE FUNCTION postern.spool_command_given() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.act <> 'retry' AND pg_has_role(current_user, 'postern_support', 'USAGE')
       AND NOT pg_has_role(current_user, 'postern_operator', 'USAGE') THEN
        RAISE EXCEPTION 'permission denied: postern_support may order nothing but a retry'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.who := session_user;
    NEW.program := nullif(current_setting('application_name', true), '');
    NEW.client_address := inet_client_addr();
    NEW.given_at := clock_timestamp();
    NEW.state := 'waiting';
    NEW.taken_at := NULL;
    NEW.done_at := NULL;
    NEW.result := NULL;
    PERFORM pg_notify('postern_commands_' || NEW.node, NEW.id::text);
    RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION postern.recipient_forget(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.recipient_forget(text, text) TO postern_support, postern_operator;
-- Whoever reads content where no keeper runs writes that down under his own name; and nothing else, if he is no operator.
CREATE OR REPLACE FUNCTION postern.audit_spool_order(given_at timestamptz, node integer, key text, operator text, act text,
                                                     reason text, detail text, refs text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    by_keeper boolean := pg_has_role(session_user, 'postern_spool', 'MEMBER');
    moment timestamptz := CASE WHEN by_keeper THEN given_at ELSE now() END;
BEGIN
    IF NOT by_keeper AND NOT pg_has_role(session_user, 'postern_operator', 'MEMBER') AND act NOT IN ('view', 'export') THEN
        RAISE EXCEPTION 'permission denied: postern_support may write down nothing but what it has read'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
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
GRANT EXECUTE ON FUNCTION postern.audit_spool_order(timestamptz, integer, text, text, text, text, text, text[])
    TO postern_support;
GRANT SELECT ON postern.spool_commands TO postern_support;
GRANT INSERT (node, act, reason, detail, until, customer_id, backend, refs) ON postern.spool_commands
    TO postern_support;
GRANT EXECUTE ON FUNCTION postern.spool_command_withdraw(bigint) TO postern_support;
