/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of the ledger share: spool_ledger.c (files, and the reading of one),
 * spool_ledger_job.c (what blocks), spool_ledger_entry.c (the octets).  Nobody else includes it.
 */
#ifndef SPOOL_LEDGER_PRIVATE_H
#define SPOOL_LEDGER_PRIVATE_H

#include "base/siphash.h"
#include "spool/spool_ledger.h"

/* --- spool_ledger_entry.c */

enum spool_ledger_own { /* entries of the ledger's own; payload: a u64, up to where it was synced */
                        SPOOL_LEDGER_SYNCED = SPOOL_LEDGER_TYPE_MAX,
                        SPOOL_LEDGER_CHECKPOINT_END
};

size_t spool_ledger_entry_bytes(size_t payload_bytes);
/* Offset and check come with finish, when the place is known. */
void spool_ledger_entry_add(struct buf *b, uint16_t type, struct slice payload);
void spool_ledger_entry_add_own(struct buf *b, enum spool_ledger_own type, uint64_t synced_to);
/* `offset`: where the first of these entries will stand. */
void spool_ledger_entries_finish(char *p, size_t n, uint64_t offset, const uint8_t *key);
/* The size of the entry that stands at `offset` of its file, at the front of `view`; 0 if none
 * verifies there. */
size_t spool_ledger_entry_check(struct slice view, uint64_t offset, const uint8_t *key,
                                uint16_t *type, struct slice *payload);

void spool_ledger_header_add(struct buf *b, uint32_t number, const uint8_t *key);
bool spool_ledger_header_check(struct slice file, uint32_t number, uint8_t *key);

const char *spool_ledger_file_name(uint32_t number, const char *suffix,
                                   char dst[SPOOL_LEDGER_NAME_SIZE]);

/* --- The ledger. */

struct spool_ledger_checkpoint { /* that is being written */
    bool is_running;
    int fd; /* below 0: its file has not been made */
    uint32_t number;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t offset;   /* where the next step goes */
    uint64_t unsynced; /* octets before it that have not been synced */
    struct buf bytes;  /* of the next step */
};

struct spool_ledger {
    const struct spool_io *io;
    int dir_fd;
    int fd;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t offset, reserved;
    struct buf queue;
    uint32_t highest;  /* number of any file at open: a new one must win over a damaged one */
    uint32_t *numbers; /* of the files at open, the newest first */
    size_t number_count;
    bool broken, owner;
    struct spool_ledger_checkpoint checkpoint;
    struct spool_ledger_job *job;
    struct spool_ledger_stats stats;
};

/* --- spool_ledger_job.c */
/* The first file, without an entry. */
MUST_USE int spool_ledger_make_first(struct spool_ledger *ledger);

#endif
