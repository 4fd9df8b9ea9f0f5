-- SPDX-License-Identifier: BSD-2-Clause
--
-- Events: what sender policy found stays of a line when it is shortened, as far as it names nobody: each check
-- with its result, and the result of SPF.  What was looked at (names, addresses), the rule and the reasons go.

-- What may stay of "checks".
CREATE FUNCTION postern.event_short_checks(checks jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('check', c -> 'check', 'result', c -> 'result', 'ms', c -> 'ms')))
    FROM jsonb_array_elements(CASE jsonb_typeof(checks) WHEN 'array' THEN checks ELSE '[]' END) c
    WHERE jsonb_typeof(c) = 'object'
$$;

CREATE OR REPLACE FUNCTION postern.event_short_detail(detail jsonb, salt text) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((SELECT jsonb_object_agg(key, value) FROM jsonb_each(detail)
                     WHERE key IN ('at', 'event', 'ref', 'node', 'customer', 'customer_id', 'domain', 'verdict', 'decided_by',
                                   'spf', 'spf_helo', 'size', 'ms', 'phases_ms', 'tls', 'cipher', 'tls_session', 'backend',
                                   'backend_tls', 'messages', 'recipients', 'commands', 'errors', 'end', 'notes', 'minute',
                                   'count', 'verdicts', 'lines', 'bytes')), '{}')
        || jsonb_strip_nulls(jsonb_build_object(
            'shortened', true,
            'client', CASE WHEN detail ? 'client'
                      THEN text(postern.event_short_client((detail ->> 'client')::inet)) END,
            'from', postern.event_short_address(detail ->> 'from', salt),
            'rcpt', CASE jsonb_typeof(detail -> 'rcpt')
                    WHEN 'array' THEN (SELECT jsonb_agg(postern.event_short_address(value, salt))
                                       FROM jsonb_array_elements_text(detail -> 'rcpt'))
                    WHEN 'string' THEN to_jsonb(postern.event_short_address(detail ->> 'rcpt', salt)) END,
            'checks', postern.event_short_checks(detail -> 'checks'),
            'reply', substring(detail ->> 'reply' FROM '^[0-9]{3}(?: [245][.][0-9]+[.][0-9]+)?'),
            'backend_reply', substring(detail ->> 'backend_reply' FROM '^[0-9]{3}(?: [245][.][0-9]+[.][0-9]+)?')))
$$;

REVOKE ALL ON FUNCTION postern.event_short_checks(jsonb) FROM PUBLIC;
