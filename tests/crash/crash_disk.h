/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A disk that loses power: a struct spool_io over real files in a scratch folder (so that fstat and
 * readdir work), which remembers what has been synced.  At a chosen operation the power goes: that
 * operation and all later ones fail with EIO.  crash_disk_power_on then leaves in the folder what a
 * disk may have kept:
 *
 *   data    of each 512-octet sector written since its file's last sync: any of the versions it has
 *           had since (so writes are dropped, cut and reordered); likewise the file's size
 *   names   of the creations, renames and unlinks since the folder's last fsync: the first n (as a
 *           journalling file system does), or, with names_any, any of them
 *
 * One disk in a process (the operations have no context); thread-safe.  Allocation is sparse.
 *
 *   const struct spool_io *io = crash_disk_begin(&(struct crash_disk_options){.seed = 1, ...});
 *   ... work on crash_disk_dir() until it fails ...
 *   crash_disk_power_on();
 *   ... look at what is there, with the same io; crash_disk_arm for a second crash ...
 *   crash_disk_end();
 */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "spool/spool_io.h"

struct crash_disk_options {
    uint64_t seed;     /* what is lost follows from it */
    uint64_t crash_at; /* the power goes at this operation, counted from 1; 0: never */
    uint64_t
        fail_sync_at; /* this fsync or fdatasync of a file, counted from 1, fails with EIO: what
                         it should have written may be lost, and later syncs do not mend it */
    uint64_t full_from, full_until; /* operations in [from, until): ENOSPC for what writes */
    bool short_writes;              /* pwritev writes only a part, now and then */
    bool names_any;
};

/* Only what changes something counts as an operation: openat that may create, pwritev, fdatasync,
 * fsync, fallocate, ftruncate, renameat, unlinkat. */
const struct spool_io *crash_disk_begin(const struct crash_disk_options *options);
int crash_disk_dir(void);          /* the scratch folder's descriptor: give it as dir_fd */
const char *crash_disk_path(void); /* and its path */
uint64_t crash_disk_operations(void);
uint64_t crash_disk_syncs(void); /* fsync and fdatasync of files */
bool crash_disk_crashed(void);
/* A number of the command line, "--rounds 20". */
uint64_t crash_disk_option(int argc, char **argv, const char *name, uint64_t otherwise);
/* The last line of a test: at how many operations something went wrong since the program began.
 * False: at none. */
bool crash_disk_tell(int test_number);
/* The power goes now, if it has not yet; then it is back.  Descriptors opened before are still to
 * be closed, and must not be used.  The counters start anew, nothing is armed. */
void crash_disk_power_on(void);
void crash_disk_arm(const struct crash_disk_options *options);
void crash_disk_end(void); /* removes the folder */

#endif
