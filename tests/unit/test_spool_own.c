/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail of our own is kept like any: found by a refresh and at a start, whole, with what it is
 * about; and its segment goes when it has ended (P2).
 */
#include "config.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "spool/spool_own.h"
#include "spool/spool_store.h"
#include "spool_fixture.h"

#define CONTENT "From: us\r\n\r\nwhat has become of it\r\n"

static struct spool_about_end ends[] = {{0, SPOOL_END_EXPIRED}, {7, SPOOL_END_REFUSED}};

static struct spool_envelope
notice(uint64_t number)
{
    struct spool_envelope e = spool_fixture_envelope(number);

    e.reverse_path = "";
    e.expires_at_ms = clock_wall_ms() + 1000000;
    e.about = (struct spool_about){
        .ref = {.node = 1, .minute = 5, .number = 99}, .ends = ends, .end_count = 2};
    return e;
}

static int
write_notices(const struct spool_io *io, int dir_fd, unsigned count, uint32_t *number)
{
    struct spool_own *own = spool_own_new(1);
    int rc;

    cr_expect(spool_own_is_empty(own));
    for (unsigned i = 0; i < count; i++) {
        struct spool_envelope e = notice(i + 1);

        spool_own_add(own, &e, slice_of(CONTENT));
    }
    rc = spool_own_write(own, io, dir_fd, number);
    spool_own_free(&own);
    return rc;
}

static void
expect_notice(struct spool_store *store, const struct spool_message *m)
{
    struct spool_envelope e;
    struct arena arena;
    char content[sizeof CONTENT] = "";

    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    cr_assert_eq(spool_store_envelope(store, m, &arena, &e), 0);
    cr_expect(m->flags & SPOOL_FLAG_OWN);
    cr_expect_eq(spool_message_segment(m).epoch, SPOOL_OWN_EPOCH);
    cr_expect_eq(e.about.ref.number, 99);
    cr_assert_eq(e.about.end_count, 2);
    cr_expect_eq(e.about.ends[1].recipient, 7);
    cr_expect_eq(e.about.ends[1].end, SPOOL_END_REFUSED);
    cr_expect_eq(spool_store_read_body(store, m, 0, content, sizeof content), sizeof CONTENT - 1);
    cr_expect_str_eq(content, CONTENT);
    arena_clear(&arena);
}

static void
count(void *ctx, struct spool_message *m)
{
    (void)m;
    ++*(unsigned *)ctx;
}

Test(spool_own, found_by_a_refresh_and_at_a_start)
{
    int dir_fd = spool_fixture_dir();
    struct spool_store *store;
    struct spool_message *m = NULL;
    uint32_t number = 0, first;
    unsigned seen = 0;

    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_OWNER, &store),
                 0);
    cr_assert_eq(write_notices(&spool_io_disk, dir_fd, 3, &number), 0);
    first = number;
    cr_assert_eq(spool_store_refresh(store, count, &seen), 0);
    cr_expect_eq(seen, 3);
    cr_assert_eq(write_notices(&spool_io_disk, dir_fd, 1, &number), 0);
    cr_expect_gt(number, first, "no name is given twice");
    cr_assert_eq(spool_store_refresh(store, count, &seen), 0);
    cr_expect_eq(seen, 4);
    spool_store_close(&store);
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_OWNER, &store),
                 0);
    cr_expect_eq(spool_store_open_count(store), 4);
    while ((m = spool_store_next(store, m)) != NULL)
        expect_notice(store, m);
    spool_store_close(&store);
    spool_fixture_clean(dir_fd);
}

Test(spool_own, its_segment_goes_when_it_has_ended)
{
    int dir_fd = spool_fixture_dir();
    struct spool_store_stats stats;
    struct spool_message *m = NULL;
    struct spool_store *store;
    uint32_t number = 0;

    cr_assert_eq(write_notices(&spool_io_disk, dir_fd, 2, &number), 0);
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_OWNER, &store),
                 0);
    while ((m = spool_store_next(store, m)) != NULL)
        spool_store_ended(store, m, 0, SPOOL_END_DELIVERED, clock_wall_ms(), "250 ok");
    cr_assert_eq(spool_store_sync(store), 0);
    cr_assert_eq(spool_store_clean(store, NULL, NULL), 0);
    spool_store_get_stats(store, &stats);
    cr_expect_eq(stats.segments, 0);
    cr_expect_eq(stats.free_segments, 0, "it is no segment of the usual size");
    spool_store_close(&store);
    spool_fixture_clean(dir_fd);
}

/* The relay's parent seals what earlier starts have left, and counts epochs by names. */
Test(spool_own, the_relay_leaves_it_alone)
{
    int dir_fd = spool_fixture_dir();
    struct spool_store *store;
    uint32_t number = 0, epoch;

    cr_assert_eq(write_notices(&spool_io_disk, dir_fd, 1, &number), 0);
    cr_assert_eq(spool_segment_seal(&spool_io_disk, dir_fd,
                                    (struct spool_segment_id){1, SPOOL_OWN_EPOCH, number}),
                 0);
    cr_assert_eq(spool_epoch_next(&spool_io_disk, dir_fd, &epoch), 0);
    cr_expect_eq(epoch, 1);
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_READ, &store), 0);
    cr_expect_eq(spool_store_open_count(store), 1);
    spool_store_close(&store);
    spool_fixture_clean(dir_fd);
}

/* --- A disk that fails: nothing is left, and the same batch can be written again. */

static unsigned calls_left;

static int
failing_fsync(int fd)
{
    if (calls_left-- > 0)
        return spool_io_disk.fsync(fd);
    errno = ENOSPC;
    return -1;
}

Test(spool_own, what_cannot_be_written_does_not_count)
{
    for (unsigned good = 0; good < 2; good++) { /* the file's, then the folder's */
        struct spool_io io = spool_io_disk;
        int dir_fd = spool_fixture_dir();
        struct spool_store *store;
        uint32_t number = 0;

        io.fsync = failing_fsync;
        calls_left = good;
        cr_expect_eq(write_notices(&io, dir_fd, 1, &number), ERR_FULL, "sync %u", good);
        cr_assert_eq(
            spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_OWNER, &store), 0);
        cr_expect_eq(spool_store_open_count(store), 0, "sync %u", good);
        spool_store_close(&store);
        cr_expect_eq(write_notices(&spool_io_disk, dir_fd, 1, &number), 0);
        spool_fixture_clean(dir_fd);
    }
}
