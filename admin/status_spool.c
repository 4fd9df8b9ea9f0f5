/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits in this node's spool, whose it is, and what of it needs somebody.
 */
#include "admin/status_part.h"

#include <errno.h>
#include <string.h>

#include "spool/spool_identity.h"

#define EXPIRES_SOON_MS (12 * 3600 * 1000LL)

struct look {
    struct status *status;
    struct status_part *part;
    struct spool_totals totals;
    struct spool_store_stats stats;
};

static void
count(struct look *look, struct spool_store *store)
{
    struct status *s = look->status;
    struct registry *registry = routing_open(s->call);

    for (struct spool_message *m = spool_store_next(store, NULL); m;
         m = spool_store_next(store, m)) {
        if (m->open_count > 0)
            spool_reader_count(spool_tally_of(&s->customers, m->customer), m, 0, registry,
                               s->now_ms);
    }
    look->totals = spool_tally_sum(&s->customers);
    spool_tally_sort(&s->customers);
    registry_close(&registry);
    spool_store_get_stats(store, &look->stats);
}

/* --- In words. */

static void
add_facts(const struct look *look)
{
    const struct spool_totals *t = &look->totals;
    struct status_part *part = look->part;

    status_fact(part, "messages", json_integer((json_int_t)t->messages));
    status_fact(part, "open_recipients", json_integer((json_int_t)t->recipients));
    status_fact(part, "size_bytes", json_integer((json_int_t)t->size_bytes));
    status_fact(part, "due", json_integer((json_int_t)t->due));
    status_fact(part, "no_route", json_integer((json_int_t)t->no_route));
    status_fact(part, "held", json_integer((json_int_t)t->held));
    status_fact(part, "oldest_received_at", printer_json_time(t->oldest_at_ms));
    status_fact(part, "next_attempt_at", printer_json_time(t->next_at_ms));
    status_fact(part, "first_expires_at", printer_json_time(t->expires_at_ms));
    status_fact(part, "segments", json_integer((json_int_t)look->stats.segments));
    status_fact(part, "damaged_records", json_integer((json_int_t)look->stats.damaged_records));
}

static void
describe(const struct look *look)
{
    const struct spool_totals *t = &look->totals;
    struct buf *detail = &look->part->detail;
    char relative[PRINTER_RELATIVE_SIZE];
    int64_t now_ms = look->status->now_ms;

    if (t->messages == 0) {
        buf_add_text(detail, "empty");
        return;
    }
    buf_printf(detail, "%llu message%s, oldest %s", (unsigned long long)t->messages,
               t->messages == 1 ? "" : "s", printer_relative(t->oldest_at_ms, now_ms, relative));
    if (t->due)
        buf_printf(detail, ", %llu to go when their server is up", (unsigned long long)t->due);
    if (t->next_at_ms)
        buf_printf(detail, ", next try %s", printer_relative(t->next_at_ms, now_ms, relative));
    if (t->held)
        buf_printf(detail, ", %llu held", (unsigned long long)t->held);
    if (t->no_route)
        buf_printf(detail, ", %llu without a route", (unsigned long long)t->no_route);
}

static bool
is_refused(const struct call *call)
{
    struct spool_identity identity;

    return spool_identity_read(call->config->spool_dir, &identity) == ERR_OK && identity.is_refused;
}

static void
judge(const struct look *look)
{
    const struct spool_totals *t = &look->totals;
    const struct spool_store_stats *stats = &look->stats;
    uint64_t damaged = stats->damaged_records + stats->unreadable_segments + t->damaged;
    char relative[PRINTER_RELATIVE_SIZE];
    int64_t now_ms = look->status->now_ms;

    if (is_refused(look->status->call))
        status_problem(look->part, "refused",
                       "; an older copy, so nothing is delivered: see `relayctl node show`");
    else if (damaged)
        status_problem(look->part, "damaged",
                       "; %llu damaged records or segments: run `spoolmgr --fsck`",
                       (unsigned long long)damaged);
    else if (t->no_route)
        status_problem(look->part, "no-route", ": see `relayctl spool list --state no-route`");
    if (t->expires_at_ms && t->expires_at_ms < now_ms + EXPIRES_SOON_MS)
        status_problem(look->part, look->part->needs_operator ? look->part->state : "expiring",
                       "; the first message ends %s: see `relayctl spool list`",
                       printer_relative(t->expires_at_ms, now_ms, relative));
}

void
status_look_spool(struct status *s)
{
    struct look look = {.status = s, .part = status_add(s, "spool")};
    const char *folder = s->call->config->spool_dir;
    struct spool_store *store;
    int rc;

    errno = 0;
    rc = spool_store_open(&spool_io_disk, folder, SPOOL_STORE_READ, &store);
    if (rc < 0 && (errno == EACCES || errno == EPERM))
        status_unreadable(look.part, folder);
    else if (rc < 0)
        status_problem(look.part, "unreadable", "%s: %s", folder,
                       errno ? strerror(errno) : err_text(rc));
    if (rc < 0)
        return;
    count(&look, store);
    spool_store_close(&store);
    add_facts(&look);
    describe(&look);
    judge(&look);
}
