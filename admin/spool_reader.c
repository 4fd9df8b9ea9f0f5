/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The log as relayctl's verbs read it, each for itself: it is opened read-only and nothing is
 * changed, so it works with the database and every daemon down.
 */
#include "admin/spool_reader.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum command_status
spool_reader_try_open(const struct call *call, const char *customer, struct spool_store **store,
                      struct buf *why)
{
    const char *dir = call->config->spool_dir;
    int rc;

    errno = 0;
    rc = customer ? spool_store_open_customer(&spool_io_disk, dir, customer, store)
                  : spool_store_open(&spool_io_disk, dir, SPOOL_STORE_READ, store);
    if (rc == ERR_OK)
        return COMMAND_DONE;
    if (errno == ENOENT || rc == ERR_NOT_FOUND)
        buf_printf(why,
                   "the spool folder %s does not exist: relayd has never run here, or the setting "
                   "\"spool-dir\" in %s is wrong",
                   dir, call->config_path);
    else if (errno == EACCES || errno == EPERM)
        buf_printf(why,
                   "the spool %s may not be read by this user: run relayctl as the spool's user or "
                   "as root",
                   dir);
    else
        buf_printf(why, "the spool %s can not be read: %s", dir,
                   rc == ERR_IO && errno ? strerror(errno) : err_text(rc));
    return COMMAND_FAILED;
}

enum command_status
spool_reader_open_customer(const struct call *call, const char *customer,
                           struct spool_store **store)
{
    enum command_status status;
    struct buf why;

    buf_init(&why, 0);
    status = spool_reader_try_open(call, customer, store, &why);
    if (status != COMMAND_DONE)
        call_complain("%s", buf_text(&why));
    buf_fini(&why);
    return status;
}

enum command_status
spool_reader_open(const struct call *call, struct spool_store **store)
{
    return spool_reader_open_customer(call, NULL, store);
}

/* As many recipients as are known of, so that lists keep their shape. */
static void
set_unreadable(struct spool_reader_envelope *o, const struct spool_message *m)
{
    struct spool_recipient *recipients =
        arena_alloc(&o->arena, m->recipient_count * sizeof *recipients);

    CHECK(recipients != NULL);
    for (unsigned i = 0; i < m->recipient_count; i++)
        recipients[i] = (struct spool_recipient){.address = "?", .domain = "", .dsn_orcpt = ""};
    o->envelope = (struct spool_envelope){
        .ref = m->ref,
        .received_at_ms = m->received_at_ms,
        .customer = m->customer,
        .client_name = "",
        .helo = "?",
        .reverse_path = "?",
        .reason = "?",
        .flags = m->flags,
        .prepend = SLICE(""),
        .dsn_envid = "",
        .recipients = recipients,
        .recipient_count = m->recipient_count,
    };
}

bool
spool_reader_open_envelope(struct spool_store *store, const struct spool_message *m,
                           struct spool_reader_envelope *o)
{
    char id[REF_SIZE];
    int rc;

    arena_init(&o->arena, SPOOL_ENVELOPE_ARENA_BYTES);
    rc = spool_store_envelope(store, m, &o->arena, &o->envelope);
    if (rc == ERR_OK)
        return true;
    arena_clear(&o->arena);
    set_unreadable(o, m);
    if (rc != ERR_NOT_FOUND)
        call_complain("%s: its envelope can not be read: %s", ref_text(m->ref, id),
                      rc == ERR_IO ? strerror(errno) : err_text(rc));
    return rc != ERR_NOT_FOUND;
}

void
spool_reader_close_envelope(struct spool_reader_envelope *o)
{
    arena_clear(&o->arena);
}

const char **
spool_reader_recipients(const struct spool_envelope *e)
{
    const char **words = mem_alloc((e->recipient_count + 1) * sizeof *words);

    for (unsigned i = 0; i < e->recipient_count; i++)
        words[i] = e->recipients[i].address;
    return words;
}

const char *
spool_reader_recipient_word(const struct spool_message *m, unsigned i)
{
    if (!spool_message_is_open(m, i))
        return spool_end_word(spool_message_end(m, i));
    if (m->prepared)
        return spool_message_side(m, i) == SPOOL_LIVE ? "live" : "open";
    return spool_message_awaits(m, i) ? "listening" : "open";
}

struct json_t *
spool_reader_recipients_json(const struct spool_message *m, const struct spool_envelope *e)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < m->recipient_count; i++) {
        json_array_append_new(all,
                              json_pack("{s:o, s:s, s:o, s:o}", "address",
                                        printer_json_text(e->recipients[i].address), "state",
                                        spool_reader_recipient_word(m, i), "ended_at",
                                        printer_json_time(spool_message_ended_at_ms(m, i)), "reply",
                                        printer_json_text_or_null(spool_message_reply(m, i))));
    }
    return all;
}

void
spool_reader_print_wait(struct printer *p, enum spool_wait wait, int64_t next_at_ms)
{
    static const char *const words[] = {
        [SPOOL_WAIT_NOTHING] = "-",         [SPOOL_WAIT_OUTCOME] = "when known",
        [SPOOL_WAIT_ROUTE] = "when routed", [SPOOL_WAIT_RELEASE] = "when released",
        [SPOOL_WAIT_SERVER] = "when up",
    };

    if (wait == SPOOL_WAIT_TIME)
        printer_since(p, next_at_ms);
    else
        printer_none(p, words[wait]);
}

static enum spool_wait
wait_of(const struct spool_message *m, const struct registry *registry, int64_t now_ms)
{
    enum routing_state routing = routing_of(registry, m);

    if (m->open_count == 0 || m->held)
        return SPOOL_WAIT_NOTHING;
    if (spool_message_awaits_all(m))
        return SPOOL_WAIT_OUTCOME;
    if (routing_is_missing(routing))
        return SPOOL_WAIT_ROUTE;
    if (routing == ROUTING_HELD)
        return SPOOL_WAIT_RELEASE;
    return spool_message_next_attempt_at_ms(m) <= now_ms ? SPOOL_WAIT_SERVER : SPOOL_WAIT_TIME;
}

void
spool_reader_print_next(struct printer *p, const struct spool_message *m,
                        const struct registry *registry, int64_t now_ms)
{
    spool_reader_print_wait(p, wait_of(m, registry, now_ms), spool_message_next_attempt_at_ms(m));
}

const char *
spool_reader_sender(const struct spool_envelope *e)
{
    return e->reverse_path[0] ? e->reverse_path : "<>";
}

/* --- Tries. The log records those that left something open; the last one is seen by the end it
 * brought. */

/* Whose answer, ending it, is the newest, if it came behind the last try in the log; else -1. */
static int
final_answer(const struct spool_message *m)
{
    int64_t newest_ms = spool_message_last_attempt_at_ms(m);
    int newest = -1;

    for (unsigned i = 0; i < m->recipient_count; i++) {
        enum spool_end end = spool_message_end(m, i);

        if ((end == SPOOL_END_DELIVERED || end == SPOOL_END_REFUSED) &&
            spool_message_ended_at_ms(m, i) > newest_ms) {
            newest = (int)i;
            newest_ms = spool_message_ended_at_ms(m, i);
        }
    }
    return newest;
}

unsigned
spool_reader_tries(const struct spool_message *m)
{
    return spool_message_attempts(m) + (final_answer(m) >= 0);
}

int64_t
spool_reader_last_try(const struct spool_message *m)
{
    int answer = final_answer(m);

    return answer >= 0 ? spool_message_ended_at_ms(m, (unsigned)answer)
                       : spool_message_last_attempt_at_ms(m);
}

/* NULL: there was none. */
const char *
spool_reader_last_reply(const struct spool_message *m)
{
    int answer = final_answer(m);
    const char *reply =
        answer >= 0 ? spool_message_reply(m, (unsigned)answer) : spool_message_last_reply(m);

    return reply[0] ? reply : NULL;
}

/* --- Totals. */

const struct spool_age spool_ages[SPOOL_AGES] = {
    {"1h", 3600000},          {"6h", 6 * 3600000}, {"1d", 24 * 3600000},
    {"3d", 3 * 24 * 3600000}, {"more", INT64_MAX},
};

static unsigned
age_of(int64_t age_ms)
{
    unsigned i = 0;

    while (i + 1 < SPOOL_AGES && age_ms >= spool_ages[i].below_ms)
        i++;
    return i;
}

void
spool_reader_count(struct spool_totals *t, const struct spool_message *m, unsigned recipients,
                   const struct registry *registry, int64_t now_ms)
{
    bool due = spool_message_next_attempt_at_ms(m) <= now_ms;

    if (m->open_count == 0)
        return;
    t->messages++;
    t->recipients += recipients ? recipients : m->open_count;
    t->size_bytes += m->body_bytes;
    t->held += m->held;
    t->damaged += m->damaged;
    t->ages[age_of(now_ms - m->received_at_ms)]++;
    if (t->oldest_at_ms == 0 || m->received_at_ms < t->oldest_at_ms)
        t->oldest_at_ms = m->received_at_ms;
    if (t->expires_at_ms == 0 || m->expires_at_ms < t->expires_at_ms)
        t->expires_at_ms = m->expires_at_ms;
    if (m->held || spool_message_awaits_all(m))
        return;
    if (routing_is_missing(routing_of(registry, m))) {
        t->no_route++;
        return;
    }
    t->due += due;
    if (!due && (t->next_at_ms == 0 || spool_message_next_attempt_at_ms(m) < t->next_at_ms))
        t->next_at_ms = spool_message_next_attempt_at_ms(m);
}
