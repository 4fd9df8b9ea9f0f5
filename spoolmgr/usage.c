/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For `relayctl report`: the most that waited for each customer on each day of the service, and
 * when its servers took no mail (tell.c sees that).  Rows wait here while PostgreSQL is away, and
 * can be sent again without harm: of peaks the largest counts, and an outage is known by its
 * beginning.  A keeper that begins anew begins with what waits; what it had not sent is lost.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/db.h"
#include "db/db_days.h"
#include "spoolmgr/keeper.h"

#define SLOTS 1024
#define BATCH_ROWS 500
#define ROWS_MOST 1000000 /* while PostgreSQL is away; then the newest are lost */

struct customer { /* that has mail waiting, or had today */
    struct customer *next, *next_dirty;
    uint32_t id;
    char name[REGISTRY_NAME_SIZE];
    uint64_t messages, bytes, peak_messages, peak_bytes;
    bool is_dirty; /* its peaks of today are higher than what was sent */
};

struct row { /* that waits */
    uint32_t id;
    bool is_outage;
    int32_t day;
    char name[REGISTRY_NAME_SIZE];
    uint64_t peak_messages, peak_bytes;
    int64_t began_at_ms, ended_at_ms; /* 0: not yet */
};

struct usage {
    struct customer *customers[SLOTS], *dirty; /* customers: hashed by id */
    int32_t day;
    struct row *rows;
    size_t row_count, sent_count; /* the first so many are on their way */
    size_t row_room;
    bool must_settle; /* what was open before us is to be ended */
};

static const char peaks_sql[] =
    "INSERT INTO postern.usage_spool AS u (day, customer_id, node, customer, peak_messages, "
    "peak_bytes) SELECT day, id, $1::int, max(name), max(messages), max(bytes) "
    "FROM unnest($2::date[], $3::int[], $4::text[], $5::bigint[], $6::bigint[]) "
    "r(day, id, name, messages, bytes) GROUP BY day, id ORDER BY day, id "
    "ON CONFLICT (day, customer_id, node) DO UPDATE SET customer = excluded.customer, "
    "peak_messages = greatest(u.peak_messages, excluded.peak_messages), "
    "peak_bytes = greatest(u.peak_bytes, excluded.peak_bytes)";

static const char outages_sql[] =
    "INSERT INTO postern.usage_outages (customer_id, node, began_at, ended_at, customer) "
    "SELECT DISTINCT ON (id, began) id, $1::int, began, ended, name "
    "FROM unnest($2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[]) "
    "WITH ORDINALITY r(id, name, began, ended, n) ORDER BY id, began, n DESC "
    "ON CONFLICT (customer_id, node, began_at) DO UPDATE SET ended_at = excluded.ended_at, "
    "customer = excluded.customer";

/* What a keeper before us knew of, and we do not: nobody can say when it ended. */
static const char settle_sql[] =
    "UPDATE postern.usage_outages SET ended_at = greatest(began_at, now()) "
    "WHERE node = $1::int AND ended_at IS NULL AND (customer_id, began_at) NOT IN "
    "(SELECT * FROM unnest($2::int[], $3::timestamptz[]))";

/* --- Rows. */

static void
add_row(struct usage *u, const struct row *row)
{
    if (u->row_count == ROWS_MOST)
        return;
    if (u->row_count == u->row_room) {
        u->row_room = u->row_room ? 2 * u->row_room : 64;
        u->rows = mem_realloc(u->rows, u->row_room * sizeof *u->rows);
    }
    u->rows[u->row_count++] = *row;
}

static void
take_dirty(struct usage *u)
{
    while (u->dirty != NULL) {
        struct customer *c = u->dirty;
        struct row row = {.id = c->id,
                          .day = u->day,
                          .peak_messages = c->peak_messages,
                          .peak_bytes = c->peak_bytes};

        snprintf(row.name, sizeof row.name, "%s", c->name);
        add_row(u, &row);
        u->dirty = c->next_dirty;
        c->is_dirty = false;
    }
}

void
usage_outage(struct keeper *k, uint32_t id, const char *name, int64_t began_at_ms,
             int64_t ended_at_ms)
{
    struct row row = {
        .id = id, .is_outage = true, .began_at_ms = began_at_ms, .ended_at_ms = ended_at_ms};

    if (k->mirror == NULL)
        return;
    snprintf(row.name, sizeof row.name, "%s", name);
    add_row(k->usage, &row);
}

/* --- What waits. */

static struct customer **
slot_of(struct usage *u, uint32_t id)
{
    struct customer **slot = &u->customers[id % SLOTS];

    while (*slot != NULL && (*slot)->id != id)
        slot = &(*slot)->next;
    return slot;
}

static void
note_peak(struct usage *u, struct customer *c)
{
    if (c->messages <= c->peak_messages && c->bytes <= c->peak_bytes)
        return;
    if (c->messages > c->peak_messages)
        c->peak_messages = c->messages;
    if (c->bytes > c->peak_bytes)
        c->peak_bytes = c->bytes;
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    c->next_dirty = u->dirty;
    u->dirty = c;
}

void
usage_found(struct keeper *k, const struct spool_message *m)
{
    struct customer **slot = slot_of(k->usage, m->customer_id), *c = *slot;

    if (c == NULL) {
        c = *slot = mem_alloc(sizeof *c);
        c->id = m->customer_id;
        snprintf(c->name, sizeof c->name, "%s", m->customer);
    }
    c->messages++;
    c->bytes += m->body_bytes;
    if (k->mirror != NULL)
        note_peak(k->usage, c);
}

void
usage_ended(struct keeper *k, const struct spool_message *m)
{
    struct customer *c = *slot_of(k->usage, m->customer_id);

    c->messages--;
    c->bytes -= m->body_bytes;
}

/* A day begins with what waits. */
static void
begin_day(struct usage *u, int32_t day)
{
    take_dirty(u);
    u->day = day;
    for (size_t i = 0; i < SLOTS; i++) {
        struct customer **at = &u->customers[i], *c;

        while ((c = *at) != NULL) {
            c->peak_messages = c->peak_bytes = 0;
            if (c->messages > 0) {
                note_peak(u, c);
                at = &c->next;
            } else {
                *at = c->next;
                free(c);
            }
        }
    }
}

void
usage_look(struct keeper *k)
{
    int32_t day = clock_local_day(clock_wall_ms());

    if (day != k->usage->day && k->mirror != NULL)
        begin_day(k->usage, day);
}

/* --- To PostgreSQL. */

bool
usage_is_told(const struct keeper *k)
{
    return k->usage->dirty == NULL && k->usage->row_count == 0 && !k->usage->must_settle;
}

void
usage_database_up(struct keeper *k)
{
    k->usage->must_settle = true;
    k->usage->sent_count = 0;
}

#define PARAMS_MOST 6

struct arrays {
    struct buf bufs[PARAMS_MOST - 1];
    const char *params[PARAMS_MOST];
    char node[16];
    unsigned count;
};

static void
arrays_init(struct arrays *a, const struct keeper *k, unsigned count)
{
    a->count = count;
    snprintf(a->node, sizeof a->node, "%u", k->config->node);
    a->params[0] = a->node;
    for (unsigned i = 0; i < count; i++)
        buf_init(&a->bufs[i], 0);
}

static struct buf *
element(struct arrays *a, unsigned which)
{
    struct buf *b = &a->bufs[which];

    buf_add_text(b, buf_size(b) > 0 ? "," : "{");
    return b;
}

static void
put_moment(struct arrays *a, unsigned which, int64_t at_ms)
{
    char text[CLOCK_RFC3339_SIZE];

    buf_add_text(element(a, which), at_ms > 0 ? clock_rfc3339(at_ms, text) : "NULL");
}

/* Names are registry names: they need no more than quotes. */
static void
put_name(struct arrays *a, unsigned which, const char *name)
{
    struct buf *b = element(a, which);

    buf_add_text(b, "\"");
    for (; *name; name++)
        if (*name != '"' && *name != '\\')
            buf_add(b, name, 1);
    buf_add_text(b, "\"");
}

static void
arrays_send(struct arrays *a, struct db *db, const char *sql, db_on_result on_result, void *ctx)
{
    for (unsigned i = 0; i < a->count; i++) {
        buf_add_text(&a->bufs[i], buf_size(&a->bufs[i]) > 0 ? "}" : "{}");
        a->params[i + 1] = buf_text(&a->bufs[i]);
    }
    db_query(db, sql, (int)a->count + 1, a->params, on_result, ctx);
    for (unsigned i = 0; i < a->count; i++)
        buf_fini(&a->bufs[i]);
}

static void
put_peak(struct arrays *a, const struct row *row)
{
    char day[DB_DAYS_TEXT_SIZE];

    buf_add_text(element(a, 0), db_days_text(row->day, day));
    buf_printf(element(a, 1), "%" PRIu32, row->id);
    put_name(a, 2, row->name);
    buf_printf(element(a, 3), "%" PRIu64, row->peak_messages);
    buf_printf(element(a, 4), "%" PRIu64, row->peak_bytes);
}

static void
put_outage(struct arrays *a, const struct row *row)
{
    buf_printf(element(a, 0), "%" PRIu32, row->id);
    put_name(a, 1, row->name);
    put_moment(a, 2, row->began_at_ms);
    put_moment(a, 3, row->ended_at_ms);
}

static void
put_open(void *ctx, uint32_t id, int64_t began_at_ms)
{
    struct arrays *a = ctx;

    buf_printf(element(a, 0), "%" PRIu32, id);
    put_moment(a, 1, began_at_ms);
}

static void
send_settle(struct keeper *k, struct db *db, db_on_result on_result, void *ctx)
{
    struct arrays a;

    arrays_init(&a, k, 2);
    tell_each_outage(k, put_open, &a);
    k->usage->must_settle = false;
    arrays_send(&a, db, settle_sql, on_result, ctx);
}

/* Rows of one kind, in their order. */
void
usage_send(struct keeper *k, struct db *db, db_on_result on_result, void *ctx)
{
    struct usage *u = k->usage;
    bool is_outage;
    struct arrays a;

    take_dirty(u);
    u->sent_count = 0;
    if (u->row_count == 0) {
        send_settle(k, db, on_result, ctx);
        return;
    }
    is_outage = u->rows[0].is_outage;
    arrays_init(&a, k, is_outage ? 4 : 5);
    for (; u->sent_count < u->row_count && u->sent_count < BATCH_ROWS &&
           u->rows[u->sent_count].is_outage == is_outage;
         u->sent_count++)
        (is_outage ? put_outage : put_peak)(&a, &u->rows[u->sent_count]);
    arrays_send(&a, db, is_outage ? outages_sql : peaks_sql, on_result, ctx);
}

/* What PostgreSQL will not have is said and dropped: the index must not wait for it. */
void
usage_sent(struct keeper *k, const char *why_not)
{
    struct usage *u = k->usage;

    if (why_not)
        log_line(LOG_LEVEL_ALARM, NULL, "usage-not-counted",
                 "rows=%zu why=\"%s\" effect=\"peaks and outages are missing in relayctl report\"",
                 u->sent_count, why_not);
    if (u->sent_count == 0)
        return;
    u->row_count -= u->sent_count;
    memmove(u->rows, u->rows + u->sent_count, u->row_count * sizeof *u->rows);
    u->sent_count = 0;
}

/* --- Life. */

struct usage *
usage_new(void)
{
    struct usage *u = mem_alloc(sizeof *u);

    u->day = clock_local_day(clock_wall_ms());
    return u;
}

void
usage_free(struct usage **held)
{
    struct usage *u = *held;

    *held = NULL;
    for (size_t i = 0; i < SLOTS; i++)
        while (u->customers[i] != NULL) {
            struct customer *c = u->customers[i];

            u->customers[i] = c->next;
            free(c);
        }
    free(u->rows);
    free(u);
}
