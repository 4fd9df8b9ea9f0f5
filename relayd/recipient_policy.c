/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The checks of a recipient in their order, each a small function of what the replica says. Nothing
 * here waits.
 */
#include "relayd/recipient_policy.h"

#include "base/clock.h"
#include "base/log.h"
#include "relayd/decision.h"

#define NAMES_MAX 32 /* own addresses looked for in a reply */

static enum smtp_verdict
replace_postmaster(struct worker *w, struct smtp_rcpt *rcpt)
{
    if (!rcpt->path.is_postmaster)
        return SMTP_VERDICT_OK;
    return smtp_path_parse_mailbox(slice_of(w->config->postmaster), &rcpt->path) == ERR_OK
               ? SMTP_VERDICT_OK
               : SMTP_VERDICT_POSTMASTER_UNSET;
}

/* This host itself, by name or by any address: a question for an open relay, unless an operator has
 * registered the name. */
static bool
is_relay_itself(const struct worker *w, const char *name)
{
    return name[0] == '[' || strcasecmp(name, w->config->hostname) == 0;
}

static enum smtp_verdict
find_domain(struct worker *w, const char *name, struct registry_domain *domain)
{
    switch (registry_find_domain(w->registry, name, domain)) {
    case ERR_OK:
        break;
    case ERR_NOT_FOUND:
        return is_relay_itself(w, name) ? SMTP_VERDICT_RELAY_FORM : SMTP_VERDICT_RELAY_DENIED;
    default:
        return SMTP_VERDICT_NO_REGISTRY;
    }
    if (domain->removed)
        return SMTP_VERDICT_RELAY_DENIED;
    return domain->missing_since_ms ? SMTP_VERDICT_DOMAIN_MISSING : SMTP_VERDICT_OK;
}

static enum smtp_verdict
find_customer(struct worker *w, const struct smtp_mail *mail, uint32_t id,
              struct registry_customer *customer)
{
    if (registry_find_customer(w->registry, id, clock_wall_ms(), customer) < 0)
        return SMTP_VERDICT_NO_REGISTRY;
    if (customer->state == REGISTRY_CUSTOMER_SUSPENDED)
        return SMTP_VERDICT_SUSPENDED;
    if (customer->state == REGISTRY_CUSTOMER_SUSPENDED_REFUSE)
        return SMTP_VERDICT_SUSPENDED_REFUSE;
    if (mail->has_size && mail->size_bytes > customer->max_message_size_bytes)
        return SMTP_VERDICT_TOO_BIG_RCPT;
    return SMTP_VERDICT_OK;
}

enum smtp_verdict
recipient_policy_route(struct worker *w, const struct smtp_mail *mail, struct smtp_rcpt *rcpt,
                       struct recipient_route *route,
                       struct registry_backend backends[REGISTRY_BACKENDS_MAX])
{
    enum smtp_verdict verdict;

    verdict = replace_postmaster(w, rcpt);
    if (verdict != SMTP_VERDICT_OK)
        return verdict;
    if (decision_local_part_is_relay_form(&rcpt->path))
        return SMTP_VERDICT_RELAY_FORM;
    if (w->registry == NULL)
        return SMTP_VERDICT_NO_REGISTRY;
    verdict = find_domain(w, rcpt->path.domain, &route->domain);
    if (verdict != SMTP_VERDICT_OK)
        return verdict;
    verdict = find_customer(w, mail, route->domain.customer_id, &route->customer);
    if (verdict != SMTP_VERDICT_OK)
        return verdict;
    /* A domain without a server, yet or any more, is as one whose server is down. */
    switch (registry_find_backends(w->registry, &route->domain, backends, &route->backend_count)) {
    case ERR_OK:
        return SMTP_VERDICT_OK;
    case ERR_NOT_FOUND:
        route->backend_count = 0;
        return SMTP_VERDICT_OK;
    default:
        return SMTP_VERDICT_NO_REGISTRY;
    }
}

enum recipient_listed
recipient_policy_listed(struct worker *w, const struct registry_domain *domain,
                        const struct smtp_path *path)
{
    struct slice local = {path->text, path->local_length};
    int rc;

    if (!domain->has_recipients)
        return RECIPIENT_NOT_LISTED;
    rc = registry_find_recipient(w->registry, domain, local);
    if (rc == ERR_OK)
        return RECIPIENT_LISTED;
    if (rc != ERR_NOT_FOUND)
        return RECIPIENT_LIST_UNREADABLE;
    if (!domain->is_recipients_complete || slice_equal_nocase(local, SLICE("postmaster")))
        return RECIPIENT_NOT_LISTED;
    return RECIPIENT_NOT_ON_COMPLETE_LIST;
}

bool
recipient_policy_blames_us(struct worker *w, struct backend_link *link,
                           const struct smtp_reply *reply, const char *session)
{
    char own[NAMES_MAX][INET_ENDPOINT_SIZE], text[SMTP_REPLY_LINE_SIZE],
        backend[INET_ENDPOINT_SIZE] = "-";
    const char *names[NAMES_MAX + 1] = {w->config->hostname};
    size_t count = 1;

    if (reply == NULL || reply->code < 500)
        return false;
    for (size_t i = 0; i < w->config->listen.count && count <= NAMES_MAX; i++, count++)
        names[count] = inet_address_text(&w->config->listen.items[i], own[count - 1]);
    if (!decision_blames_us(reply, names, count))
        return false;
    if (link)
        inet_endpoint_text(backend_link_endpoint(link), backend);
    log_line(LOG_LEVEL_ALARM, session, "backend-blames-us",
             "backend=%s reply=\"%s\" remedy=\"exempt this host from the server's sender checks\"",
             backend, smtp_reply_text(reply, text, sizeof text));
    return true;
}

void
recipient_policy_pass(const struct inet_endpoint *backend, const char *backend_name,
                      enum smtp_phase phase, const struct smtp_reply *backend_reply, struct ref ref,
                      struct smtp_reply *reply)
{
    struct decision_passing passing = {
        .from = backend_reply,
        .phase = phase,
        .backend = backend,
        .banner_name = backend_name,
        .ref = ref,
    };

    decision_pass_reply(&passing, reply);
}

void
recipient_policy_learn(struct worker *w, uint32_t customer_id, const char *key, bool valid,
                       const struct inet_endpoint *backend)
{
    state_recipient_learn(w->state, customer_id, key, valid, backend);
}
