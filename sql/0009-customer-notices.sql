-- SPDX-License-Identifier: BSD-2-Clause
--
-- The keeper of a node tells a customer's staff of trouble, in the customer's language; so both are in the replica.

ALTER TABLE postern.customers
    ADD COLUMN language text NOT NULL DEFAULT 'en'
        CONSTRAINT customers_language_word CHECK (language IN ('en', 'de', 'nl', 'da'));

-- The new columns come last: a view's columns are a contract.
CREATE OR REPLACE VIEW postern.replica_customers AS
    SELECT id, name, state, max_recipients_per_message, max_messages_per_connection,
           max_connections_per_hour, max_message_size_bytes,
           coalesce(retention_days, 3650) AS retention_days, -- "none" is ten years: a date must be computed
           connections_scope, bare_lf, live_4xx, max_spool_messages, max_spool_bytes, contact, language
    FROM postern.customers;
