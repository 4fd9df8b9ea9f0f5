/* SPDX-License-Identifier: BSD-2-Clause
 *
 * `spoolmgr --fsck`: reads everything and changes nothing, beside a running keeper as well as with
 * every daemon down.  A damaged place is reported, never mended: what is whole is delivered anyway.
 */
#include <stdio.h>
#include <unistd.h>

#include "spoolmgr/keeper.h"

struct report {
    uint64_t bad_bodies, unreadable;
};

static void
print_segment(void *ctx, const struct spool_segment_report *segment)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    (void)ctx;
    printf("%-24s %-10s %8llu messages %8llu open %4llu damaged\n",
           spool_segment_name(segment->id, name),
           segment->unreadable ? "UNREADABLE"
           : segment->sealed   ? "sealed"
                               : "growing",
           (unsigned long long)segment->messages, (unsigned long long)segment->open_messages,
           (unsigned long long)segment->damaged);
}

static void
verify_bodies(struct spool_store *store, struct report *report)
{
    struct spool_message *m = NULL;
    char ref[REF_SIZE], name[SPOOL_SEGMENT_NAME_SIZE];

    while ((m = spool_store_next(store, m)) != NULL) {
        int err = spool_store_verify_body(store, m);

        if (err == 0 || err == ERR_NOT_FOUND)
            continue; /* not found: its segment went while we were reading */
        if (m->open_count > 0 || err != ERR_CORRUPT)
            printf("%s in %s: %s\n", ref_text(m->ref, ref),
                   spool_segment_name(spool_message_segment(m), name),
                   err == ERR_CORRUPT ? "its body is damaged" : "its body cannot be read");
        report->bad_bodies += err == ERR_CORRUPT;
        report->unreadable += err != ERR_CORRUPT;
    }
}

/* Where a keeper has been there is a lock, and was a ledger. */
static bool
ledger_is_lost(const struct config *config, const struct spool_store *store,
               const struct spool_store_stats *stats)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/lock", config->spool_dir);
    if (spool_store_outcomes_missing(store) == NULL || stats->ledger_damaged > 0 ||
        access(path, F_OK) != 0)
        return false;
    printf("the ledger is MISSING: what has become of these messages is not known\n");
    return true;
}

int
fsck_run(const struct config *config)
{
    struct spool_store *store;
    struct spool_store_stats stats;
    struct report report = {0};
    int err = spool_store_open(&spool_io_disk, config->spool_dir, SPOOL_STORE_READ, &store);
    bool bad;

    if (err != 0) {
        fprintf(stderr, "spoolmgr: cannot read the spool in %s: %s\n", config->spool_dir,
                err_text(err));
        return 1;
    }
    verify_bodies(store, &report);
    spool_store_each_segment(store, print_segment, NULL);
    spool_store_get_stats(store, &stats);
    printf("%llu segments (%llu free, %llu unreadable), %llu records, %llu damaged\n",
           (unsigned long long)stats.segments, (unsigned long long)stats.free_segments,
           (unsigned long long)stats.unreadable_segments, (unsigned long long)stats.records,
           (unsigned long long)stats.damaged_records);
    printf("ledger: %llu octets, %llu entries, %llu damaged places, %llu octets behind its end\n",
           (unsigned long long)stats.ledger_bytes, (unsigned long long)stats.ledger_entries,
           (unsigned long long)stats.ledger_damaged, (unsigned long long)stats.ledger_cut_bytes);
    printf("%zu messages are open\n", spool_store_open_count(store));
    bad = ledger_is_lost(config, store, &stats);
    bad = bad || stats.damaged_records + stats.unreadable_segments + stats.ledger_damaged +
                         report.unreadable >
                     0;
    printf("%s\n", bad ? "The spool is DAMAGED: see above. What is whole is delivered all the same."
                       : "The spool is whole.");
    spool_store_close(&store);
    return bad ? 1 : 0;
}
