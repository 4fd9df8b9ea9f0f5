/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the spool's tests: a scratch folder, envelopes and bodies that can be told apart, a parent
 * that hands out segments, and a spool_io that counts.
 */
#ifndef SPOOL_FIXTURE_H
#define SPOOL_FIXTURE_H

#include <stdatomic.h>

#include "spool/spool_scan.h"
#include "spool/spool_writer.h"
#include "tests/unit/scratch.h"

/* A folder of its own; its path in spool_fixture_path. */
int spool_fixture_dir(void);
extern char spool_fixture_path[SCRATCH_PATH];
void spool_fixture_clean(int dir_fd);

struct spool_envelope spool_fixture_envelope(uint64_t number);
/* n octets that follow from number */
char *spool_fixture_body(uint64_t number, size_t n);

/* Writes a record as a writer would, unsynced; where the next one begins. */
uint64_t spool_fixture_write_record(const struct spool_io *io, int fd,
                                    const uint8_t key[SIPHASH_KEY_SIZE], uint64_t offset,
                                    uint64_t number, struct slice body);

/* --- The real disk, counted; a fault at will. */
struct spool_counts {
    atomic_int fdatasyncs, fsyncs, writes;
    atomic_int fail_fdatasync_at; /* this one and no other, counted from 1 */
    atomic_int fail_write_at;
    atomic_int slow_fdatasync_ms_above; /* for each MB written since the last one */
};
extern struct spool_counts spool_counts;
extern const struct spool_io spool_io_counting;

/* --- The relay's parent and loop, as far as the writer sees them. */
struct spool_parent {
    const struct spool_io *io;
    int dir_fd;
    uint32_t epoch, next_number;
    uint32_t process;       /* that writes; 0: not said */
    uint64_t segment_bytes; /* 0: as asked for */
    bool refuse, mute;      /* answers "none"; answers nothing */
    bool seal;              /* what is done with */
    unsigned asked, done, done_empty, trimmed, alarms;
    uint64_t last_asked_bytes, last_trimmed_bytes;
    uint32_t last_ticket;
    char last_alarm[200];
    struct spool_writer *writer;
    int wake_fd;
};
void spool_parent_begin(struct spool_parent *parent, const struct spool_io *io, int dir_fd);
void spool_parent_end(struct spool_parent *parent);
/* Turns until *done is true, at most 10 s; whether it is. */
bool spool_parent_turn_until(struct spool_parent *parent, const bool *done);
void spool_parent_turn_for(struct spool_parent *parent, int ms);

struct spool_outcome {
    bool done;
    int rc;
};
void spool_fixture_on_done(void *outcome, int rc);
/* Lends the octets, which stay until the writer is freed. */
int spool_fixture_append(struct spool_large *large, struct slice octets);

/* Calls `on_record` for every record of every segment in the folder; the number of records. */
unsigned spool_fixture_read_all(const struct spool_io *io, int dir_fd, enum spool_scan_reach reach,
                                void (*on_record)(void *ctx, int fd,
                                                  const struct spool_scan_record *record),
                                void *ctx);

#endif
