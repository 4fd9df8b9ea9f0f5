-- SPDX-License-Identifier: BSD-2-Clause
--
-- What a customer thinks of senders: its policy, the filters before us, and what it and the operators let in or
-- keep out by name.

-- "standard", or "standard,spf=mark,dnsbl=off": a profile and what differs from it.
CREATE FUNCTION postern.is_policy(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT length(value) <= 255
       AND value ~ ('^(strict|standard|off)(,('
                    '(ban|ptr-none|ptr-mismatch|dialin|dnsbl|sender|spf|spf-soft|spf-perm|spf-temp)=(off|mark|defer|reject)'
                    '|helo=(off|mark|defer|reject|forged)|greylist=(off|defer|suspect)))*$')
$$;

-- Customers that are there already keep what they have had: no check.  New ones begin with "standard".
ALTER TABLE postern.customers
    ADD COLUMN policy text NOT NULL DEFAULT 'off'
        CONSTRAINT customers_policy_form CHECK (postern.is_policy(policy)),
    -- Nobody but the customer's filters may send to it.
    ADD COLUMN filters_only boolean NOT NULL DEFAULT false;
ALTER TABLE postern.customers ALTER COLUMN policy SET DEFAULT 'standard';

CREATE OR REPLACE FUNCTION postern.is_temporary_value(field text, value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN field = 'connections_scope' THEN coalesce(value IN ('customer', 'client'), false)
        WHEN field = 'bare_lf' THEN coalesce(value IN ('refuse', 'normalise'), false)
        WHEN field = 'policy' THEN coalesce(postern.is_policy(value), false)
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
        'max_spool_bytes', 'policy'));

-- A filter is named CUSTOMER/LABEL and has one row or more, each a network or an SPF include.
ALTER TABLE postern.upstream_filters
    ADD COLUMN label text NOT NULL DEFAULT 'filter'
        -- No number alone: that is the name of one row.
        CONSTRAINT upstream_filters_label_form CHECK (label ~ '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$' AND label !~ '^[0-9]+$'),
    -- Whom SPF and block lists judge: who connects, or the client that the filter's Received line names.
    ADD COLUMN origin text NOT NULL DEFAULT 'connection'
        CONSTRAINT upstream_filters_origin_word CHECK (origin IN ('connection', 'received')),
    ALTER COLUMN exempt SET DEFAULT '{ptr,helo,dnsbl,greylist}',
    -- An exemption of a quarter of the Internet is a mistake. What is there already is left as it is.
    ADD CONSTRAINT upstream_filters_network_width
        CHECK (masklen(network) >= CASE family(network) WHEN 4 THEN 8 ELSE 16 END) NOT VALID;
CREATE UNIQUE INDEX upstream_filters_once
    ON postern.upstream_filters (customer_id, coalesce(network::text, spf_include));

-- The networks that an include led to when it was last looked up with success, by whichever node.  It is
-- what a node begins with that cannot ask; it is nobody's decision, so it has neither audit nor version.
CREATE TABLE postern.spf_includes (
    name text PRIMARY KEY CONSTRAINT spf_includes_name_form CHECK (postern.is_domain(name)),
    resolved cidr[],
    resolved_at timestamptz,
    -- Why the last look-up failed; NULL: it did not.
    resolve_error text,
    tried_at timestamptz NOT NULL DEFAULT now()
);

-- For relayd's control process.  Without networks it failed, and what was known stays.
CREATE FUNCTION postern.include_resolved(of_name text, networks cidr[], error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM postern.spf_includes i
    WHERE NOT EXISTS (SELECT FROM postern.upstream_filters f WHERE f.spf_include = i.name);
    INSERT INTO postern.spf_includes AS i (name, resolved, resolved_at, resolve_error)
    SELECT of_name, networks, CASE WHEN networks IS NOT NULL THEN now() END, left(error, 500)
    WHERE EXISTS (SELECT FROM postern.upstream_filters f WHERE f.spf_include = of_name)
    ON CONFLICT (name) DO UPDATE
    SET resolved = coalesce(excluded.resolved, i.resolved), resolved_at = coalesce(excluded.resolved_at, i.resolved_at),
        resolve_error = excluded.resolve_error, tried_at = now();
END $$;

-- Whom a customer lets in or keeps out before any check; of no customer: the operators' list for every node.
CREATE TABLE postern.sender_rules (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer REFERENCES postern.customers ON DELETE CASCADE,
    action text NOT NULL
        CONSTRAINT sender_rules_action_word CHECK (action IN ('allow', 'block')),
    network cidr,
    sender text
        CONSTRAINT sender_rules_sender_form
            CHECK (octet_length(sender) <= 320 AND sender = lower(sender COLLATE "C") AND sender ~ '^[^[:cntrl:]]+@[^@[:space:][:cntrl:]]+$'),
    -- ".acme.example": its subdomains, and not itself; ".example": all of a top-level domain.
    domain text
        CONSTRAINT sender_rules_domain_form
            CHECK (postern.is_domain(ltrim(domain, '.')) AND domain !~ '^\.\.' OR domain ~ '^\.[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'),
    reason text
        CONSTRAINT sender_rules_reason_length CHECK (length(reason) BETWEEN 1 AND 200),
    expires_at timestamptz
        CONSTRAINT sender_rules_expires_range CHECK (expires_at < '2200-01-01 00:00:00+00'),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT session_user,
    CONSTRAINT sender_rules_one_value CHECK (num_nonnulls(network, sender, domain) = 1),
    CONSTRAINT sender_rules_block_reason CHECK (action = 'allow' OR reason IS NOT NULL),
    -- Who may write to whom by name is a customer's business, not the node's.
    CONSTRAINT sender_rules_node_wide CHECK (customer_id IS NOT NULL OR network IS NOT NULL),
    CONSTRAINT sender_rules_network_width
        CHECK (masklen(network) >= CASE family(network) WHEN 4 THEN 8 ELSE 16 END)
);
CREATE UNIQUE INDEX sender_rules_once
    ON postern.sender_rules (coalesce(customer_id, 0), action, coalesce(network::text, sender, domain));

CREATE FUNCTION postern.sender_rule_signed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.created_by := session_user;
    NEW.created_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER sender_rule_signed BEFORE INSERT OR UPDATE ON postern.sender_rules
    FOR EACH ROW EXECUTE FUNCTION postern.sender_rule_signed();
CREATE TRIGGER registry_touch BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON postern.sender_rules
    FOR EACH STATEMENT EXECUTE FUNCTION postern.registry_touch();
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON postern.sender_rules
    FOR EACH ROW EXECUTE FUNCTION postern.audit_change();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON postern.sender_rules
    FOR EACH STATEMENT EXECUTE FUNCTION postern.audit_change();

-- The new columns come last: a view's columns are a contract.
CREATE OR REPLACE VIEW postern.replica_customers AS
    SELECT id, name, state, max_recipients_per_message, max_messages_per_connection,
           max_connections_per_hour, max_message_size_bytes,
           coalesce(retention_days, 3650) AS retention_days, -- "none" is ten years: a date must be computed
           connections_scope, bare_lf, live_4xx, max_spool_messages, max_spool_bytes, contact, language, policy,
           filters_only
    FROM postern.customers;

CREATE VIEW postern.replica_filters AS
    SELECT customer_id, number, label, network::text AS network, spf_include, array_to_string(exempt, ',') AS exempt, origin
    FROM postern.upstream_filters;

CREATE VIEW postern.replica_includes AS
    SELECT name, array_to_string(resolved, ' ') AS resolved, floor(extract(epoch FROM resolved_at) * 1000)::bigint AS resolved_ms
    FROM postern.spf_includes
    WHERE resolved IS NOT NULL;

-- A rule that has ended stays for a day, for nodes whose clock is behind.
CREATE VIEW postern.replica_rules AS
    SELECT coalesce(customer_id, 0) AS customer_id, action, network::text AS network, sender, domain, reason,
           floor(extract(epoch FROM expires_at) * 1000)::bigint AS expires_ms
    FROM postern.sender_rules
    WHERE expires_at IS NULL OR expires_at > now() - interval '1 day';

REVOKE ALL ON FUNCTION postern.is_policy(text), postern.include_resolved(text, cidr[], text), postern.sender_rule_signed()
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.is_policy(text), postern.is_temporary_value(text, text) TO postern_operator;
GRANT EXECUTE ON FUNCTION postern.include_resolved(text, cidr[], text) TO postern_relay;
REVOKE ALL ON postern.spf_includes, postern.sender_rules, postern.replica_filters, postern.replica_includes,
    postern.replica_rules FROM PUBLIC;
GRANT SELECT ON postern.spf_includes, postern.sender_rules TO postern_support, postern_operator;
GRANT INSERT, UPDATE, DELETE ON postern.sender_rules TO postern_operator;
GRANT SELECT ON postern.replica_filters, postern.replica_includes, postern.replica_rules TO postern_relay, postern_spool,
    postern_operator, postern_support;
