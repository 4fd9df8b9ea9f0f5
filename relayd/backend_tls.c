/* SPDX-License-Identifier: BSD-2-Clause
 *
 * TLS to backends (RFC 3207): whether it is wanted, its beginning behind the 220, and what it means
 * that it failed.  What policy and what name is the target's.
 *
 * Invariants: no message goes in the clear behind a policy that needs TLS; what a backend has sent
 * in the clear behind its 220 is thrown away; with policy `may` no message fails by TLS.
 */
#include <stdio.h>

#include "base/log.h"
#include "relayd/backend_private.h"
#include "route/destination_link.h"

static struct worker *
worker_of(const struct backend_target *target)
{
    return backend_place_worker(target->place);
}

enum smtp_client_tls
link_tls_wanted(const struct backend_target *target)
{
    switch (target->to.tls) {
    case REGISTRY_TLS_NONE:
        return SMTP_CLIENT_TLS_NONE;
    case REGISTRY_TLS_MAY:
        return place_now_ms(target->place) < target->clear_until_ms ? SMTP_CLIENT_TLS_NONE
                                                                    : SMTP_CLIENT_TLS_MAY;
    case REGISTRY_TLS_ENCRYPT:
    case REGISTRY_TLS_VERIFY:
        break;
    }
    return SMTP_CLIENT_TLS_MUST;
}

static void
note_injection(struct backend_link *link, size_t octets)
{
    struct worker *w = worker_of(link->target);
    char endpoint[INET_ENDPOINT_SIZE];

    if (octets == 0)
        return;
    shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_INJECTIONS);
    log_line(
        LOG_LEVEL_WARN, NULL, "backend-injects",
        "endpoint=%s octets=%zu effect=\"thrown away: it stood in plain text behind the 220 to "
        "STARTTLS\"",
        inet_endpoint_text(backend_link_endpoint(link), endpoint), octets);
}

void
link_tls_begin(struct backend_link *link, int64_t timeout_ms)
{
    const struct destination *to = &link->target->to;
    SSL *ssl = tls_client_ssl(worker_of(link->target)->tls_client, destination_policy(to),
                              destination_name(to), &to->endpoint);

    note_injection(link, smtp_client_injected_bytes(link->client) +
                             conn_start_tls(link->conn, ssl, timeout_ms));
}

void
link_tls_ready(struct backend_link *link)
{
    struct worker *w = worker_of(link->target);

    link->is_secure = true;
    shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_TLS);
    if (conn_tls_is_resumed(link->conn))
        shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_TLS_RESUMED);
    smtp_client_tls_started(link->client);
}

void
link_tls_explain(const struct backend_link *link, enum smtp_phase phase, struct smtp_reply *reply)
{
    const char *why = conn_tls_error(link->conn);
    char text[SMTP_REPLY_LINE_SIZE];

    if (phase != SMTP_PHASE_STARTTLS || reply->code != 0 || why[0] == '\0')
        return;
    snprintf(text, sizeof text, "TLS handshake failed: %s", why);
    *reply = smtp_reply_make(0, NULL, text);
}

bool
target_goes_on_in_clear(struct backend_target *target, enum smtp_phase phase, bool was_secure,
                        const struct smtp_reply *reply)
{
    struct worker *w = worker_of(target);
    char endpoint[INET_ENDPOINT_SIZE], quoted[SMTP_REPLY_LINE_SIZE + 8];

    if (target->to.tls != REGISTRY_TLS_MAY || reply->code != 0 ||
        !(phase == SMTP_PHASE_STARTTLS || (phase == SMTP_PHASE_EHLO && was_secure)))
        return false;
    target->clear_until_ms = place_now_ms(target->place) + BACKEND_CLEAR_MS;
    shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_TLS_FALLBACKS);
    log_line(LOG_LEVEL_WARN, NULL, "backend-tls-fallback",
             "endpoint=%s why=%s effect=\"in the clear for %d s\"",
             inet_endpoint_text(&target->to.endpoint, endpoint),
             log_quote(slice_of(reply->text), quoted, sizeof quoted), BACKEND_CLEAR_MS / 1000);
    return true;
}
