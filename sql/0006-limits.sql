-- SPDX-License-Identifier: BSD-2-Clause
--
-- Limits that end by themselves, whose connections an hourly limit counts, and what becomes of a bare LF.

ALTER TABLE postern.customers
    ADD COLUMN connections_scope text NOT NULL DEFAULT 'customer'
        CONSTRAINT customers_connections_scope_word CHECK (connections_scope IN ('customer', 'client')),
    ADD COLUMN bare_lf text NOT NULL DEFAULT 'refuse'
        CONSTRAINT customers_bare_lf_word CHECK (bare_lf IN ('refuse', 'normalise'));

-- May this column of postern.customers have this value for a time?  NULL is "none".  The ranges are those of
-- the columns.
CREATE FUNCTION postern.is_temporary_value(field text, value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN field = 'connections_scope' THEN coalesce(value IN ('customer', 'client'), false)
        WHEN field = 'bare_lf' THEN coalesce(value IN ('refuse', 'normalise'), false)
        WHEN value IS NULL THEN true
        WHEN value !~ '^[0-9]{1,12}$' THEN false
        WHEN field = 'max_recipients_per_message' THEN value::bigint BETWEEN 1 AND 100000
        WHEN field = 'max_messages_per_connection' THEN value::bigint BETWEEN 1 AND 1000000
        WHEN field = 'max_connections_per_hour' THEN value::bigint BETWEEN 1 AND 10000000
        WHEN field = 'max_message_size_bytes' THEN value::bigint BETWEEN 1024 AND 2147483647
        WHEN field = 'retention_days' THEN value::bigint BETWEEN 1 AND 365
        ELSE false
    END
$$;

-- A value in place of the customer's own until a moment.  Nothing has to be done then: whoever reads it
-- compares with the clock.  One change a field; the next takes its place.
CREATE TABLE postern.customer_changes (
    customer_id integer NOT NULL REFERENCES postern.customers ON DELETE CASCADE,
    field text NOT NULL
        CONSTRAINT customer_changes_field_word CHECK (field IN (
            'max_recipients_per_message', 'max_messages_per_connection', 'max_connections_per_hour',
            'max_message_size_bytes', 'retention_days', 'connections_scope', 'bare_lf')),
    value text,
    until_at timestamptz NOT NULL
        CONSTRAINT customer_changes_until_range CHECK (until_at < '2200-01-01 00:00:00+00'),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, field),
    CONSTRAINT customer_changes_value_range CHECK (postern.is_temporary_value(field, value))
);
CREATE TRIGGER registry_touch BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON postern.customer_changes
    FOR EACH STATEMENT EXECUTE FUNCTION postern.registry_touch();
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON postern.customer_changes
    FOR EACH ROW EXECUTE FUNCTION postern.audit_change();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON postern.customer_changes
    FOR EACH STATEMENT EXECUTE FUNCTION postern.audit_change();

-- The new columns come last: a view's columns are a contract.
CREATE OR REPLACE VIEW postern.replica_customers AS
    SELECT id, name, state, max_recipients_per_message, max_messages_per_connection,
           max_connections_per_hour, max_message_size_bytes,
           coalesce(retention_days, 3650) AS retention_days, -- "none" is ten years: a date must be computed
           connections_scope, bare_lf
    FROM postern.customers;

-- A change that has ended stays for a day, for nodes whose clock is behind.
CREATE VIEW postern.replica_customer_changes AS
    SELECT customer_id, field, value, floor(extract(epoch FROM until_at) * 1000)::bigint AS until_ms
    FROM postern.customer_changes
    WHERE until_at > now() - interval '1 day';

REVOKE ALL ON FUNCTION postern.is_temporary_value(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.is_temporary_value(text, text) TO postern_operator;
REVOKE ALL ON postern.customer_changes, postern.replica_customer_changes FROM PUBLIC;
GRANT SELECT ON postern.customer_changes TO postern_support, postern_operator;
GRANT INSERT, UPDATE, DELETE ON postern.customer_changes TO postern_operator;
GRANT SELECT ON postern.replica_customer_changes TO postern_relay, postern_spool, postern_operator,
    postern_support;
