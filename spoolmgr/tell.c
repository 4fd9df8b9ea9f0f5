/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A message is looked at when it comes and when it has ended, never in between: counts and
 * deadlines are kept a customer (deadlines are ends of days, so there are few different ones).  A
 * look goes over the queues, a slice at a time, and then over the customers that have mail waiting
 * or something left to be told.
 *
 * spool-dir/told is written before the segments of what has ended may go: what a keeper that was
 * killed had not written yet, the next one finds in the spool.  A notice counts as told when it is
 * durable; a death in between tells it twice.
 */
#include "spoolmgr/tell.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "spoolmgr/keeper.h"

#define CUSTOMER_SLOTS 1024
#define QUEUES_A_LOOK 256
#define LINES_MOST 10000     /* of all digests together */
#define RECIPIENTS_SHOWN 5   /* of one message */
#define FILE_MOST (64 << 20) /* that is read */
#define RETRY_MS 60000       /* behind a notice that could not be kept */

struct deadline { /* of what waits */
    int64_t at_ms, first_arrived_at_ms;
    uint64_t messages;
};

struct customer {
    struct customer *next;
    struct keeper *keeper;
    uint32_t id;
    char name[REGISTRY_NAME_SIZE];
    /* What waits. */
    uint64_t messages, bytes, unheard;
    struct deadline *deadlines; /* by moment */
    size_t deadline_count;
    struct customer_trouble trouble;
    struct tell_server server; /* as this round of looks finds it */
    /* Of what the file says, until tell_begin. */
    uint64_t waited, arrived_since, ended_since;
    struct customer_told told; /* whose notice is on its way to the disk; NONE: none is */
    struct ref told_ref;
    int64_t retry_at_ms;     /* of the loop's clock */
    int32_t withheld_day;    /* said */
    bool is_contact_missing; /* said */
};

struct tell {
    struct keeper *keeper;
    struct customer *customers[CUSTOMER_SLOTS]; /* hashed by id */
    size_t next_queue;                          /* of the round */
    size_t line_count;
    int64_t written_at_ms; /* the file before us; 0: there was none */
    bool is_dirty, has_failed;
};

/* --- Customers. */

static struct customer **
slot_of(struct tell *tell, uint32_t id)
{
    struct customer **slot = &tell->customers[id % CUSTOMER_SLOTS];

    while (*slot != NULL && (*slot)->id != id)
        slot = &(*slot)->next;
    return slot;
}

static struct customer *
customer_of(struct tell *tell, uint32_t id, const char *name)
{
    struct customer **slot = slot_of(tell, id), *c = *slot;

    if (c != NULL)
        return c;
    c = *slot = mem_alloc(sizeof *c);
    c->keeper = tell->keeper;
    c->id = id;
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void
customer_free(struct customer **at)
{
    struct customer *c = *at;

    *at = c->next;
    customer_trouble_fini(&c->trouble);
    free(c->deadlines);
    free(c);
}

/* --- What waits. */

/* Where the deadline is, or would be. */
static size_t
deadline_at(const struct customer *c, int64_t at_ms)
{
    size_t low = 0, high = c->deadline_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (c->deadlines[middle].at_ms < at_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
deadline_add(struct customer *c, int64_t at_ms, int64_t arrived_at_ms)
{
    size_t i = deadline_at(c, at_ms);

    if (i == c->deadline_count || c->deadlines[i].at_ms != at_ms) {
        c->deadlines = mem_realloc(c->deadlines, (c->deadline_count + 1) * sizeof *c->deadlines);
        memmove(&c->deadlines[i + 1], &c->deadlines[i],
                (c->deadline_count - i) * sizeof *c->deadlines);
        c->deadline_count++;
        c->deadlines[i] = (struct deadline){at_ms, arrived_at_ms, 0};
    }
    if (arrived_at_ms < c->deadlines[i].first_arrived_at_ms)
        c->deadlines[i].first_arrived_at_ms = arrived_at_ms;
    c->deadlines[i].messages++;
}

static void
deadline_remove(struct customer *c, int64_t at_ms)
{
    size_t i = deadline_at(c, at_ms);

    CHECK(i < c->deadline_count && c->deadlines[i].at_ms == at_ms);
    if (--c->deadlines[i].messages > 0)
        return;
    c->deadline_count--;
    memmove(&c->deadlines[i], &c->deadlines[i + 1], (c->deadline_count - i) * sizeof *c->deadlines);
}

/* P4, as far as the message says (notice_judge). */
static bool
is_unheard(const struct spool_message *m)
{
    return !(m->flags & SPOOL_FLAG_VERIFIED) || (m->flags & SPOOL_FLAG_SPAM);
}

void
tell_found(struct keeper *k, const struct spool_message *m)
{
    struct customer *c;

    if (k->tell == NULL)
        return;
    c = customer_of(k->tell, m->customer_id, m->customer);
    c->messages++;
    c->bytes += m->body_bytes;
    c->unheard += is_unheard(m);
    c->arrived_since += m->received_at_ms > k->tell->written_at_ms;
    deadline_add(c, m->expires_at_ms, m->received_at_ms);
}

void
tell_extended(struct keeper *k, const struct spool_message *m, int64_t deadline_before_ms)
{
    struct customer *c;

    if (k->tell == NULL || m->expires_at_ms == deadline_before_ms || (m->flags & SPOOL_FLAG_OWN) ||
        m->open_count == 0)
        return;
    c = customer_of(k->tell, m->customer_id, m->customer);
    deadline_remove(c, deadline_before_ms);
    deadline_add(c, m->expires_at_ms, m->received_at_ms);
}

/* --- What has ended. */

static bool
is_failure(enum spool_end end)
{
    return end == SPOOL_END_REFUSED || end == SPOOL_END_EXPIRED || end == SPOOL_END_RETURNED ||
           end == SPOOL_END_REMOVED;
}

static void
list_recipients(const struct spool_message *m, const struct spool_envelope *e, struct buf *out)
{
    unsigned shown = 0, more = 0;

    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (!is_failure(spool_message_end(m, i)))
            continue;
        if (shown < RECIPIENTS_SHOWN)
            buf_printf(out, "%s%s", shown > 0 ? ", " : "", e->recipients[i].address);
        else
            more++;
        shown++;
    }
    if (more > 0)
        buf_printf(out, " (+%u)", more);
}

/* What is recorded behind the reply says whether its sender was told (notice_reply). */
static bool
split_reply(const char *reply, char reason[NOTICE_REPLY_SIZE])
{
    char *note;

    snprintf(reason, NOTICE_REPLY_SIZE, "%s", reply);
    note = strstr(reason, " [no notice: ");
    if (note == NULL)
        note = strstr(reason, " [notice ");
    if (note == NULL)
        return false;
    *note = '\0';
    return note[2] == 'n' && note[3] == 'o' && note[4] == 't';
}

static void
note_failure(struct keeper *k, struct customer *c, const struct spool_message *m, unsigned first)
{
    bool has_room =
        c->trouble.failure_count < CUSTOMER_TROUBLE_LINES && k->tell->line_count < LINES_MOST;
    char ref[REF_SIZE], reason[NOTICE_REPLY_SIZE];
    struct customer_failure f = {.at_ms = spool_message_ended_at_ms(m, first),
                                 .end = spool_message_end(m, first),
                                 .ref = ref_text(m->ref, ref),
                                 .sender = "?",
                                 .reason = reason};
    size_t lines = c->trouble.failure_count;
    struct spool_envelope e;
    struct buf recipients;
    struct arena arena;

    f.is_sender_told = split_reply(spool_message_reply(m, first), reason);
    buf_init(&recipients, 0);
    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    if (has_room && spool_store_envelope(k->store, m, &arena, &e) == 0) {
        f.sender = e.reverse_path;
        list_recipients(m, &e, &recipients);
    }
    f.recipients = buf_text(&recipients);
    customer_trouble_failed(&c->trouble, &f, has_room);
    k->tell->line_count += c->trouble.failure_count - lines;
    arena_clear(&arena);
    buf_fini(&recipients);
    k->tell->is_dirty = true;
}

/* One message is one, however many recipients it has: failed if one of them is. */
static void
note_end(struct keeper *k, struct customer *c, const struct spool_message *m)
{
    unsigned failed = m->recipient_count;
    bool is_delivered = false;

    for (unsigned i = m->recipient_count; i-- > 0;) {
        failed = is_failure(spool_message_end(m, i)) ? i : failed;
        is_delivered = is_delivered || spool_message_end(m, i) == SPOOL_END_DELIVERED;
    }
    if (failed < m->recipient_count) {
        note_failure(k, c, m, failed);
    } else if (is_delivered && c->trouble.since_ms != 0) {
        customer_trouble_delivered(&c->trouble, 1);
        k->tell->is_dirty = true;
    }
}

void
tell_ended(struct keeper *k, const struct spool_message *m, bool was_found)
{
    struct customer *c;

    if (k->tell == NULL)
        return;
    c = customer_of(k->tell, m->customer_id, m->customer);
    if (was_found) {
        c->messages--;
        c->bytes -= m->body_bytes;
        c->unheard -= is_unheard(m);
        deadline_remove(c, m->expires_at_ms);
    }
    note_end(k, c, m);
}

/* --- The file. */

static void
file_path(const struct tell *tell, const char *end, char *dst, size_t dst_size)
{
    snprintf(dst, dst_size, "%s/told%s", tell->keeper->config->spool_dir, end);
}

static void
file_text(struct tell *tell, struct buf *out)
{
    int32_t today = clock_local_day(clock_wall_ms());

    buf_printf(out, "told\t1\t%" PRId64 "\n", clock_wall_ms());
    for (size_t i = 0; i < CUSTOMER_SLOTS; i++)
        for (const struct customer *c = tell->customers[i]; c != NULL; c = c->next) {
            if (customer_trouble_is_empty(&c->trouble, today))
                continue;
            buf_printf(out, "customer\t%u\t%" PRIu64 "\t%s\n", c->id, c->messages, c->name);
            customer_trouble_text(&c->trouble, out);
        }
}

static bool
file_put(const char *path, const char *path_new, struct slice text)
{
    FILE *file = fopen(path_new, "we");
    bool is_whole;

    if (file == NULL)
        return false;
    is_whole = fwrite(text.p, 1, text.n, file) == text.n;
    return fclose(file) == 0 && is_whole && rename(path_new, path) == 0;
}

/* Not synced: behind a loss of power something may be told twice. */
static void
file_write(struct tell *tell)
{
    char path[4096], path_new[4096];
    struct buf text;
    bool is_good;

    buf_init(&text, 0);
    file_text(tell, &text);
    file_path(tell, "", path, sizeof path);
    file_path(tell, ".new", path_new, sizeof path_new);
    is_good = file_put(path, path_new, buf_slice(&text));
    buf_fini(&text);
    if (!is_good && !tell->has_failed)
        log_line(LOG_LEVEL_WARN, NULL, "told-unwritable",
                 "file=%s effect=\"behind a restart customers may be told things twice\"", path);
    tell->has_failed = !is_good;
    tell->is_dirty = !is_good;
}

/* "customer" id waited name; what follows is of it. NULL: it is no such line. */
static struct customer *
read_customer(struct tell *tell, struct slice line)
{
    char name[REGISTRY_NAME_SIZE];
    struct customer *c;
    uint64_t id, waited;

    if (!slice_equal(slice_split(&line, '\t'), SLICE("customer")) ||
        parse_u64(slice_split(&line, '\t'), &id) != ERR_OK || id > UINT32_MAX ||
        parse_u64(slice_split(&line, '\t'), &waited) != ERR_OK ||
        !slice_to_text(line, name, sizeof name))
        return NULL;
    c = customer_of(tell, (uint32_t)id, name);
    c->waited = waited;
    return c;
}

/* ERR_SYNTAX: what is good of it has been taken. */
static int
read_text(struct tell *tell, struct slice text)
{
    struct slice line = slice_split(&text, '\n');
    struct customer *c = NULL;
    uint64_t written_at_ms;
    int err = ERR_OK;

    if (!slice_starts_nocase(line, SLICE("told\t1\t")) ||
        parse_u64((struct slice){line.p + 7, line.n - 7}, &written_at_ms) != ERR_OK)
        return ERR_SYNTAX;
    tell->written_at_ms = (int64_t)written_at_ms;
    while (text.n > 0) {
        struct customer *next;

        line = slice_split(&text, '\n');
        next = read_customer(tell, line);
        if (next != NULL)
            c = next;
        else if (c == NULL || customer_trouble_parse(&c->trouble, line) != ERR_OK)
            err = ERR_SYNTAX;
    }
    return err;
}

static void
read_open(struct tell *tell, int fd, const char *path)
{
    struct buf text;
    ssize_t n = 1;
    char *room;

    buf_init(&text, FILE_MOST);
    while (n > 0 && buf_room(&text, 65536, &room) == ERR_OK) {
        n = read(fd, room, 65536);
        buf_added(&text, n > 0 ? (size_t)n : 0);
    }
    if (n != 0 || read_text(tell, buf_slice(&text)) != ERR_OK)
        log_line(LOG_LEVEL_WARN, NULL, "told-unreadable",
                 "file=%s effect=\"customers may be told things twice\"", path);
    buf_fini(&text);
}

static void
file_read(struct tell *tell)
{
    char path[4096];
    int fd;

    file_path(tell, "", path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_open(tell, fd, path);
        close(fd);
    }
    for (size_t i = 0; i < CUSTOMER_SLOTS; i++)
        for (struct customer *c = tell->customers[i]; c != NULL; c = c->next)
            tell->line_count += c->trouble.failure_count;
}

/* --- Life. */

struct tell *
tell_new(struct keeper *k)
{
    struct tell *tell;

    if (k->config->notify_after_ms == 0)
        return NULL;
    tell = mem_alloc(sizeof *tell);
    tell->keeper = k;
    file_read(tell);
    return tell;
}

/* The file is not older than what had ended by then and mattered. */
void
tell_ended_before(struct keeper *k, const struct spool_message *m)
{
    struct tell *tell = k->tell;
    int64_t ended_at_ms = 0;
    struct customer *c;

    if (tell == NULL || tell->written_at_ms == 0 || (m->flags & SPOOL_FLAG_OWN))
        return;
    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_ended_at_ms(m, i) > ended_at_ms)
            ended_at_ms = spool_message_ended_at_ms(m, i);
    if (ended_at_ms < tell->written_at_ms)
        return;
    c = customer_of(tell, m->customer_id, m->customer);
    c->ended_since++;
    note_end(k, c, m);
}

/* What is neither here nor among what has ended was delivered, and is cleaned away. */
static void
mend(struct keeper *k, struct customer *c)
{
    uint64_t there = c->messages + c->ended_since, were = c->waited + c->arrived_since;

    if (c->trouble.since_ms == 0)
        return;
    schedule_queue_of(&k->schedule, route_number(c->id, 0)); /* so that it is looked at */
    if (were > there)
        customer_trouble_delivered(&c->trouble, were - there);
}

void
tell_begin(struct keeper *k)
{
    struct tell *tell = k->tell;

    if (tell == NULL)
        return;
    for (size_t i = 0; i < CUSTOMER_SLOTS; i++)
        for (struct customer *c = tell->customers[i]; c != NULL; c = c->next)
            mend(k, c);
    file_write(tell);
}

void
tell_free(struct tell **held)
{
    struct tell *tell = *held;

    *held = NULL;
    if (tell == NULL)
        return;
    file_write(tell);
    for (size_t i = 0; i < CUSTOMER_SLOTS; i++)
        while (tell->customers[i] != NULL)
            customer_free(&tell->customers[i]);
    free(tell);
}

/* --- Telling. */

static void
fill_notice(const struct keeper *k, const struct customer *c, struct customer_notice *n)
{
    const struct deadline *first = c->deadline_count > 0 ? c->deadlines : NULL;

    n->customer = c->name;
    n->hostname = k->config->hostname;
    n->now_ms = c->told.now_ms;
    n->since_ms = c->trouble.since_ms;
    n->back_at_ms = c->trouble.back_at_ms;
    n->why = c->trouble.why;
    n->servers = c->trouble.servers;
    n->backend = c->trouble.backend;
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
    struct customer *c = ctx;
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

/* Nobody will ever hear of it: it is over, and does not count. */
static void
tell_nobody(struct tell *tell, struct customer *c, const char *why)
{
    size_t lines = c->trouble.failure_count;

    if (!c->is_contact_missing && c->told.kind != CUSTOMER_NOTICE_BACK) /* said when it went down */
        log_line(LOG_LEVEL_WARN, NULL, "customer-not-told",
                 "customer=%s kind=%s why=\"%s\" remedy=\"relayctl customer set %s --contact "
                 "ADDRESS\"",
                 c->name, customer_notice_word(c->told.kind), why, c->name);
    c->is_contact_missing = true;
    c->told.is_counted = false;
    customer_trouble_told(&c->trouble, &c->told);
    c->told.kind = CUSTOMER_NOTICE_NONE;
    tell->line_count -= lines - c->trouble.failure_count;
    tell->is_dirty = true;
}

static void
submit(struct keeper *k, struct customer *c, const struct registry_contact *contact,
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
    c->is_contact_missing = false;
    own_submit(k, &notice->envelope, buf_slice(&notice->content), on_written, c);
    notice_fini(notice);
}

static void
tell_customer(struct keeper *k, struct customer *c, const struct customer_facts *facts,
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
        tell_nobody(k->tell, c, "it has no contact");
    else if (!notice_begin(&notice, k->config, contact.address, facts->now_ms))
        tell_nobody(k->tell, c, "its contact is no mail address");
    else
        submit(k, c, &contact, &notice);
}

/* --- Looking. */

static struct customer_facts
facts_of(struct keeper *k, const struct customer *c, char backend[CUSTOMER_TROUBLE_BACKEND_SIZE])
{
    int64_t now_ms = clock_wall_ms();
    const struct deadline *first = c->deadline_count > 0 ? c->deadlines : NULL;

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
say_withheld(struct customer *c, const struct customer_facts *facts, const struct customer_due *due)
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

/* What the file has of it is no longer so. */
static bool
has_changed(const struct customer_trouble *a, const struct customer_trouble *b)
{
    return a->since_ms != b->since_ms || a->back_at_ms != b->back_at_ms || a->why != b->why ||
           a->told_48 != b->told_48 || a->told_12 != b->told_12;
}

static void
look_at(struct keeper *k, struct customer *c)
{
    struct customer_rules rules = {k->config->notify_after_ms};
    struct customer_trouble before = c->trouble;
    char backend[CUSTOMER_TROUBLE_BACKEND_SIZE];
    struct customer_facts facts = facts_of(k, c, backend);
    struct customer_due due = customer_trouble_look(&c->trouble, &facts, &rules);

    if (has_changed(&before, &c->trouble))
        k->tell->is_dirty = true;
    say_withheld(c, &facts, &due);
    if (due.kind != CUSTOMER_NOTICE_NONE && loop_now_ms(k->loop) >= c->retry_at_ms)
        tell_customer(k, c, &facts, due.kind);
}

static void
look_at_all(struct keeper *k)
{
    int32_t today = clock_local_day(clock_wall_ms());

    for (size_t i = 0; i < CUSTOMER_SLOTS; i++) {
        struct customer **at = &k->tell->customers[i];

        while (*at != NULL) {
            struct customer *c = *at;

            if (c->told.kind == CUSTOMER_NOTICE_NONE)
                look_at(k, c);
            c->server = (struct tell_server){.is_down = false};
            if (c->messages == 0 && c->told.kind == CUSTOMER_NOTICE_NONE &&
                customer_trouble_is_empty(&c->trouble, today))
                customer_free(at);
            else
                at = &c->next;
        }
    }
}

/* One without mail says something only while the customer has an outage. */
static void
look_at_queue(struct keeper *k, const struct schedule_queue *queue)
{
    struct customer *c;

    if (queue->route == ROUTE_NONE || route_is_own(queue->route))
        return;
    c = *slot_of(k->tell, route_customer_id(queue->route));
    if (c != NULL && (c->trouble.since_ms != 0 ||
                      queue->ready.count + queue->waiting.count + queue->running > 0))
        tell_server_add(k, queue, &c->server);
}

void
tell_look(struct keeper *k)
{
    struct tell *tell = k->tell;
    size_t end;

    if (tell == NULL)
        return;
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
        file_write(tell);
}
