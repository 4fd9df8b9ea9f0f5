/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The power goes, a sync fails, or the disk is full while mail of our own is written (spool_own):
 * at each operation, with many choices of what the disk kept.  No threads: a seed is a run.  The
 * oracle, after a start of the store's owner:
 *
 *   P2  a batch that was said to be durable is there, each message once and whole
 *       one that was not is there as a whole, or not at all; and it can be written again
 *       the batches before it are as they were
 *
 * usage: test_crash_own [--rounds N] [--seed S]
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "spool/spool_own.h"
#include "spool/spool_store.h"
#include "tests/crash/crash_disk.h"
#include "tests/unit/spool_fixture.h"

#define BATCHES 3
#define BATCH 4          /* messages */
#define OPERATIONS_MAX 8 /* more than the writing of a batch has */
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 40
#else
#define ROUNDS 400
#endif

enum kind { KIND_POWER, KIND_SYNC, KIND_FULL, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"power loss", "a failed sync and power loss",
                                                   "a full disk and power loss"};

static const struct spool_io *io;
static uint64_t seed;
static bool is_wrong;

static void PRINTF_LIKE(1, 2) wrong(const char *fmt, ...)
{
    va_list args;

    is_wrong = true;
    va_start(args, fmt);
    printf("# seed %" PRIu64 ": ", seed);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

static size_t
body_bytes(uint64_t number)
{
    return (size_t)(seed * 31 + number * 977) % 3000;
}

/* Messages of a batch are numbered from batch * 10 + 1 on. */
static int
write_batch(unsigned batch, uint32_t *number)
{
    struct spool_own *own = spool_own_new(1);
    int rc;

    for (unsigned i = 1; i <= BATCH; i++) {
        struct spool_envelope e = spool_fixture_envelope(batch * 10 + i);
        char *body = spool_fixture_body(e.ref.number, body_bytes(e.ref.number));

        spool_own_add(own, &e, (struct slice){body, body_bytes(e.ref.number)});
        free(body);
    }
    rc = spool_own_write(own, io, crash_disk_dir(), number);
    spool_own_free(&own);
    return rc;
}

static void
look_at_message(struct spool_store *store, const struct spool_message *m, unsigned found[BATCHES])
{
    unsigned batch = (unsigned)(m->ref.number / 10);
    size_t n = body_bytes(m->ref.number);
    char *want = spool_fixture_body(m->ref.number, n), *got = mem_alloc(n + 1);

    if (batch >= BATCHES || spool_store_read_body(store, m, 0, got, n) != (int64_t)n ||
        memcmp(got, want, n) != 0)
        wrong("message %" PRIu64 " is not what it was", m->ref.number);
    else
        found[batch]++;
    free(got);
    free(want);
}

/* How many messages of each batch a start finds. */
static void
look(unsigned found[BATCHES])
{
    struct spool_store_stats stats;
    struct spool_message *m = NULL;
    struct spool_store *store;

    memset(found, 0, BATCHES * sizeof *found);
    if (spool_store_open(io, crash_disk_path(), SPOOL_STORE_OWNER, &store) != 0) {
        wrong("the spool cannot be opened");
        return;
    }
    while ((m = spool_store_next(store, m)) != NULL)
        look_at_message(store, m, found);
    spool_store_get_stats(store, &stats);
    if (stats.damaged_records + stats.unreadable_segments > 0)
        wrong("taken for damage");
    spool_store_close(&store);
}

static struct crash_disk_options
trouble(enum kind kind, uint64_t at)
{
    struct crash_disk_options options = {.seed = seed, .names_any = seed % 2 == 0};

    if (kind == KIND_POWER)
        options.crash_at = at;
    else if (kind == KIND_SYNC) /* the power goes a little later, or at the end */
        options.fail_sync_at = 1, options.crash_at = at + 1;
    else
        options.full_from = at, options.full_until = at + 2;
    return options;
}

static bool
run_round(enum kind kind, uint64_t at)
{
    unsigned found[BATCHES];
    uint32_t number = 0;
    struct crash_disk_options options = trouble(kind, at);
    int rc;

    is_wrong = false;
    io = crash_disk_begin(&(struct crash_disk_options){.seed = seed});
    CHECK(write_batch(0, &number) == 0);
    crash_disk_arm(&options);
    rc = write_batch(1, &number);
    crash_disk_power_on();
    look(found);
    if (found[0] != BATCH)
        wrong("of the batch before, %u are there", found[0]);
    if (rc == 0 ? found[1] != BATCH : found[1] != 0 && found[1] != BATCH)
        wrong("%s, and %u are there", rc == 0 ? "durable" : "not durable", found[1]);
    if (write_batch(2, &number) != 0)
        wrong("nothing can be written any more");
    look(found);
    if (found[0] != BATCH || found[2] != BATCH)
        wrong("behind it: %u and %u", found[0], found[2]);
    crash_disk_end();
    return !is_wrong;
}

int
main(int argc, char **argv)
{
    uint64_t rounds = crash_disk_option(argc, argv, "--rounds", ROUNDS),
             first = crash_disk_option(argc, argv, "--seed", 1);
    int failed = 0;

    log_init("test_crash_own", STDERR_FILENO, LOG_LEVEL_ALARM + 1);
    printf("1..%d\n", KIND_COUNT + 1);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        unsigned bad = 0;

        for (seed = first; seed < first + rounds && bad < 3; seed++)
            for (uint64_t at = 1; at <= OPERATIONS_MAX && bad < 3; at++)
                bad += !run_round((enum kind)kind, at);
        printf("%sok %d - P2 mail of our own: %s\n", bad ? "not " : "", kind + 1, kind_names[kind]);
        failed += bad > 0;
    }
    failed += !crash_disk_tell(KIND_COUNT + 1);
    return failed > 0;
}
