-- SPDX-License-Identifier: BSD-2-Clause
--
-- Orders to the spools of the nodes, given through PostgreSQL: an operator inserts a command for a node, that node's
-- keeper takes it, carries it out, and answers when all of it is durable in its ledger.  The ledger is the truth
-- (P5); a command lives for a day, one that is open until its node's keeper has seen it, and what it has done stands
-- in the audit for good.
--
--   waiting --the keeper--> taken --the keeper--> done
--       \-----the operator-----\--> withdrawn
--
-- A command that is withdrawn while it waits is never carried out.  A keeper that died with one is followed by
-- one that takes it again: orders know what is so already.
CREATE TABLE postern.spool_commands (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node integer NOT NULL CHECK (node BETWEEN 1 AND 32767),
    given_at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL DEFAULT session_user,
    program text,
    client_address inet,
    act text NOT NULL CHECK (act IN ('retry', 'hold', 'release', 'extend', 'redirect', 'remove', 'return')),
    reason text NOT NULL DEFAULT '' CHECK (octet_length(reason) <= 500),
    detail text NOT NULL DEFAULT '' CHECK (octet_length(detail) <= 500),
    until timestamptz CHECK (isfinite(until)),
    customer_id bigint NOT NULL DEFAULT 0,
    backend integer NOT NULL DEFAULT 0,
    refs text[] NOT NULL CHECK (cardinality(refs) BETWEEN 1 AND 2000),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done', 'withdrawn')),
    taken_at timestamptz,
    done_at timestamptz,
    result jsonb
);
CREATE INDEX spool_commands_open ON postern.spool_commands (node) WHERE state IN ('waiting', 'taken');
CREATE INDEX spool_commands_by_time ON postern.spool_commands (given_at);

-- When each node's keeper looked for commands last; follows: the index agrees with its log.
CREATE TABLE postern.spool_nodes (
    node integer PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    follows boolean NOT NULL
) WITH (fillfactor = 50);

-- Who gives a command is who the session belongs to, and nobody else.
CREATE FUNCTION postern.spool_command_given() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
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
CREATE TRIGGER spool_command_given BEFORE INSERT ON postern.spool_commands
    FOR EACH ROW EXECUTE FUNCTION postern.spool_command_given();

-- The row of the audit: of what is done, or (outcome) of what may have been.
CREATE FUNCTION postern.spool_command_audit(command postern.spool_commands, refs jsonb, outcome text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO postern.audit (who, program, client_address, table_name, operation, new_row, reason)
    VALUES (command.who, command.program, command.client_address, 'spool',
            CASE command.act WHEN 'remove' THEN 'delete' ELSE 'update' END,
            jsonb_build_object('node', command.node, 'key', 'command-' || command.id, 'act', command.act,
                               'detail', nullif(command.detail, ''), 'refs', refs)
                || CASE WHEN outcome IS NULL THEN '{}' ELSE jsonb_build_object('outcome', outcome) END,
            nullif(command.reason, ''))
$$;

-- What nobody waits for any more is not begun, nor begun again: other orders may have come since.
CREATE FUNCTION postern.spool_command_drop(command postern.spool_commands) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE postern.spool_commands SET state = 'withdrawn', done_at = now() WHERE id = command.id;
    IF command.state = 'taken' THEN
        PERFORM postern.spool_command_audit(command, to_jsonb(command.refs), 'not known');
    END IF;
END $$;

-- For the keeper of a node: up to `most` commands, as lib/order/order_json.h has them, but for those that it knows.
-- was_taken: a keeper may have carried it out.  Says as well that this keeper is there, and cleans up.
CREATE FUNCTION postern.spool_commands_take(of_node integer, known bigint[], most integer, is_following boolean)
RETURNS TABLE (id bigint, was_taken boolean, who text, command text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO postern.spool_nodes AS n VALUES (of_node, now(), is_following)
    ON CONFLICT (node) DO UPDATE SET seen_at = EXCLUDED.seen_at, follows = EXCLUDED.follows
        WHERE n.seen_at < now() - interval '2 seconds' OR n.follows <> EXCLUDED.follows;
    PERFORM postern.spool_command_drop(c)
    FROM postern.spool_commands c
    WHERE c.node = of_node AND c.state IN ('waiting', 'taken') AND c.id <> ALL (known)
      AND c.given_at < now() - CASE c.state WHEN 'waiting' THEN interval '1 minute' ELSE interval '10 minutes' END;
    DELETE FROM postern.spool_commands c
    WHERE c.state IN ('done', 'withdrawn') AND c.given_at < now() - interval '1 day';
    RETURN QUERY
    WITH open AS (SELECT c.id, c.state = 'taken' AS was_taken
                  FROM postern.spool_commands c
                  WHERE c.node = of_node AND c.state IN ('waiting', 'taken') AND c.id <> ALL (known)
                  ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED),
         taken AS (UPDATE postern.spool_commands c SET state = 'taken', taken_at = now()
                   FROM open WHERE c.id = open.id
                   RETURNING c.id, open.was_taken, c.who,
                             jsonb_build_object('act', c.act, 'reason', c.reason, 'detail', c.detail,
                                                'until_ms', coalesce((extract(epoch FROM c.until) * 1000)::bigint, 0),
                                                'customer_id', c.customer_id, 'backend', c.backend,
                                                'ids', c.refs)::text AS command)
    SELECT t.id, t.was_taken, t.who, t.command FROM taken t ORDER BY t.id;
END $$;

-- For the keeper: what has come of it; it says so if that is not known.  Said again it changes nothing.
CREATE FUNCTION postern.spool_command_answer(of_node integer, which bigint, answer jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    command postern.spool_commands;
BEGIN
    UPDATE postern.spool_commands c
    SET state = CASE c.state WHEN 'withdrawn' THEN c.state ELSE 'done' END, result = answer, done_at = now()
    WHERE c.id = which AND c.node = of_node AND c.state IN ('taken', 'withdrawn') AND c.result IS NULL
    RETURNING c.* INTO command;
    IF FOUND AND jsonb_array_length(coalesce(answer -> 'ids', '[]')) > 0 THEN
        PERFORM postern.spool_command_audit(command, answer -> 'ids', NULL);
    ELSIF FOUND AND command.state = 'done' AND answer ->> 'outcome' = 'not known' THEN
        PERFORM postern.spool_command_audit(command, to_jsonb(command.refs), 'not known');
    END IF;
    PERFORM pg_notify('postern_answers', which::text);
END $$;

-- For who has given it: the state that it was in.  'waiting': nothing of it is done, nor will be; 'taken': what has
-- come of it is not known; 'done': too late, and there is a result; NULL: this session's user has given no such one.
CREATE FUNCTION postern.spool_command_withdraw(which bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    command postern.spool_commands;
BEGIN
    SELECT c.* INTO command FROM postern.spool_commands c WHERE c.id = which AND c.who = session_user FOR UPDATE;
    IF command.state IN ('waiting', 'taken') THEN
        PERFORM postern.spool_command_drop(command);
    END IF;
    RETURN command.state;
END $$;

REVOKE ALL ON FUNCTION postern.spool_command_given(), postern.spool_command_audit(postern.spool_commands, jsonb, text),
    postern.spool_command_drop(postern.spool_commands),
    postern.spool_commands_take(integer, bigint[], integer, boolean),
    postern.spool_command_answer(integer, bigint, jsonb), postern.spool_command_withdraw(bigint) FROM PUBLIC;
GRANT SELECT ON postern.spool_commands TO postern_operator;
GRANT INSERT (node, act, reason, detail, until, customer_id, backend, refs) ON postern.spool_commands
    TO postern_operator;
GRANT SELECT ON postern.spool_nodes TO postern_operator, postern_support;
GRANT EXECUTE ON FUNCTION postern.spool_command_withdraw(bigint) TO postern_operator;
GRANT EXECUTE ON FUNCTION postern.spool_commands_take(integer, bigint[], integer, boolean),
    postern.spool_command_answer(integer, bigint, jsonb) TO postern_spool;
