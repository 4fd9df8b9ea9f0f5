-- SPDX-License-Identifier: BSD-2-Clause
--
-- Roles: groups that cannot log in, each with the least that its work needs.  An administrator gives them to
-- login roles, e.g. GRANT postern_relay TO relayd.  They belong to the whole cluster, so they may be there
-- already, made by another database's migration.
DO $$
DECLARE
    missing text[] := ARRAY(SELECT wanted
                            FROM unnest(ARRAY['postern_relay', 'postern_spool', 'postern_operator',
                                              'postern_support']) wanted
                            WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted));
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY missing LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- made by someone else just now
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the roles % are missing and "%" may not create them',
                                array_to_string(missing, ', '), session_user
                    USING ERRCODE = 'insufficient_privilege',
                          HINT = 'let a database administrator run CREATE ROLE ... NOLOGIN for each, then try again';
        END;
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA postern FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA postern FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA postern FROM PUBLIC;
GRANT USAGE ON SCHEMA postern TO postern_relay, postern_spool, postern_operator, postern_support;
GRANT SELECT ON postern.replica_state, postern.replica_customers, postern.replica_domains,
    postern.replica_backends TO postern_relay, postern_spool, postern_operator, postern_support;

-- relayd's control process: reads the replica, writes events.
GRANT INSERT ON postern.events TO postern_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON postern.events_copied TO postern_relay;
GRANT EXECUTE ON FUNCTION postern.events_partitions_make(integer) TO postern_relay;

-- spoolmgr's keeper: mirrors the spool.
GRANT SELECT, INSERT, UPDATE, DELETE ON postern.spool_index TO postern_spool;

-- Support staff look, operators look and change.
GRANT SELECT ON postern.migrations, postern.registry_state, postern.audit, postern.customers, postern.domains,
    postern.backends, postern.upstream_filters, postern.recipients, postern.removed_domains,
    postern.spool_index, postern.events, postern.events_copied TO postern_support, postern_operator;
GRANT INSERT, UPDATE, DELETE ON postern.customers, postern.domains, postern.backends,
    postern.upstream_filters, postern.recipients TO postern_operator;
GRANT INSERT ON postern.removed_domains TO postern_operator;
GRANT EXECUTE ON FUNCTION postern.registry_bump(), postern.is_domain(text) TO postern_operator;
GRANT EXECUTE ON FUNCTION postern.events_partitions_make(integer), postern.events_partitions_drop(date)
    TO postern_operator;
