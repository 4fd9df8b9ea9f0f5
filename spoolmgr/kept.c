/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits for each customer, told to the relay in the shared table, so that it holds quotas.
 * While the disk is short the bound falls from what the largest customer has to nothing, as free
 * space falls from a tenth of the disk (at most 4 GB) to nothing: the largest is refused first.
 */
#include "spoolmgr/keeper.h"

#include <sys/statvfs.h>

#include "base/log.h"
#include "state/shared_kept.h"

#define SHORT_PART 10 /* of the disk */
#define SHORT_MAX_BYTES (UINT64_C(4) << 30)

/* Mail of our own is nobody's quota. */
static bool
counts(const struct spool_message *m)
{
    return m->open_count > 0 && (m->flags & SPOOL_FLAG_OWN) == 0;
}

static void
count(struct keeper *k, const struct spool_message *m, bool is_new)
{
    shared_kept_add(route_table(k->route), m->customer_id, m->body_bytes, is_new);
}

/* All at once, so that there is hardly a moment in which a quota is not held. */
void
kept_begin(struct keeper *k)
{
    struct spool_message *m = NULL;

    shared_kept_clear(route_table(k->route));
    while ((m = spool_store_next(k->store, m)) != NULL)
        if (counts(m))
            count(k, m, false);
    kept_look(k);
}

void
kept_found(struct keeper *k, const struct spool_message *m, bool is_new)
{
    struct mail *mail = m->user;

    if (m->flags & SPOOL_FLAG_OWN)
        return;
    if (m->open_count > 0) {
        mail->is_counted = true;
        usage_found(k, m);
        tell_found(k, m);
        if (is_new)
            count(k, m, true);
    } else if (is_new) {
        shared_kept_give(route_table(k->route), m->customer_id, m->body_bytes);
        tell_ended(k, m, false);
    }
}

void
kept_changed(struct keeper *k, struct mail *mail)
{
    const struct spool_message *m = mail->message;

    if (!mail->is_counted || m->open_count > 0)
        return;
    mail->is_counted = false;
    usage_ended(k, m);
    shared_kept_remove(route_table(k->route), m->customer_id, m->body_bytes);
    tell_ended(k, m, true);
}

static uint64_t
bound_of(const struct shared_table *table, const struct statvfs *disk)
{
    uint64_t total = (uint64_t)disk->f_blocks * disk->f_frsize,
             available = (uint64_t)disk->f_bavail * disk->f_frsize, low = total / SHORT_PART;

    if (low > SHORT_MAX_BYTES)
        low = SHORT_MAX_BYTES;
    if (available >= low)
        return SHARED_KEPT_NO_BOUND;
    return (uint64_t)((double)shared_kept_most_bytes(table) * ((double)available / (double)low));
}

void
kept_look(struct keeper *k)
{
    struct shared_table *table = route_table(k->route);
    uint64_t bound, before = shared_kept_bound(table);
    struct statvfs disk;

    if (statvfs(k->config->spool_dir, &disk) != 0)
        return; /* the store says what is wrong with the folder */
    bound = bound_of(table, &disk);
    shared_kept_set_bound(table, bound);
    if (bound != SHARED_KEPT_NO_BOUND && before == SHARED_KEPT_NO_BOUND)
        log_line(
            LOG_LEVEL_ALARM, NULL, "disk-short",
            "folder=%s available_mib=%llu effect=\"customers with the most mail waiting get no "
            "more in\" remedy=\"free the disk; relayctl spool summary shows who has how much\"",
            k->config->spool_dir,
            (unsigned long long)(((uint64_t)disk.f_bavail * disk.f_frsize) >> 20));
    else if (bound == SHARED_KEPT_NO_BOUND && before != SHARED_KEPT_NO_BOUND)
        log_line(LOG_LEVEL_INFO, NULL, "disk-short-over", "folder=%s", k->config->spool_dir);
}
