-- SPDX-License-Identifier: BSD-2-Clause
--
-- Where mail goes, whole: backends of single domains, by name as well as by address, with weights, source
-- addresses and the name that a certificate must have; domains for which we are the second MX; recipients in
-- the replica; what a customer may have waiting here.

ALTER TABLE postern.customers
    ADD COLUMN live_4xx text NOT NULL DEFAULT 'pass'
        CONSTRAINT customers_live_4xx_word CHECK (live_4xx IN ('pass', 'keep')),
    -- NULL is "none", for both.
    ADD COLUMN max_spool_messages integer
        CONSTRAINT customers_max_spool_messages_range CHECK (max_spool_messages BETWEEN 1 AND 100000000),
    ADD COLUMN max_spool_bytes bigint
        CONSTRAINT customers_max_spool_bytes_range CHECK (max_spool_bytes BETWEEN 1024 AND 1125899906842624);

CREATE OR REPLACE FUNCTION postern.is_temporary_value(field text, value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN field = 'connections_scope' THEN coalesce(value IN ('customer', 'client'), false)
        WHEN field = 'bare_lf' THEN coalesce(value IN ('refuse', 'normalise'), false)
        WHEN value IS NULL THEN true
        WHEN value !~ '^[0-9]{1,16}$' THEN false
        WHEN field = 'max_recipients_per_message' THEN value::bigint BETWEEN 1 AND 100000
        WHEN field = 'max_messages_per_connection' THEN value::bigint BETWEEN 1 AND 1000000
        WHEN field = 'max_connections_per_hour' THEN value::bigint BETWEEN 1 AND 10000000
        WHEN field = 'max_message_size_bytes' THEN value::bigint BETWEEN 1024 AND 2147483647
        WHEN field = 'retention_days' THEN value::bigint BETWEEN 1 AND 365
        WHEN field = 'max_spool_messages' THEN value::bigint BETWEEN 1 AND 100000000
        WHEN field = 'max_spool_bytes' THEN value::bigint BETWEEN 1024 AND 1125899906842624
        ELSE false
    END
$$;
ALTER TABLE postern.customer_changes
    DROP CONSTRAINT customer_changes_field_word,
    ADD CONSTRAINT customer_changes_field_word CHECK (field IN (
        'max_recipients_per_message', 'max_messages_per_connection', 'max_connections_per_hour',
        'max_message_size_bytes', 'retention_days', 'connections_scope', 'bare_lf', 'max_spool_messages',
        'max_spool_bytes'));

ALTER TABLE postern.domains
    -- In replica files, where a name would be long and a customer's id too little.
    ADD COLUMN id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT domains_id_once UNIQUE,
    ADD COLUMN mode text NOT NULL DEFAULT 'mx'
        CONSTRAINT domains_mode_word CHECK (mode IN ('mx', 'fallback')),
    ADD COLUMN primary_up text NOT NULL DEFAULT 'strict'
        CONSTRAINT domains_primary_up_word CHECK (primary_up IN ('strict', 'defer', 'accept')),
    ADD CONSTRAINT domains_of_customer UNIQUE (name, customer_id);

ALTER TABLE postern.backends
    -- NULL: for all the customer's domains that have none of their own.
    ADD COLUMN domain text,
    ADD CONSTRAINT backends_domain FOREIGN KEY (domain, customer_id) REFERENCES postern.domains (name, customer_id)
        ON UPDATE CASCADE ON DELETE RESTRICT,
    ALTER COLUMN address DROP NOT NULL,
    ADD COLUMN host text
        CONSTRAINT backends_host_form CHECK (postern.is_domain(host)),
    ADD CONSTRAINT backends_address_or_host CHECK (num_nonnulls(address, host) = 1),
    ADD COLUMN lookup text NOT NULL DEFAULT 'address'
        CONSTRAINT backends_lookup_word CHECK (lookup IN ('address', 'mx')),
    ADD CONSTRAINT backends_lookup_of_host CHECK (lookup = 'address' OR host IS NOT NULL),
    ADD COLUMN weight integer NOT NULL DEFAULT 1
        CONSTRAINT backends_weight_range CHECK (weight BETWEEN 1 AND 65535),
    -- NULL: the node's source-address.
    ADD COLUMN source_address inet
        CONSTRAINT backends_source_address_one_host
            CHECK (masklen(source_address) = CASE family(source_address) WHEN 4 THEN 32 ELSE 128 END),
    -- NULL: the host, or the address.
    ADD COLUMN tls_name text
        CONSTRAINT backends_tls_name_form CHECK (postern.is_domain(tls_name)),
    ADD COLUMN xforward boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT backends_once;
CREATE UNIQUE INDEX backends_once
    ON postern.backends (customer_id, coalesce(domain, ''), coalesce(host, host(address)), port);

-- New columns come last: a view's columns are a contract.
CREATE OR REPLACE VIEW postern.replica_customers AS
    SELECT id, name, state, max_recipients_per_message, max_messages_per_connection,
           max_connections_per_hour, max_message_size_bytes,
           coalesce(retention_days, 3650) AS retention_days, -- "none" is ten years: a date must be computed
           connections_scope, bare_lf, live_4xx, max_spool_messages, max_spool_bytes
    FROM postern.customers;

CREATE OR REPLACE VIEW postern.replica_domains AS
    SELECT name, customer_id, when_down, false AS removed, id, mode, primary_up,
           EXISTS (SELECT FROM postern.backends b WHERE b.domain = d.name) AS has_backends,
           EXISTS (SELECT FROM postern.recipients r WHERE r.domain = d.name) AS has_recipients,
           recipients_complete
    FROM postern.domains d
    UNION ALL
    SELECT name, customer_id, 'accept', true, 0, 'mx', 'strict', false, false, false
    FROM postern.removed_domains gone
    WHERE NOT EXISTS (SELECT FROM postern.domains there WHERE there.name = gone.name);

CREATE OR REPLACE VIEW postern.replica_backends AS
    SELECT b.customer_id, b.number, host(b.address) AS address, b.port, b.priority,
           coalesce(b.max_connections, 0) AS max_connections, b.tls, b.held, coalesce(d.id, 0) AS domain_id,
           b.host, b.lookup, b.weight, host(b.source_address) AS source_address, b.tls_name, b.xforward
    FROM postern.backends b LEFT JOIN postern.domains d ON d.name = b.domain;

CREATE VIEW postern.replica_recipients AS
    SELECT d.id AS domain_id, r.local_part
    FROM postern.recipients r JOIN postern.domains d ON d.name = r.domain;

-- Recipients are known by their local part in lower case.
DO $$
BEGIN
    IF EXISTS (SELECT FROM postern.recipients WHERE local_part <> lower(local_part)) THEN
        PERFORM set_config('postern.reason', 'migration 0007: recipients in lower case', true);
        UPDATE postern.recipients SET local_part = lower(local_part) WHERE local_part <> lower(local_part);
        PERFORM set_config('postern.reason', '', true);
    END IF;
END $$;
ALTER TABLE postern.recipients
    ADD CONSTRAINT recipients_local_part_form CHECK (local_part = lower(local_part COLLATE "C"));

REVOKE ALL ON postern.replica_recipients FROM PUBLIC;
GRANT SELECT ON postern.replica_recipients TO postern_relay, postern_spool, postern_operator, postern_support;
