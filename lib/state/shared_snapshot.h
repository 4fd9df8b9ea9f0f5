/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table's snapshot: a small file in state-dir that brings back, after a reboot, what
 * limits and people need: hourly windows, suspects, today's use, the health of backends.  The state
 * process writes it once a second while something changes, the relay's parent once more when all
 * workers have ended, and restores it into a table that is new.
 *
 * Not in it: references (each start has an epoch of its own, and counts from 0), columns (what must
 * not outlive a worker), counters, requests to drain.
 */
#ifndef STATE_SHARED_SNAPSHOT_H
#define STATE_SHARED_SNAPSHOT_H

#include "state/shared_table.h"

/* Writes it whole, synced, and renames it into place.  ERR_IO with errno, ERR_FULL. */
MUST_USE int shared_snapshot_write(struct shared_table *table, const char *path, int64_t wall_ms);

struct shared_snapshot_summary {
    int64_t written_at_ms;
    unsigned windows, customers, suspects, backends;
};

/* True: the table is new, and nobody has tried to restore it yet. */
bool shared_snapshot_is_needed(const struct shared_table *table);
/* The relay's parent, before it has workers; from then on it is not needed.  What no longer counts
 * at `wall_ms` is left out.  The file is read whole and judged whole before anything of it is taken
 * over, and nothing else but ERR_OK takes anything: ERR_NOT_FOUND there is none; ERR_CORRUPT torn,
 * damaged, empty or foreign; ERR_VERSION of another format; ERR_RANGE written in a time to come, so
 * that one of the two clocks is wrong; ERR_IO with errno. */
MUST_USE int shared_snapshot_restore(struct shared_table *table, const char *path, int64_t wall_ms,
                                     struct shared_snapshot_summary *summary);
/* "it was written in a time to come", ...: for a log. */
const char *shared_snapshot_error_text(int err);

/* --- The state process: a thread of its own that writes. */
struct shared_snapshot_writer;
/* NULL: there is no thread to be had. */
struct shared_snapshot_writer *shared_snapshot_writer_new(struct shared_table *table,
                                                          const char *path);
/* Once a second: hands the work to the thread, and returns at once.  The result is that of the last
 * one, told once.  Nothing is written while nothing has changed, and no more than
 * SHARED_SNAPSHOT_BYTES_A_SECOND. */
#define SHARED_SNAPSHOT_BYTES_A_SECOND (512 * 1024)
MUST_USE int shared_snapshot_writer_tick(struct shared_snapshot_writer *writer, int64_t wall_ms);
/* Waits for the one that is being written, not longer. */
void shared_snapshot_writer_free(struct shared_snapshot_writer **writer);

/* --- For the two above. */
struct buf;
/* Appends it to `content`, all but its check; the moment is left 0. */
void shared_snapshot_encode(struct shared_table *table, int64_t wall_ms, struct buf *content);
/* Adds moment and check, and writes it. */
MUST_USE int shared_snapshot_put(struct buf *content, const char *path, int64_t wall_ms);

#endif
