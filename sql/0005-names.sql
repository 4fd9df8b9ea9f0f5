-- SPDX-License-Identifier: BSD-2-Clause
--
-- Names that are true: a tombstone is signed by the database, and an address is no domain.

-- An operator says which domain and why; by whom and when are the defaults.
REVOKE INSERT ON postern.removed_domains FROM postern_operator;
GRANT INSERT (name, customer_id, customer, reason) ON postern.removed_domains TO postern_operator;

-- As before, and the last label is not a number (RFC 1123 2.1): 192.0.2.1 is no mail domain.
CREATE OR REPLACE FUNCTION postern.is_domain(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT length(name) <= 253
       AND name ~ '^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$'
       AND name !~ '\.[0-9]+$'
$$;

-- What the old rule let in has never had mail, since no name server knows it, and could now be neither
-- changed nor removed.  The audit keeps it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM postern.replica_domains WHERE name ~ '\.[0-9]+$') THEN
        PERFORM set_config('postern.reason', 'migration 0005: the name ends in a number', true);
        DELETE FROM postern.domains WHERE name ~ '\.[0-9]+$';
        DELETE FROM postern.removed_domains WHERE name ~ '\.[0-9]+$';
        PERFORM set_config('postern.reason', '', true);
    END IF;
END $$;
