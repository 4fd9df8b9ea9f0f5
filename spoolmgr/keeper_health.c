/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What attempts tell about a backend's health, and what that changes for their messages (DESIGN
 * section 5).  While a backend is watched (recovering, refusing, or down again), none of its
 * refusals ends a recipient: it counts as `later`, so that the message pauses and stays.  What was
 * spooled for a recipient that does not exist ends as refused when the backend is plainly up.
 *
 * Whether a recipient is known valid was decided at reception: the state process knew it, or the
 * backend itself had taken it before it went away (SPOOL_FLAG_KNOWN, or SPOOL_LIVE).  Others'
 * refusals are verdicts like any, but do not make a backend `refusing`: one that is back meets
 * whatever was sent to invented addresses meanwhile.
 */
#include "base/clock.h"
#include "base/log.h"
#include "spoolmgr/keeper.h"

static bool
is_watched(enum shared_health_state state)
{
    return state == SHARED_HEALTH_RECOVERING || shared_health_stops(state);
}

static bool
is_known(const struct spool_message *m, uint32_t recipient)
{
    return (m->flags & SPOOL_FLAG_KNOWN) != 0 || spool_message_side(m, recipient) == SPOOL_LIVE;
}

static uint64_t
hash_of_address(struct keeper *k, const struct attempt *a, const char *address)
{
    struct smtp_path path;
    char key[SMTP_PATH_SIZE];

    if (smtp_path_parse_mailbox(slice_of(address), &path) != 0)
        return 1;
    smtp_path_key(&path, key);
    return shared_recipient_hash(route_table(k->route), route_customer_id(a->task->route), key);
}

/* Those that cannot be told apart, or not read any more, are one. */
static uint64_t
hash_of(struct keeper *k, const struct attempt *a, uint32_t recipient)
{
    struct spool_envelope e;
    struct arena arena;
    uint64_t hash = 1;

    if (keeper_envelope(k, a->mail->message, &arena, &e) == 0)
        hash = hash_of_address(k, a, e.recipients[recipient].address);
    arena_clear(&arena);
    return hash;
}

/* The backend has taken the recipient, whatever it said to the content. */
static bool
is_taken(const struct courier_result *result)
{
    return result->class == SMTP_CLASS_OK ||
           (result->phase == SMTP_PHASE_DOT && result->class != SMTP_CLASS_AWAY);
}

static bool
is_refused(const struct courier_result *result)
{
    return result->class == SMTP_CLASS_REFUSED &&
           (result->phase == SMTP_PHASE_MAIL || result->phase == SMTP_PHASE_RCPT);
}

static void
say_news(const struct attempt *a, enum shared_health_news news)
{
    const char *customer = a->mail->message->customer;
    char text[INET_ENDPOINT_SIZE];

    inet_endpoint_text(&a->endpoint->address, text);
    if (news == SHARED_HEALTH_NOW_UP)
        log_line(LOG_LEVEL_INFO, NULL, "backend-recovered", "backend=%s", text);
    else if (news == SHARED_HEALTH_NOW_REFUSING)
        log_line(LOG_LEVEL_ALARM, NULL, "backend-refusing",
                 "backend=%s customer=%s why=\"back from an outage, it refuses recipients that it "
                 "took before\" effect=\"mail is kept and nothing is bounced\" remedy=\"mend the "
                 "customer's server, then: relayctl backend release %s/N\"",
                 text, customer, customer);
}

static void
feed(struct keeper *k, struct attempt *a, const struct courier_result *result)
{
    enum shared_verdict verdict = SHARED_VERDICT_ACCEPTED;
    uint64_t hash = 0;

    if (!is_taken(result) && !is_refused(result))
        return;
    if (is_refused(result)) {
        bool known = is_known(a->mail->message, result->recipient);

        verdict = known ? SHARED_VERDICT_REFUSED_KNOWN : SHARED_VERDICT_REFUSED;
        hash = known ? hash_of(k, a, result->recipient) : 0;
    }
    say_news(a, shared_health_verdict(route_table(k->route), &a->endpoint->address, verdict, hash,
                                      clock_wall_ms(), k->config->probe_interval_min_ms));
}

/* Its attempt was a probe of a backend that refuses. */
static void
say_probed(struct keeper *k, struct attempt *a, bool good)
{
    char text[INET_ENDPOINT_SIZE];

    if (!good)
        a->task->item.queue->unreachable_at_ms = a->started_at_ms;
    if (shared_health_probed(route_table(k->route), &a->endpoint->address, good, clock_wall_ms(),
                             k->config->probe_interval_min_ms, k->config->probe_interval_max_ms))
        log_line(LOG_LEVEL_INFO, NULL, "backend-takes-again", "backend=%s state=recovering",
                 inet_endpoint_text(&a->endpoint->address, text));
}

void
keeper_health_hear(struct keeper *k, struct attempt *a)
{
    enum shared_health_state state =
        shared_health_state_of(route_table(k->route), &a->endpoint->address, clock_wall_ms());
    bool good = false;

    for (unsigned i = 0; i < a->result_count; i++) {
        struct courier_result *result = &a->results[i];

        feed(k, a, result);
        good = good || is_taken(result);
        if (is_watched(state) && result->class == SMTP_CLASS_REFUSED)
            result->class = SMTP_CLASS_LATER;
    }
    if (state == SHARED_HEALTH_REFUSING && a->reached)
        say_probed(k, a, good);
}

/* As the relay counts it, so that one message is one, live and spooled. */
bool
keeper_health_broke(struct keeper *k, const struct attempt *a)
{
    struct shared_table *table = route_table(k->route);
    struct spool_envelope e;
    struct arena arena;
    uint64_t fingerprint = 0;
    int err = keeper_envelope(k, a->mail->message, &arena, &e);

    if (err == 0)
        fingerprint =
            shared_fingerprint(table, &e.client, e.reverse_path, e.recipients[0].address, 0);
    arena_clear(&arena);
    return err == 0 &&
           shared_health_broke(table, &a->endpoint->address, fingerprint, clock_wall_ms(),
                               k->config->probe_interval_min_ms, k->config->probe_interval_max_ms);
}

/* Each that waits has its turn: the recipients of some may be gone for good. */
int64_t
keeper_health_pause_ms(struct keeper *k, const struct attempt *a, int64_t pause_ms)
{
    const struct schedule_queue *queue = a->task->item.queue;
    int64_t turns = (int64_t)(queue->ready.count + queue->waiting.count + 1);
    int64_t most_ms = (int64_t)k->config->probe_interval_max_ms * turns;
    enum shared_health_state state =
        shared_health_state_of(route_table(k->route), &a->endpoint->address, clock_wall_ms());

    return state == SHARED_HEALTH_REFUSING && pause_ms > most_ms ? most_ms : pause_ms;
}
