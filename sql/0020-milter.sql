-- SPDX-License-Identifier: BSD-2-Clause
--
-- Content scanners at the end of the message: the check milter of a customer's policy, and in an event that is
-- shortened which scanner said what, without its words.

CREATE OR REPLACE FUNCTION postern.is_policy(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT length(value) <= 255
       AND value ~ ('^(strict|standard|off)(,('
                    '(ban|ptr-none|ptr-mismatch|dialin|dnsbl|sender|spf|spf-soft|spf-perm|spf-temp|milter)=(off|mark|defer|reject)'
                    '|helo=(off|mark|defer|reject|forged)|greylist=(off|defer|suspect)))*$')
$$;

CREATE OR REPLACE FUNCTION postern.event_short_checks(checks jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('check', c -> 'check', 'name', c -> 'name', 'result', c -> 'result',
                                                          'ms', c -> 'ms')))
    FROM jsonb_array_elements(CASE jsonb_typeof(checks) WHEN 'array' THEN checks ELSE '[]' END) c
    WHERE jsonb_typeof(c) = 'object'
$$;
