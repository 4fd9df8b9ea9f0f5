/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A handful of rows; each change of health is said once.
 */
#include "relayd/scanners.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define PAUSE_MIN_MS 5000
#define PAUSE_MAX_MS 60000
#define ODD_FAILURES_MAX 3 /* in a row: a single one may be owed to the message */

struct scanner {
    struct milter_entry entry;
    int64_t failing_at_ms; /* wall clock; 0: it is not */
    int64_t next_at_ms;    /* of the loop: then the next message asks */
    int64_t pause_ms;
    bool is_probed;
    unsigned odd_failures, busy;
    const char *why; /* static */
    struct scanners_queue waiting;
};

struct scanners {
    struct loop *loop;
    struct shared_table *table;
    unsigned slot, count;
    struct loop_timer rest; /* of those who wait, where they were many */
    struct scanner items[SCANNERS_MAX];
};

static void on_rest(void *ctx);

struct scanners *
scanners_new(struct loop *loop, const struct config *config, struct shared_table *table,
             unsigned slot)
{
    struct scanners *s = mem_alloc(sizeof *s);

    s->loop = loop;
    s->table = table;
    s->slot = slot;
    loop_timer_init(&s->rest, loop, on_rest, s);
    CHECK(config->milters.count <= SCANNERS_MAX);
    for (size_t i = 0; i < config->milters.count; i++) {
        struct scanner *m = &s->items[s->count++];

        CHECK(milter_entry_parse(config->milters.items[i], &m->entry) == NULL);
        TAILQ_INIT(&m->waiting);
    }
    return s;
}

void
scanners_free(struct scanners **held)
{
    if (*held)
        loop_timer_cancel(&(*held)->rest);
    free(*held);
    *held = NULL;
}

unsigned
scanners_count(const struct scanners *s)
{
    return s->count;
}

const struct milter_entry *
scanners_entry(const struct scanners *s, unsigned i)
{
    return &s->items[i].entry;
}

const char *
scanners_trouble(const struct scanners *s, unsigned i)
{
    return s->items[i].failing_at_ms ? s->items[i].why : "";
}

/* --- Turns. */

enum scanners_turn
scanners_take(struct scanners *s, unsigned i, struct scanners_wait *wait)
{
    struct scanner *m = &s->items[i];

    if (m->failing_at_ms != 0 && (m->is_probed || loop_now_ms(s->loop) < m->next_at_ms))
        return SCANNERS_AWAY;
    if (m->busy >= SCANNERS_AT_ONCE) {
        wait->queue = &m->waiting;
        TAILQ_INSERT_TAIL(&m->waiting, wait, link);
        return SCANNERS_WAIT;
    }
    wait->is_probe = m->failing_at_ms != 0;
    m->is_probed = m->is_probed || wait->is_probe;
    m->busy++;
    return SCANNERS_ASK;
}

void
scanners_leave(struct scanners_wait *wait)
{
    if (wait->queue)
        TAILQ_REMOVE(wait->queue, wait, link);
    wait->queue = NULL;
}

/* Who is woken may find it failing, and takes no turn then; so a turn of the loop wakes so many,
 * and the next one the rest (P8). */
static void
wake(struct scanners *s, struct scanner *m)
{
    struct scanners_wait *wait;

    for (unsigned n = 0; n < SCANNERS_AT_ONCE && m->busy < SCANNERS_AT_ONCE; n++) {
        wait = TAILQ_FIRST(&m->waiting);
        if (wait == NULL)
            return;
        scanners_leave(wait);
        wait->on_turn(wait->ctx);
    }
    if (m->busy < SCANNERS_AT_ONCE && !TAILQ_EMPTY(&m->waiting))
        loop_timer_start(&s->rest, 0);
}

static void
on_rest(void *ctx)
{
    struct scanners *s = ctx;

    for (unsigned i = 0; i < s->count; i++)
        wake(s, &s->items[i]);
}

static void
let_go(struct scanners *s, struct scanner *m, struct scanners_wait *who)
{
    if (who->is_probe)
        m->is_probed = false;
    who->is_probe = false;
    m->busy--;
    wake(s, m);
}

void
scanners_dropped(struct scanners *s, unsigned i, struct scanners_wait *who)
{
    let_go(s, &s->items[i], who);
}

/* --- Health. */

static void
fail(struct scanners *s, struct scanner *m, const char *why)
{
    char address[MILTER_ADDRESS_SIZE];

    m->why = why;
    m->pause_ms = m->pause_ms == 0 ? PAUSE_MIN_MS : m->pause_ms * 2;
    if (m->pause_ms > PAUSE_MAX_MS)
        m->pause_ms = PAUSE_MAX_MS;
    m->next_at_ms = loop_now_ms(s->loop) + m->pause_ms;
    if (m->failing_at_ms != 0)
        return;
    m->failing_at_ms = clock_wall_ms();
    log_line(LOG_LEVEL_ALARM, NULL, "milter-failing",
             "milter=%s address=%s why=\"%s\" effect=\"%s\" remedy=\"start it, or look into its "
             "log\"",
             m->entry.name, milter_entry_address(&m->entry, address), why,
             m->entry.defers ? "mail is put off (451)" : "mail goes on unscanned");
}

static void
recover(struct scanner *m)
{
    if (m->failing_at_ms != 0)
        log_line(LOG_LEVEL_INFO, NULL, "milter-back", "milter=%s after_ms=%lld", m->entry.name,
                 (long long)(clock_wall_ms() - m->failing_at_ms));
    m->failing_at_ms = 0;
    m->pause_ms = 0;
    m->odd_failures = 0;
}

void
scanners_heard(struct scanners *s, unsigned i, struct scanners_wait *who, const char *why,
               bool is_dead)
{
    struct scanner *m = &s->items[i];

    if (why == NULL)
        recover(m);
    else if (m->failing_at_ms != 0 ? who->is_probe /* else it was asked before it failed */
                                   : is_dead || ++m->odd_failures >= ODD_FAILURES_MAX)
        fail(s, m, why);
    shared_scanner_set(s->table, s->slot, i,
                       m->failing_at_ms ? m->failing_at_ms : SHARED_SCANNER_UP);
    let_go(s, m, who);
}
