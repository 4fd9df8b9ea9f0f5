-- SPDX-License-Identifier: BSD-2-Clause
--
-- The registry: who is served, and how.  Everything that a node's replica is made of, the audit of every
-- change to it, and the one row that puts all changes into an order.
--
-- The idea: a statement trigger on each registry table locks and bumps registry_state before the change,
-- so registry transactions run one after another and versions are in commit order.  Constraints hold what
-- relayctl validates, so that a hand on psql cannot store what a node could not use.
CREATE SCHEMA postern;

-- Which migrations this database has had; written by relayctl with each of them.
CREATE TABLE postern.migrations (
    number integer PRIMARY KEY CHECK (number > 0),
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user
);

CREATE TABLE postern.registry_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Tells this registry from every other: a node that finds another id keeps what it has.
    database_id text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''),
    version bigint NOT NULL DEFAULT 1,
    schema_version integer NOT NULL DEFAULT 0,
    -- The transaction of the last bump; a transaction bumps once, however many statements it has.
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_xid xid8
);
INSERT INTO postern.registry_state DEFAULT VALUES;

CREATE FUNCTION postern.registry_bump() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bumped bigint;
BEGIN
    UPDATE postern.registry_state
    SET version = version + 1, changed_at = transaction_timestamp(), changed_xid = pg_current_xact_id()
    WHERE (changed_xid, changed_at) IS DISTINCT FROM (pg_current_xact_id(), transaction_timestamp())
    RETURNING version INTO bumped;
    IF FOUND THEN
        PERFORM pg_notify('postern_registry', bumped::text);
        RETURN bumped;
    END IF;
    SELECT version INTO STRICT bumped FROM postern.registry_state;
    RETURN bumped;
END $$;

CREATE FUNCTION postern.registry_touch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM postern.registry_bump();
    RETURN NULL;
END $$;

-- Every change of a registry row: who (the session's own name, whatever role it has taken on), when, what
-- it was and is, and why.  The reason is the setting postern.reason of the transaction.
CREATE TABLE postern.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL DEFAULT session_user,
    program text DEFAULT nullif(current_setting('application_name', true), ''),
    client_address inet DEFAULT inet_client_addr(),
    version bigint,
    table_name text NOT NULL,
    operation text NOT NULL CHECK (operation IN ('insert', 'update', 'delete', 'truncate')),
    old_row jsonb,
    new_row jsonb,
    reason text
);
CREATE INDEX audit_by_time ON postern.audit (at);

CREATE FUNCTION postern.audit_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before jsonb;
    after jsonb;
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        before := to_jsonb(OLD);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        after := to_jsonb(NEW);
    END IF;
    IF TG_OP <> 'UPDATE' OR before IS DISTINCT FROM after THEN
        INSERT INTO postern.audit (version, table_name, operation, old_row, new_row, reason)
        SELECT version, TG_TABLE_NAME, lower(TG_OP), before, after,
               nullif(current_setting('postern.reason', true), '')
        FROM postern.registry_state;
    END IF;
    RETURN NULL;
END $$;

-- A name of a mail domain as relayctl stores it: lower-case A-labels, two labels at least.  A leading dot
-- takes the subdomains.
CREATE FUNCTION postern.is_domain(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT length(name) <= 253
       AND name ~ '^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$'
$$;

-- Limits: NULL is "none".
CREATE TABLE postern.customers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
        CONSTRAINT customers_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$'),
    contact text
        CONSTRAINT customers_contact_form CHECK (length(contact) <= 320 AND contact ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'),
    state text NOT NULL DEFAULT 'active'
        CONSTRAINT customers_state_word CHECK (state IN ('active', 'suspended', 'refused')),
    state_reason text,
    max_recipients_per_message integer DEFAULT 50
        CONSTRAINT customers_max_recipients_per_message_range CHECK (max_recipients_per_message BETWEEN 1 AND 100000),
    max_messages_per_connection integer DEFAULT 50
        CONSTRAINT customers_max_messages_per_connection_range CHECK (max_messages_per_connection BETWEEN 1 AND 1000000),
    max_connections_per_hour integer DEFAULT 200
        CONSTRAINT customers_max_connections_per_hour_range CHECK (max_connections_per_hour BETWEEN 1 AND 10000000),
    max_message_size_bytes bigint DEFAULT 20971520
        CONSTRAINT customers_max_message_size_bytes_range CHECK (max_message_size_bytes BETWEEN 1024 AND 2147483647),
    retention_days integer DEFAULT 5
        CONSTRAINT customers_retention_days_range CHECK (retention_days BETWEEN 1 AND 365),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE postern.domains (
    name text PRIMARY KEY
        CONSTRAINT domains_name_form CHECK (postern.is_domain(ltrim(name, '.')) AND name !~ '^\.\.'),
    customer_id integer NOT NULL REFERENCES postern.customers ON DELETE RESTRICT,
    when_down text NOT NULL DEFAULT 'accept'
        CONSTRAINT domains_when_down_word CHECK (when_down IN ('accept', 'defer', 'reject')),
    -- The registered recipients are all there are: an unknown one is invalid.
    recipients_complete boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX domains_by_customer ON postern.domains (customer_id);

CREATE TABLE postern.backends (
    customer_id integer NOT NULL REFERENCES postern.customers ON DELETE RESTRICT,
    number integer NOT NULL CONSTRAINT backends_number_range CHECK (number BETWEEN 1 AND 9999),
    address inet NOT NULL
        CONSTRAINT backends_address_one_host CHECK (masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END),
    port integer NOT NULL DEFAULT 25 CONSTRAINT backends_port_range CHECK (port BETWEEN 1 AND 65535),
    priority integer NOT NULL DEFAULT 10
        CONSTRAINT backends_priority_range CHECK (priority BETWEEN 0 AND 65535),
    -- NULL: the node's backend-connections.
    max_connections integer
        CONSTRAINT backends_max_connections_range CHECK (max_connections BETWEEN 1 AND 10000),
    tls text NOT NULL DEFAULT 'may'
        CONSTRAINT backends_tls_word CHECK (tls IN ('none', 'may', 'encrypt', 'verify')),
    held boolean NOT NULL DEFAULT false,
    held_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, number),
    CONSTRAINT backends_once UNIQUE (customer_id, address, port)
);

-- Mail filters before us, a network or an SPF include each.  Their address never grants relay (P3).
CREATE TABLE postern.upstream_filters (
    customer_id integer NOT NULL REFERENCES postern.customers ON DELETE RESTRICT,
    number integer NOT NULL CHECK (number BETWEEN 1 AND 9999),
    network cidr,
    spf_include text CHECK (postern.is_domain(spf_include)),
    exempt text[] NOT NULL DEFAULT '{}'
        CHECK (exempt <@ ARRAY['ptr', 'helo', 'dnsbl', 'greylist']),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, number),
    CHECK (num_nonnulls(network, spf_include) = 1)
);

-- Registered recipients: known valid without having been learned.
CREATE TABLE postern.recipients (
    domain text NOT NULL REFERENCES postern.domains ON UPDATE CASCADE ON DELETE CASCADE,
    local_part text NOT NULL CHECK (octet_length(local_part) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, local_part)
);

-- Tombstones: domains that were taken out on purpose, by relayctl, in the transaction that deletes the
-- domain.  A domain that is merely missing has none, and a node does not refuse its mail (DESIGN section 2);
-- that is why no trigger writes them: an unlucky DELETE must look like what it is.
CREATE TABLE postern.removed_domains (
    name text PRIMARY KEY CHECK (postern.is_domain(ltrim(name, '.')) AND name !~ '^\.\.'),
    customer_id integer NOT NULL,
    customer text NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now(),
    removed_by text NOT NULL DEFAULT session_user,
    reason text
);

CREATE FUNCTION postern.domain_is_back() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM postern.removed_domains WHERE name = NEW.name;
    RETURN NULL;
END $$;
CREATE TRIGGER domain_is_back AFTER INSERT OR UPDATE OF name ON postern.domains
    FOR EACH ROW EXECUTE FUNCTION postern.domain_is_back();

DO $$
DECLARE
    registry_table text;
BEGIN
    FOREACH registry_table IN ARRAY ARRAY['customers', 'domains', 'backends', 'upstream_filters',
                                          'recipients', 'removed_domains'] LOOP
        EXECUTE format('CREATE TRIGGER registry_touch BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON postern.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION postern.registry_touch()', registry_table);
        EXECUTE format('CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON postern.%I
                        FOR EACH ROW EXECUTE FUNCTION postern.audit_change()', registry_table);
        EXECUTE format('CREATE TRIGGER audit_truncate AFTER TRUNCATE ON postern.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION postern.audit_change()', registry_table);
    END LOOP;
END $$;

-- What a node's control process reads, in one REPEATABLE READ transaction.  Names and columns are a contract.
CREATE VIEW postern.replica_state AS
    SELECT database_id, version, schema_version FROM postern.registry_state;

CREATE VIEW postern.replica_customers AS
    SELECT id, name, state, max_recipients_per_message, max_messages_per_connection,
           max_connections_per_hour, max_message_size_bytes,
           coalesce(retention_days, 3650) AS retention_days -- "none" is ten years: a date must be computed
    FROM postern.customers;

CREATE VIEW postern.replica_domains AS
    SELECT name, customer_id, when_down, false AS removed FROM postern.domains
    UNION ALL
    SELECT name, customer_id, 'accept', true FROM postern.removed_domains gone
    WHERE NOT EXISTS (SELECT FROM postern.domains there WHERE there.name = gone.name);

CREATE VIEW postern.replica_backends AS
    SELECT customer_id, number, host(address) AS address, port, priority,
           coalesce(max_connections, 0) AS max_connections, tls, held
    FROM postern.backends;
