/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A look goes over the queues, a slice at a time, and then over the customers that have mail
 * waiting or something left to be told; never over messages (P10).
 *
 * spool-dir/told is written before the segments of what has ended may go: what a keeper that was
 * killed had not written yet, the next one finds in the spool.  A notice counts as told when it is
 * durable; a death in between tells it twice.
 */
#include "spoolmgr/tell_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define QUEUES_A_LOOK 256
#define RETRY_MS 60000 /* behind a notice that could not be kept */

/* --- Life. */

struct tell *
tell_new(struct keeper *k)
{
    struct tell *tell = mem_alloc(sizeof *tell);

    tell->keeper = k;
    tell->is_silent = k->config->notify_after_ms == 0;
    tell_file_read(tell);
    return tell;
}

/* The file is not older than what had ended by then and mattered. */
void
tell_ended_before(struct keeper *k, const struct spool_message *m)
{
    struct tell *tell = k->tell;
    int64_t ended_at_ms = 0;
    struct tell_customer *c;

    if (tell->written_at_ms == 0 || (m->flags & SPOOL_FLAG_OWN))
        return;
    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_ended_at_ms(m, i) > ended_at_ms)
            ended_at_ms = spool_message_ended_at_ms(m, i);
    if (ended_at_ms < tell->written_at_ms)
        return;
    c = tell_customer_of(tell, m->customer_id, m->customer);
    c->ended_since++;
    tell_note_end(k, c, m);
}

/* What is neither here nor among what has ended was delivered, and is cleaned away. */
static void
mend(struct keeper *k, struct tell_customer *c)
{
    uint64_t there = c->messages + c->ended_since, were = c->waited + c->arrived_since;

    if (c->trouble.since_ms == 0)
        return;
    schedule_queue_of(&k->schedule, route_number(c->id, 0)); /* so that it is looked at */
    usage_outage(k, c->id, c->name, c->trouble.since_ms, c->trouble.back_at_ms);
    if (were > there)
        customer_trouble_delivered(&c->trouble, were - there);
}

void
tell_begin(struct keeper *k)
{
    struct tell *tell = k->tell;

    for (size_t i = 0; i < TELL_SLOTS; i++)
        for (struct tell_customer *c = tell->customers[i]; c != NULL; c = c->next)
            mend(k, c);
    tell_file_write(tell);
}

void
tell_free(struct tell **held)
{
    struct tell *tell = *held;

    *held = NULL;
    tell_file_write(tell);
    for (size_t i = 0; i < TELL_SLOTS; i++)
        while (tell->customers[i] != NULL)
            tell_customer_free(&tell->customers[i]);
    free(tell);
}

/* --- Telling. */

static void
fill_notice(const struct keeper *k, const struct tell_customer *c, struct customer_notice *n)
{
    const struct tell_deadline *first = tell_first_deadline(c, c->told.now_ms);

    n->customer = c->name;
    n->hostname = k->config->hostname;
    n->now_ms = c->told.now_ms;
    n->since_ms = c->trouble.since_ms;
    n->back_at_ms = c->trouble.back_at_ms;
    n->why = c->trouble.why;
    n->servers = c->trouble.servers;
    n->backend = c->trouble.backend;
    n->is_up = tell_server_state(&c->server) == CUSTOMER_SERVER_UP;
    n->delivered = c->trouble.delivered;
    n->failed = c->trouble.failed;
    n->messages = c->messages;
    n->bytes = c->bytes;
    n->unheard = own_is_missing(k) ? c->messages : c->unheard;
    n->first_messages = first ? first->messages : 0;
    n->first_expires_at_ms = first ? first->at_ms : 0;
    n->failures = c->trouble.failures;
    n->failure_count = c->told.failure_count;
    n->more = c->told.more;
    random_bytes(n->random, sizeof n->random);
}

static const char *
postmaster_of(const struct config *config, char *dst, size_t dst_size)
{
    const char *postmaster = config->postmaster[0] ? config->postmaster : "postmaster";

    if (strchr(postmaster, '@') != NULL)
        snprintf(dst, dst_size, "%s", postmaster);
    else
        snprintf(dst, dst_size, "%s@%s", postmaster, config->hostname);
    return dst;
}

static void
on_written(void *ctx, int err)
{
    struct tell_customer *c = ctx;
    struct keeper *k = c->keeper;
    char ref[REF_SIZE];
    size_t lines = c->trouble.failure_count;

    if (err != 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "customer-notice-failed",
                 "customer=%s kind=%s why=\"%s\" effect=\"it is tried again\"", c->name,
                 customer_notice_word(c->told.kind), err_text(err));
        c->retry_at_ms = loop_now_ms(k->loop) + RETRY_MS;
    } else {
        customer_trouble_told(&c->trouble, &c->told);
        k->tell->line_count -= lines - c->trouble.failure_count;
        k->tell->is_dirty = true;
        log_line(LOG_LEVEL_INFO, ref_text(c->told_ref, ref), "customer-told",
                 "customer=%s kind=%s waiting=%" PRIu64 " today=%u", c->name,
                 customer_notice_word(c->told.kind), c->messages, c->trouble.sent);
    }
    c->told.kind = CUSTOMER_NOTICE_NONE;
}

static const struct nobody { /* why one is not told */
    const char *why, *remedy;
} no_contact = {"it has no contact", "relayctl customer set NAME --contact ADDRESS"},
  no_address = {"its contact is no mail address", "relayctl customer set NAME --contact ADDRESS"},
  no_way = {"outbound-route is not set", "set outbound-route to mx or to a smarthost"};

/* Nobody will ever hear of it: it is over, and does not count.  Said once an outage. */
static void
tell_nobody(struct tell *tell, struct tell_customer *c, const struct nobody *nobody)
{
    size_t lines = c->trouble.failure_count;

    if (!c->is_untold && c->told.kind != CUSTOMER_NOTICE_BACK)
        log_line(LOG_LEVEL_WARN, NULL, "customer-not-told",
                 "customer=%s kind=%s why=\"%s\" remedy=\"%s\"", c->name,
                 customer_notice_word(c->told.kind), nobody->why, nobody->remedy);
    c->is_untold = true;
    c->told.is_counted = false;
    customer_trouble_told(&c->trouble, &c->told);
    c->told.kind = CUSTOMER_NOTICE_NONE;
    tell->line_count -= lines - c->trouble.failure_count;
    tell->is_dirty = true;
}

static void
submit(struct keeper *k, struct tell_customer *c, const struct registry_contact *contact,
       struct notice *notice)
{
    char from[NOTICE_FROM_SIZE], postmaster[SMTP_PATH_SIZE + INET_DOMAIN_SIZE];
    struct customer_notice n = {
        .kind = c->told.kind,
        .language = notice_language_of(contact->language),
        .from = notice_from(k->config, from),
        .postmaster = postmaster_of(k->config, postmaster, sizeof postmaster),
        .to = contact->address,
    };

    fill_notice(k, c, &n);
    customer_notice_write(&n, &notice->content);
    snprintf(notice->reason, sizeof notice->reason, "notice to %.40s: %s", c->name,
             customer_notice_word(c->told.kind));
    c->told_ref = notice->envelope.ref;
    c->is_untold = false;
    own_submit(k, &notice->envelope, buf_slice(&notice->content), on_written, c);
    notice_fini(notice);
}

static void
tell_customer(struct keeper *k, struct tell_customer *c, const struct customer_facts *facts,
              enum customer_notice_kind kind)
{
    struct registry_contact contact;
    struct notice notice;

    if (!route_has_replica(k->route))
        return; /* who is to be told, nobody can say now */
    c->told = (struct customer_told){.kind = kind,
                                     .day = facts->day,
                                     .now_ms = facts->now_ms,
                                     .failure_count = c->trouble.failure_count,
                                     .more = c->trouble.more,
                                     .is_counted = true};
    if (!route_contact(k->route, c->id, &contact))
        tell_nobody(k->tell, c, &no_contact);
    else if (!notice_begin(&notice, k->config, contact.address, facts->now_ms))
        tell_nobody(k->tell, c, &no_address);
    else if (own_is_missing(k) && route_of(k->route, notice.domain) == ROUTE_NONE) {
        notice_fini(&notice);
        tell_nobody(k->tell, c, &no_way);
    } else
        submit(k, c, &contact, &notice);
}

/* --- Looking. */

static struct customer_facts
facts_of(struct keeper *k, const struct tell_customer *c,
         char backend[CUSTOMER_TROUBLE_BACKEND_SIZE])
{
    int64_t now_ms = clock_wall_ms();
    const struct tell_deadline *first = tell_first_deadline(c, now_ms);

    backend[0] = '\0';
    if (c->server.backend != 0)
        snprintf(backend, CUSTOMER_TROUBLE_BACKEND_SIZE, "%s/%u", c->name, c->server.backend);
    return (struct customer_facts){
        .now_ms = now_ms,
        .day = clock_local_day(now_ms),
        .server = tell_server_state(&c->server),
        .since_ms = c->server.since_ms,
        .why = c->server.why,
        .servers = c->server.servers,
        .backend = backend,
        .messages = c->messages,
        .is_moving = c->server.is_moving,
        .first_expires_at_ms = first ? first->at_ms : 0,
        .first_arrived_at_ms = first ? first->first_arrived_at_ms : 0,
        .is_clock_odd = clock_watch_grace_ms(&k->clock) > 0,
    };
}

static void
say_withheld(struct tell_customer *c, const struct customer_facts *facts,
             const struct customer_due *due)
{
    if (due->withheld == CUSTOMER_NOTICE_NONE ||
        (c->withheld_day == facts->day && !due->is_forgotten))
        return;
    c->withheld_day = facts->day;
    log_line(LOG_LEVEL_WARN, NULL, "customer-notice-withheld",
             "customer=%s kind=%s why=\"it has been told enough today\" effect=\"%s\"", c->name,
             customer_notice_word(due->withheld),
             due->is_forgotten ? "it is not told" : "it is told tomorrow, if it still holds");
}

/* Who was not told that it was down need not hear that it is up. */
static void
say_lost(const struct tell_customer *c, const struct customer_due *due)
{
    if (due->is_lost && !c->is_untold)
        log_line(LOG_LEVEL_WARN, NULL, "customer-not-told",
                 "customer=%s kind=%s why=\"nothing waits, and its server is not known to be up\"",
                 c->name, customer_notice_word(CUSTOMER_NOTICE_BACK));
}

/* What the file has of it is no longer so. */
static bool
has_changed(const struct customer_trouble *a, const struct customer_trouble *b)
{
    return a->since_ms != b->since_ms || a->back_at_ms != b->back_at_ms || a->why != b->why ||
           a->told_48 != b->told_48 || a->told_12 != b->told_12;
}

static void
note_outage(struct keeper *k, const struct tell_customer *c, const struct customer_trouble *before,
            int64_t now_ms)
{
    const struct customer_trouble *t = &c->trouble;

    if (before->since_ms != 0 && before->since_ms != t->since_ms && before->back_at_ms == 0)
        usage_outage(k, c->id, c->name, before->since_ms,
                     before->quiet_at_ms ? before->quiet_at_ms : now_ms);
    if (t->since_ms != 0 &&
        (t->since_ms != before->since_ms || t->back_at_ms != before->back_at_ms))
        usage_outage(k, c->id, c->name, t->since_ms, t->back_at_ms);
}

void
tell_each_outage(struct keeper *k,
                 void (*put)(void *ctx, uint32_t customer_id, int64_t began_at_ms), void *ctx)
{
    for (size_t i = 0; i < TELL_SLOTS; i++)
        for (const struct tell_customer *c = k->tell->customers[i]; c != NULL; c = c->next)
            if (c->trouble.since_ms != 0 && c->trouble.back_at_ms == 0)
                put(ctx, c->id, c->trouble.since_ms);
}

static void
look_at(struct keeper *k, struct tell_customer *c)
{
    struct customer_rules rules = {k->config->notify_after_ms};
    struct customer_trouble before = c->trouble;
    char backend[CUSTOMER_TROUBLE_BACKEND_SIZE];
    struct customer_facts facts = facts_of(k, c, backend);
    struct customer_due due = customer_trouble_look(&c->trouble, &facts, &rules);

    if (has_changed(&before, &c->trouble))
        k->tell->is_dirty = true;
    note_outage(k, c, &before, facts.now_ms);
    if (k->tell->is_silent)
        return;
    say_withheld(c, &facts, &due);
    say_lost(c, &due);
    if (due.kind != CUSTOMER_NOTICE_NONE && loop_now_ms(k->loop) >= c->retry_at_ms)
        tell_customer(k, c, &facts, due.kind);
}

static void
look_at_all(struct keeper *k)
{
    int32_t today = clock_local_day(clock_wall_ms());

    for (size_t i = 0; i < TELL_SLOTS; i++) {
        struct tell_customer **at = &k->tell->customers[i];

        while (*at != NULL) {
            struct tell_customer *c = *at;

            if (c->told.kind == CUSTOMER_NOTICE_NONE)
                look_at(k, c);
            c->server = (struct tell_server){.is_down = false};
            if (c->messages == 0 && c->told.kind == CUSTOMER_NOTICE_NONE &&
                customer_trouble_is_empty(&c->trouble, today))
                tell_customer_free(at);
            else
                at = &c->next;
        }
    }
}

/* One without mail says something only while the customer has an outage. */
static void
look_at_queue(struct keeper *k, const struct schedule_queue *queue)
{
    struct tell_customer *c;

    if (queue->route == ROUTE_NONE || route_is_own(queue->route))
        return;
    c = *tell_slot(k->tell, route_customer_id(queue->route));
    if (c != NULL && (c->trouble.since_ms != 0 ||
                      queue->ready.count + queue->waiting.count + queue->running > 0))
        tell_server_add(k, queue, c->trouble.servers, &c->server);
}

void
tell_look(struct keeper *k)
{
    struct tell *tell = k->tell;
    size_t end;

    if (!k->is_stopping) {
        end = tell->next_queue + QUEUES_A_LOOK;
        for (; tell->next_queue < end && tell->next_queue < k->schedule.queue_count;
             tell->next_queue++)
            look_at_queue(k, k->schedule.queues[tell->next_queue]);
        if (tell->next_queue >= k->schedule.queue_count) {
            tell->next_queue = 0;
            look_at_all(k);
        }
    }
    if (tell->is_dirty)
        tell_file_write(tell);
}
