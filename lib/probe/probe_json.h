/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The question and the report of a conversation as one line of JSON each, for a control socket.
 */
#ifndef PROBE_JSON_H
#define PROBE_JSON_H

#include <jansson.h>

#include "probe/probe_health.h"

/* {"verb": VERB, "address", "port", "tls", "tls_name", "rcpt", "limit"}; a new reference. */
json_t *probe_json_of_question(const char *verb, const struct probe_question *question);
/* ERR_SYNTAX: it is none. */
MUST_USE int probe_json_question(const json_t *json, struct probe_question *question);
/* {"ok": true, "up", "by", "before", "after", "steps": [{"step", "ms", "ok", "reply"}]}; by: who
 * has made it. */
json_t *probe_json_of_report(const struct probe_report *report, const struct probe_change *change,
                             const char *by);

#endif
