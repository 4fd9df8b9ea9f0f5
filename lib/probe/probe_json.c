/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What comes from a control socket is an operator's, and is judged all the same: lengths, address,
 * and that the recipient is one address and nothing behind it.
 */
#include "probe/probe_json.h"

#include <stdio.h>

json_t *
probe_json_of_question(const char *verb, const struct probe_question *q)
{
    char address[INET_ENDPOINT_SIZE];

    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:I}", "verb", verb, "address",
                     inet_address_text(&q->endpoint, address), "port", (int)q->endpoint.port, "tls",
                     tls_policy_text(q->tls), "tls_name", q->tls_name, "rcpt", q->rcpt, "limit",
                     (json_int_t)q->limit);
}

static int
take_rcpt(const char *text, struct probe_question *q)
{
    struct smtp_path path;

    if (text[0] == '\0')
        return ERR_OK;
    if (smtp_path_parse_mailbox(slice_of(text), &path) != ERR_OK)
        return ERR_SYNTAX;
    snprintf(q->rcpt, sizeof q->rcpt, "%s", path.text);
    return ERR_OK;
}

int
probe_json_question(const json_t *json, struct probe_question *q)
{
    const char *address = json_string_value(json_object_get(json, "address"));
    const char *tls = json_string_value(json_object_get(json, "tls"));
    const char *tls_name = json_string_value(json_object_get(json, "tls_name"));
    const char *rcpt = json_string_value(json_object_get(json, "rcpt"));
    json_int_t port = json_integer_value(json_object_get(json, "port"));
    json_int_t limit = json_integer_value(json_object_get(json, "limit"));

    *q = (struct probe_question){.tls = TLS_POLICY_MAY};
    if (limit > 0 && limit <= UINT32_MAX)
        q->limit = (uint32_t)limit;
    if (address == NULL || port < 1 || port > 65535 ||
        inet_endpoint_parse(slice_of(address), (uint16_t)port, &q->endpoint) < 0)
        return ERR_SYNTAX;
    q->endpoint.port = (uint16_t)port;
    if (tls && tls_policy_parse(slice_of(tls), &q->tls) < 0)
        return ERR_SYNTAX;
    if (tls_name && !slice_to_text(slice_of(tls_name), q->tls_name, sizeof q->tls_name))
        return ERR_SYNTAX;
    return take_rcpt(rcpt ? rcpt : "", q);
}

json_t *
probe_json_of_report(const struct probe_report *report, const struct probe_change *change,
                     const char *by)
{
    json_t *steps = json_array();

    for (unsigned i = 0; i < report->count; i++) {
        const struct probe_step *s = &report->steps[i];

        json_array_append_new(steps, json_pack("{s:s, s:I, s:b, s:s}", "step", s->name, "ms",
                                               (json_int_t)s->ms, "ok", s->ok, "reply", s->text));
    }
    return json_pack("{s:b, s:b, s:s, s:s, s:s, s:o}", "ok", 1, "up", report->is_up, "by", by,
                     "before", shared_health_word(change->before), "after",
                     shared_health_word(change->after), "steps", steps);
}
