-- SPDX-License-Identifier: BSD-2-Clause
--
-- The index of the spool: what the nodes' logs hold, mirrored by each keeper so that staff can ask with SQL.
-- It decides nothing and can be rebuilt from the logs at any time; so it has no foreign keys, is no part of
-- the registry and is not audited.
CREATE TABLE postern.spool_index (
    ref text PRIMARY KEY,
    node integer NOT NULL,
    customer_id integer,
    customer text,
    reverse_path text NOT NULL DEFAULT '',
    recipients text[] NOT NULL DEFAULT '{}',
    open_recipients integer NOT NULL DEFAULT 0,
    size_bytes bigint NOT NULL DEFAULT 0,
    received_at timestamptz,
    expires_at timestamptz,
    next_attempt_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_reply text,
    state text NOT NULL DEFAULT 'waiting',
    segment text,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- Few indexes: each costs every update of an attempt its heap-only tuple.  None is on next_attempt_at or
-- attempts, which change most.
CREATE INDEX spool_index_by_customer ON postern.spool_index (customer_id, received_at);
CREATE INDEX spool_index_by_node ON postern.spool_index (node);
CREATE INDEX spool_index_by_arrival ON postern.spool_index (received_at);
