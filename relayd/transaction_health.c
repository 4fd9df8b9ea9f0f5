/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a transaction tells about its backend's health, and what that changes in it (DESIGN section
 * 5).  While a backend recovers, its refusal of a recipient is looked at before the sender hears of
 * it: the state process is asked whether the recipient is known valid.  If it has become `refusing`
 * meanwhile, it counts as away for what is still under way to it.
 */
#include "relayd/transaction_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "relayd/probe.h"

/* One RCPT with failover; the last attempt may need backend-connect-timeout. */
#define RCPT_MS 30000
#define BEGIN_MS 1000 /* so long any backend may be begun with, however long that timeout is */

/* --- Verdicts. */

static void
say_news(struct transaction *t, enum shared_health_news news)
{
    char text[INET_ENDPOINT_SIZE];

    inet_endpoint_text(&t->backend, text);
    if (news == SHARED_HEALTH_NOW_UP)
        log_line(LOG_LEVEL_INFO, NULL, "backend-recovered", "endpoint=%s", text);
    else if (news == SHARED_HEALTH_NOW_REFUSING)
        log_line(LOG_LEVEL_ALARM, t->ref_text, "backend-refusing",
                 "endpoint=%s customer=%s why=\"back from an outage, it refuses recipients that it "
                 "took before\" effect=\"mail is kept and nothing is bounced\" remedy=\"mend the "
                 "customer's server, then: relayctl backend release %s/N\"",
                 text, t->route.customer.name, t->route.customer.name);
}

static void
count(struct transaction *t, enum shared_verdict verdict)
{
    const struct worker *w = t->worker;
    uint64_t hash = verdict == SHARED_VERDICT_REFUSED_KNOWN
                        ? shared_recipient_hash(w->table, t->route.customer.id, t->rcpt_key)
                        : 0;

    say_news(t, shared_health_verdict(w->table, &t->backend, verdict, hash, clock_wall_ms(),
                                      w->config->probe_interval_min_ms));
}

static void
on_known(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;
    enum decision_known known = transaction_memory_known(t, answer);
    bool is_known = known == DECISION_KNOWN_VALID;
    bool refuses;

    t->query = NULL;
    if (!answer->is_told && known == DECISION_KNOWN_NOT)
        known = DECISION_KNOWN_VALID; /* it may be: our own trouble refuses nobody for good */
    count(t, is_known ? SHARED_VERDICT_REFUSED_KNOWN : SHARED_VERDICT_REFUSED);
    refuses = shared_health_state_of(t->worker->table, &t->backend, clock_wall_ms()) ==
              SHARED_HEALTH_REFUSING;
    transaction_resolve(
        t, (struct decision_rcpt_input){
               .backend = refuses && is_known ? DECISION_BACKEND_DOWN : DECISION_BACKEND_RECOVERING,
               .class = SMTP_CLASS_REFUSED,
               .reply = &t->said,
               .reply_is_to_mail = t->said_phase == SMTP_PHASE_MAIL,
               .known = known,
               .is_picky = true,
           });
}

bool
transaction_health_hears(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                         const struct smtp_reply *reply)
{
    enum shared_health_state state;

    if (class == SMTP_CLASS_OK)
        count(t, SHARED_VERDICT_ACCEPTED);
    if (class != SMTP_CLASS_REFUSED)
        return false;
    state = shared_health_state_of(t->worker->table, &t->backend, clock_wall_ms());
    if (state != SHARED_HEALTH_RECOVERING && state != SHARED_HEALTH_REFUSING)
        return false;
    t->said = *reply;
    t->said_phase = phase;
    transaction_memory_ask(t, on_known);
    return true;
}

/* --- Transactions that break. */

void
transaction_health_broke(struct transaction *t)
{
    const struct worker *w = t->worker;
    const char *first = t->recipient_count ? t->recipients[0].address : t->rcpt.path.text;
    char text[INET_ENDPOINT_SIZE];
    uint64_t fingerprint;

    if (t->session == NULL)
        return;
    fingerprint =
        shared_fingerprint(w->table, session_peer(t->session), t->mail.path.text, first, 0);
    if (shared_health_broke(w->table, &t->backend, fingerprint, clock_wall_ms(),
                            w->config->probe_interval_min_ms, w->config->probe_interval_max_ms))
        log_line(LOG_LEVEL_WARN, t->ref_text, "backend-down", "endpoint=%s reason=\"%s\"",
                 inet_endpoint_text(&t->backend, text), shared_reason_text(SHARED_REASON_BROKEN));
}

void
transaction_health_completed(struct transaction *t)
{
    struct shared_table *table = t->worker->table;
    int64_t now_ms = clock_wall_ms();
    char text[INET_ENDPOINT_SIZE];

    shared_health_completed(table, &t->backend);
    /* It went down by transactions that broke, and was probed on a connection that stood. */
    if (shared_health_state_of(table, &t->backend, now_ms) == SHARED_HEALTH_DOWN &&
        shared_health_succeeded(table, &t->backend, now_ms))
        log_line(LOG_LEVEL_INFO, NULL, "backend-up", "endpoint=%s",
                 inet_endpoint_text(&t->backend, text));
}

/* --- Probes of backends that refuse, which are not asked about the message itself. */

void
transaction_health_probe(struct transaction *t)
{
    int64_t now_ms = clock_wall_ms();

    for (unsigned i = 0; i < destination_walk_count(t->walk); i++) {
        const struct destination *d = destination_walk_item(t->walk, i);

        if (!d->held &&
            shared_health_state_of(t->worker->table, &d->endpoint, now_ms) ==
                SHARED_HEALTH_REFUSING &&
            shared_health_may_probe(t->worker->table, &d->endpoint, now_ms))
            probe_start(t->worker, d, &t->rcpt);
    }
}

/* --- Time. */

bool
transaction_health_is_late(const struct transaction *t)
{
    const struct worker *w = t->worker;
    int64_t begin_within_ms = RCPT_MS - (int64_t)w->config->backend_connect_timeout_ms;

    if (begin_within_ms < BEGIN_MS)
        begin_within_ms = BEGIN_MS;
    return loop_now_ms(w->loop) - t->rcpt_at_ms > begin_within_ms;
}
