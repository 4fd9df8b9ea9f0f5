/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool of content in passage: nobody takes it all, nobody waits for ever, nothing is lost (P1,
 * P7, P8).  Senders here send as fast as they may, each read at most what its body has room for;
 * the disk is the spool's real writer over files in memory.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "relayd/body.h"

#define KB 1024u
#define MB (1024u * 1024)
#define SENDERS_MAX 6000

static struct loop *loop;
static struct body_pool pool;
static struct spool_writer *writer;
static struct loop_watch *watch;

/* --- The parent: segments in memory. */

static struct {
    bool refuse, mute;
    uint64_t spill_max, reserved, last_bytes;
    unsigned asked, open;
    struct {
        uint32_t ticket;
        uint64_t bytes;
    } muted;
    uint64_t bytes[SENDERS_MAX];
} parent;

static void
give(uint32_t ticket, uint64_t size_bytes)
{
    uint8_t key[SIPHASH_KEY_SIZE] = {1};
    struct spool_segment_id id = {1, 1, parent.asked};
    int fd = -1;

    if (!parent.refuse && parent.reserved + size_bytes <= parent.spill_max) {
        fd = memfd_create("segment", MFD_CLOEXEC);
        cr_assert(fd >= 0 && ftruncate(fd, (off_t)size_bytes) == 0);
        parent.reserved += size_bytes;
        parent.open++;
        parent.bytes[parent.asked % SENDERS_MAX] = size_bytes;
    }
    spool_writer_give(writer, ticket, fd, id, key, size_bytes);
}

static void
on_want_segment(void *ctx, uint64_t size_bytes, uint32_t ticket)
{
    (void)ctx;
    parent.asked++;
    parent.last_bytes = size_bytes;
    if (parent.mute) {
        parent.muted.ticket = ticket;
        parent.muted.bytes = size_bytes;
    } else
        give(ticket, size_bytes);
}

static void
on_done_segment(void *ctx, struct spool_segment_id id, bool has_records)
{
    (void)ctx;
    (void)has_records;
    parent.reserved -= parent.bytes[id.number % SENDERS_MAX];
    parent.open--;
}

static void
on_trim_segment(void *ctx, struct spool_segment_id id, uint64_t size_bytes)
{
    uint64_t *bytes = &parent.bytes[id.number % SENDERS_MAX];

    (void)ctx;
    cr_expect_lt(size_bytes, *bytes);
    parent.reserved -= *bytes - size_bytes;
    *bytes = size_bytes;
}

static void
on_alarm(void *ctx, const char *event, const char *text)
{
    (void)ctx;
    (void)event;
    (void)text;
}

static const struct spool_writer_ops writer_ops = {
    .want_segment = on_want_segment,
    .done_segment = on_done_segment,
    .trim_segment = on_trim_segment,
    .alarm = on_alarm,
};

static void
on_wake(void *ctx)
{
    (void)ctx;
    spool_writer_turn(writer);
}

/* --- The loop. */

static void
begin(unsigned chunks, unsigned larges)
{
    int wake_fd;

    parent.spill_max = 4096ull * MB;
    loop = loop_new();
    loop_allow_stalls(loop);
    cr_assert_eq(spool_writer_new(&spool_io_disk, &writer_ops, NULL, &writer, &wake_fd), ERR_OK);
    watch = loop_watch_start(loop, wake_fd, on_wake, NULL);
    body_pool_init(&pool, loop, chunks, larges);
}

static unsigned unused_count(void);

static void
end(void)
{
    body_pool_close(&pool);
    loop_watch_cancel(&watch);
    spool_writer_free(&writer);
    cr_expect_eq(pool.granted, 0, "%u chunks are lost", pool.granted);
    cr_expect_eq(unused_count(), pool.made);
    cr_expect_eq(pool.waiting_count, 0);
    cr_expect_eq(pool.larges, 0);
    cr_expect_eq(pool.moves, 0);
    for (unsigned i = 0; i <= BODY_CHUNKS_MAX; i++)
        cr_expect(TAILQ_EMPTY(&pool.listed[i]) && TAILQ_EMPTY(&pool.waiting[i]));
    loop_free(&loop);
    body_pool_fini(&pool);
}

static struct loop_timer look;
static bool (*looked_for)(void);
static bool found;
static int64_t look_until_ms;

static void
on_look(void *ctx)
{
    (void)ctx;
    found = looked_for();
    if (found || clock_monotonic_ms() >= look_until_ms)
        loop_stop(loop);
    else
        loop_timer_start(&look, 1);
}

/* Runs the loop until check() is true; how long it took, or -1 if it did not come. */
static int
run_until(bool (*check)(void), int within_ms)
{
    int64_t start_ms = clock_monotonic_ms();

    looked_for = check;
    look_until_ms = start_ms + within_ms;
    loop_timer_init(&look, loop, on_look, NULL);
    loop_timer_start(&look, 0);
    loop_run(loop);
    loop_timer_cancel(&look);
    return found ? (int)(clock_monotonic_ms() - start_ms) : -1;
}

static bool
never(void)
{
    return false;
}

/* --- Senders. */

struct sender {
    struct body body;
    uint64_t has, to_send; /* sent so far; has at hand, then it stalls, or ends if it `ends` */
    uint64_t sent;
    bool ends, reads, is_ended, was_read;
    unsigned changes, told_as; /* the first time: as how manieth of all */
};

static struct sender *senders;
static unsigned sender_count, told_count;

static char
octet_of(const struct sender *s, uint64_t at)
{
    return (char)((at * 7 + (at >> 11) + (uint64_t)(s - senders)) % 251);
}

static void on_read_turn(void *ctx);

static void
schedule(struct sender *s)
{
    if (s->reads)
        return;
    s->reads = true;
    loop_defer(loop, on_read_turn, s);
}

static void
append_some(struct sender *s, size_t n)
{
    static char piece[BODY_READ_MAX];

    for (size_t i = 0; i < n; i++)
        piece[i] = octet_of(s, s->sent + i);
    s->sent += n;
    body_append(&s->body, (struct slice){piece, n});
    cr_assert_leq(pool.granted, pool.chunks_max);
    cr_assert_leq(pool.made, pool.chunks_max);
}

static void
end_content(struct sender *s)
{
    s->is_ended = true;
    body_end(&s->body);
}

/* One read, as a session does it. */
static void
on_read_turn(void *ctx)
{
    struct sender *s = ctx;
    size_t n = body_room(&s->body);

    s->reads = false;
    if (s->is_ended || !body_is_settled(&s->body))
        return;
    if (s->body.state == BODY_FAILED && !s->ends)
        return; /* it would be thrown away */
    if (n > s->to_send - s->sent)
        n = (size_t)(s->to_send - s->sent);
    if (n > 0)
        append_some(s, n);
    if (s->sent == s->to_send && s->ends)
        end_content(s);
    else if (s->sent < s->to_send && body_room(&s->body) > 0)
        schedule(s);
}

static void
on_change(void *ctx)
{
    struct sender *s = ctx;

    if (s->changes++ == 0)
        s->told_as = ++told_count;
    schedule(s);
}

static struct sender *
add_sender(uint64_t to_send, bool ends)
{
    struct sender *s = &senders[sender_count++];

    cr_assert_leq(sender_count, SENDERS_MAX);
    *s = (struct sender){.to_send = to_send, .ends = ends};
    body_init(&s->body, &pool, writer, on_change, s);
    body_begin(&s->body, 20 * MB, 0, 64 * KB);
    schedule(s);
    return s;
}

static void
add_many(unsigned count, uint64_t to_send, bool ends)
{
    for (unsigned i = 0; i < count; i++)
        add_sender(to_send, ends);
}

static void
end_senders(void)
{
    for (unsigned i = 0; i < sender_count; i++) {
        senders[i].is_ended = true;
        body_fini(&senders[i].body);
    }
    sender_count = 0;
}

static void
set_up(unsigned chunks, unsigned larges)
{
    senders = mem_alloc(SENDERS_MAX * sizeof *senders);
    begin(chunks, larges);
}

static void
clean_up(void)
{
    end_senders();
    end();
    free(senders);
}

static bool
all_rest(void) /* nobody reads any more, for now */
{
    for (unsigned i = 0; i < sender_count; i++)
        if (senders[i].reads || senders[i].body.writing || !body_is_settled(&senders[i].body))
            return false;
    return true;
}

static bool
is_done(const struct sender *s)
{
    return s->is_ended && body_is_settled(&s->body);
}

static bool
all_done(void)
{
    for (unsigned i = 0; i < sender_count; i++)
        if (senders[i].ends && !is_done(&senders[i]))
            return false;
    return true;
}

static bool
last_done(void)
{
    return is_done(&senders[sender_count - 1]);
}

static bool
nothing_waits(void)
{
    return pool.waiting_count == 0 && all_rest();
}

static bool
nothing_is_reserved(void)
{
    return parent.reserved == 0;
}

static unsigned
count_of(enum body_state state)
{
    unsigned n = 0;

    for (unsigned i = 0; i < sender_count; i++)
        n += senders[i].body.state == state;
    return n;
}

struct body_chunk { /* as body.c has it */
    struct body_chunk *next;
};

static unsigned
unused_count(void)
{
    unsigned n = 0;

    for (struct body_chunk *c = pool.unused; c; c = c->next)
        n++;
    return n;
}

/* --- P7: what came is what is there. */

static uint64_t wrong_octets;

static void
compare(const struct sender *s, uint64_t at, struct slice piece)
{
    for (size_t i = 0; i < piece.n; i++)
        wrong_octets += piece.p[i] != octet_of(s, at + i);
}

static uint64_t read_at;
static bool was_read;

static void
on_read(void *ctx, int err, struct slice piece)
{
    cr_assert_eq(err, ERR_OK);
    compare(ctx, read_at, piece);
    read_at += piece.n;
    was_read = true;
}

static bool
is_read(void)
{
    return was_read;
}

static void
expect_identical(struct sender *s)
{
    struct iovec iov[BODY_CHUNKS_MAX];
    int n;

    wrong_octets = 0;
    read_at = 0;
    cr_expect_eq(s->body.size_bytes, s->to_send);
    if (s->body.state == BODY_IN_MEMORY) {
        n = body_iovec(&s->body, iov);
        for (int i = 0; i < n; read_at += iov[i++].iov_len)
            compare(s, read_at, (struct slice){iov[i].iov_base, iov[i].iov_len});
    } else
        while (read_at < s->to_send) {
            was_read = false;
            spool_large_read(s->body.large, read_at, MB, on_read, s);
            cr_assert_geq(run_until(is_read, 5000), 0);
        }
    cr_expect_eq(read_at, s->to_send);
    cr_expect_eq(wrong_octets, 0, "%u octets of sender %u are not its own", (unsigned)wrong_octets,
                 (unsigned)(s - senders));
}

/* --- One alone. */

static const struct {
    const char *name;
    uint64_t bytes;
    enum body_state state;
} sizes[] = {
    {"empty", 0, BODY_IN_MEMORY},
    {"one octet", 1, BODY_IN_MEMORY},
    {"a chunk", BODY_CHUNK_BYTES, BODY_IN_MEMORY},
    {"a chunk and one", BODY_CHUNK_BYTES + 1, BODY_IN_MEMORY},
    {"10 KB", 10 * KB, BODY_IN_MEMORY},
    {"a read", BODY_READ_MAX, BODY_IN_MEMORY},
    {"all that memory holds", MB, BODY_IN_MEMORY},
    {"one more", MB + 1, BODY_ON_DISK},
    {"5 MB", 5 * MB + 77, BODY_ON_DISK},
    {"the largest", 20 * MB, BODY_ON_DISK},
};

Test(body, P7_one_alone_has_what_it_wants_and_is_identical)
{
    set_up(BODY_POOL_CHUNKS, 100);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sender *s = add_sender(sizes[i].bytes, true);

        cr_assert_geq(run_until(last_done, 10000), 0, "%s", sizes[i].name);
        cr_expect_eq(s->body.state, sizes[i].state, "%s", sizes[i].name);
        expect_identical(s);
        end_senders();
    }
    clean_up();
}

Test(body, a_small_message_makes_no_more_chunks_than_it_needs)
{
    set_up(BODY_POOL_CHUNKS, 100);
    add_sender(10 * KB, true);
    cr_assert_geq(run_until(last_done, 1000), 0);
    cr_expect_eq(pool.made, 3);
    cr_expect_eq(pool.granted, 3, "what was promised and not used is back");
    clean_up();
}

/* --- Many. */

Test(body, P8_5000_stalled_after_250_KB_and_a_newcomer)
{
    int took_ms;

    parent.refuse = true;
    set_up(BODY_POOL_CHUNKS, 2500);
    add_many(5000, 250 * KB, false);
    cr_assert_geq(run_until(all_rest, 10000), 0);
    cr_expect_gt(pool.waiting_count + count_of(BODY_FAILED), 4000, "%u", pool.waiting_count);
    for (int i = 0; i < 20; i++) { /* the first second, and when they begin to fail */
        struct sender *s = add_sender(10 * KB, true);

        took_ms = run_until(last_done, 5000);
        cr_assert(took_ms >= 0 && took_ms < 2000, "newcomer %d: %d ms", i, took_ms);
        cr_expect_eq(s->body.state, BODY_IN_MEMORY, "newcomer %d", i);
        cr_expect(i > 0 || s->changes == 0, "the first need not even wait");
        expect_identical(s);
        body_fini(&s->body);
        sender_count--;
        run_until(never, 100);
    }
    cr_assert_geq(run_until(nothing_waits, 30000), 0, "%u wait, %u failed, %u move, %u granted",
                  pool.waiting_count, count_of(BODY_FAILED), pool.moves, pool.granted);
    cr_expect_gt(count_of(BODY_FAILED), 4000, "%u", count_of(BODY_FAILED));
    cr_expect_lt(count_of(BODY_IN_MEMORY), 400, "%u", count_of(BODY_IN_MEMORY));
    cr_expect_gt(pool.chunks_max - pool.granted, 512, "%u", pool.granted);
    clean_up();
}

Test(body, P8_stalled_ones_go_to_disk_as_far_as_it_goes)
{
    set_up(BODY_POOL_CHUNKS, 200);
    parent.spill_max = 1000 * MB; /* 49 of 20 MB */
    add_many(2000, 250 * KB, false);
    cr_assert_geq(run_until(all_rest, 10000), 0);
    cr_assert_geq(run_until(nothing_waits, 30000), 0, "%u wait", pool.waiting_count);
    cr_expect(count_of(BODY_ON_DISK) >= 40 && count_of(BODY_ON_DISK) <= 49, "%u",
              count_of(BODY_ON_DISK));
    cr_expect_leq(parent.reserved, parent.spill_max);
    cr_expect_gt(count_of(BODY_FAILED), 1000, "%u", count_of(BODY_FAILED));
    end_senders();
    cr_assert_geq(run_until(nothing_is_reserved, 10000), 0);
    add_sender(5 * MB, true);
    cr_assert_geq(run_until(last_done, 5000), 0);
    cr_expect_eq(senders[0].body.state, BODY_ON_DISK, "afterwards there is room again");
    clean_up();
}

Test(body, honest_ones_of_250_KB_do_not_wait_for_each_other_for_ever)
{
    set_up(BODY_POOL_CHUNKS, 500);
    parent.spill_max = 1ull << 40;
    add_many(400, 250 * KB, true);
    for (unsigned i = 0; i < 300; i++) /* slower than all others: their ends are late */
        senders[i].ends = false;
    cr_assert_geq(run_until(all_rest, 10000), 0);
    cr_assert_geq(run_until(nothing_waits, 30000), 0);
    cr_expect_eq(count_of(BODY_FAILED), 0);
    for (unsigned i = 0; i < sender_count; i++)
        cr_assert_eq(senders[i].sent, 250 * KB, "sender %u: %u", i, (unsigned)senders[i].sent);
    for (unsigned i = 0; i < 300; i++)
        end_content(&senders[i]);
    cr_assert_geq(run_until(all_rest, 5000), 0);
    for (unsigned i = 0; i < sender_count; i += 17)
        expect_identical(&senders[i]);
    clean_up();
}

Test(body, P7_P8_many_of_5_MB_keep_within_a_pool_of_4_MB_and_arrive_whole)
{
    set_up(1024, 500); /* a pool of 4 MB */
    parent.spill_max = 1ull << 40;
    add_many(100, 5 * MB, true);
    cr_assert_geq(run_until(all_done, 60000), 0, "%u wait, %u granted", pool.waiting_count,
                  pool.granted);
    cr_expect_eq(count_of(BODY_ON_DISK), 100);
    for (unsigned i = 0; i < 100; i += 13)
        expect_identical(&senders[i]);
    clean_up();
}

/* --- Order. */

Test(body, who_holds_least_is_served_first_and_then_who_waits_longest)
{
    struct sender *some, *first, *second;
    unsigned fillers;

    set_up(256, 10);
    pool.idle_ms = 60000;
    while (pool.granted < pool.chunks_max / 2)
        append_some(add_sender(0, false), 1);
    some = add_sender(200 * KB, false); /* up to its share of that half */
    cr_assert_geq(run_until(all_rest, 1000), 0);
    cr_expect(some->body.is_waiting && some->body.granted > 0, "%u", some->body.granted);
    while (pool.granted < pool.chunks_max) /* others take what is free */
        append_some(add_sender(0, false), 1);
    fillers = sender_count;
    first = add_sender(8 * KB, false);
    second = add_sender(8 * KB, false);
    cr_assert_geq(run_until(all_rest, 1000), 0);
    cr_expect(first->body.is_waiting && second->body.is_waiting);
    cr_expect_eq(first->body.granted, 0);
    for (unsigned i = 0; i < fillers; i++)
        if (&senders[i] != some) {
            senders[i].is_ended = true;
            body_fini(&senders[i].body);
        }
    cr_assert_geq(run_until(all_rest, 1000), 0);
    cr_expect_eq(first->told_as, 1, "%u", first->told_as);
    cr_expect_eq(second->told_as, 2, "%u", second->told_as);
    cr_expect_eq(some->told_as, 3, "%u", some->told_as);
    clean_up();
}

Test(body, promises_that_are_not_used_are_taken_back)
{
    struct sender *s;

    set_up(256, 10);
    parent.refuse = true;
    pool.idle_ms = 50;
    add_many(200, 0, false); /* DATA, and silence */
    cr_assert_geq(run_until(all_rest, 1000), 0);
    s = add_sender(60 * KB, true);
    cr_assert_geq(run_until(last_done, 2000), 0);
    cr_expect(s->body.state == BODY_IN_MEMORY || s->body.trouble == BODY_NO_ROOM);
    cr_expect_eq(senders[0].body.granted, 1, "%u", senders[0].body.granted);
    cr_expect_eq(senders[0].body.state, BODY_IN_MEMORY, "silence alone is no failure");
    clean_up();
}

Test(body, what_came_without_a_grant_is_kept_too)
{
    struct sender *s;

    set_up(64, 10);
    pool.idle_ms = 60000;
    add_many(20, 4 * KB, false);
    cr_assert_geq(run_until(all_rest, 1000), 0);
    s = add_sender(4 * KB, true);
    append_some(s, 4 * KB); /* pipelined behind DATA */
    end_content(s);
    cr_expect_eq(s->body.state, BODY_IN_MEMORY);
    expect_identical(s);
    clean_up();
}

/* --- Reservation. */

static const struct {
    const char *name;
    uint64_t announced, sent, limit;
    enum body_state state;
    enum body_trouble trouble;
    uint64_t reserved_most;
} reservations[] = {
    {"nothing said", 0, 3 * MB, 20 * MB, BODY_ON_DISK, BODY_FINE, 20 * MB},
    {"the truth", 3 * MB, 3 * MB, 20 * MB, BODY_ON_DISK, BODY_FINE, 7 * MB / 2},
    {"a little less", 3 * MB, 3 * MB + 200 * KB, 20 * MB, BODY_ON_DISK, BODY_FINE, 7 * MB / 2},
    {"far less", 3 * MB, 5 * MB, 20 * MB, BODY_FAILED, BODY_TOO_LONG, 7 * MB / 2},
    {"less than memory holds", 10 * KB, 5 * MB, 20 * MB, BODY_ON_DISK, BODY_FINE, 20 * MB},
    {"exactly the limit", 20 * MB, 20 * MB, 20 * MB, BODY_ON_DISK, BODY_FINE, 20 * MB},
    {"a customer's limit", 0, 2 * MB, 2 * MB, BODY_ON_DISK, BODY_FINE, 2 * MB},
    {"more than comes", 19 * MB, 10, 20 * MB, BODY_ON_DISK, BODY_FINE, 20 * MB},
};

Test(body, P9_room_is_reserved_for_what_was_announced)
{
    const uint64_t around = 128 * KB; /* headers, envelope */

    set_up(BODY_POOL_CHUNKS, 100);
    for (size_t i = 0; i < sizeof reservations / sizeof reservations[0]; i++) {
        const char *name = reservations[i].name;
        struct sender *s = &senders[sender_count++];

        *s = (struct sender){.to_send = reservations[i].sent, .ends = true};
        body_init(&s->body, &pool, writer, on_change, s);
        body_begin(&s->body, reservations[i].limit, reservations[i].announced, 64 * KB);
        cr_expect_eq(body_is_settled(&s->body), reservations[i].announced <= MB, "%s", name);
        schedule(s);
        cr_assert_geq(run_until(last_done, 5000), 0, "%s", name);
        cr_expect_eq(s->body.state, reservations[i].state, "%s", name);
        cr_expect_eq(s->body.trouble, reservations[i].trouble, "%s", name);
        cr_expect_leq(parent.last_bytes, reservations[i].reserved_most + around, "%s", name);
        cr_expect_geq(parent.last_bytes, reservations[i].announced, "%s", name);
        if (s->body.state != BODY_FAILED)
            expect_identical(s);
        end_senders();
    }
    clean_up();
}

/* Or those who wait for a scanner or a backend keep twenty times what they need from others. */
Test(body, P8_room_that_is_not_needed_goes_back_when_the_content_is_whole)
{
    const uint64_t around = 128 * KB; /* headers, envelope */

    set_up(BODY_POOL_CHUNKS, 100);
    add_sender(3 * MB, false);
    cr_assert_geq(run_until(all_rest, 5000), 0);
    cr_expect_geq(parent.reserved, 20 * MB, "more may come");
    body_end(&senders[0].body);
    cr_expect_leq(parent.reserved, 3 * MB + around, "%llu", (unsigned long long)parent.reserved);
    cr_expect_geq(parent.reserved, 3 * MB);
    parent.mute = true;
    add_sender(MB + 1, true);
    run_until(last_done, 100);
    give(parent.muted.ticket, parent.muted.bytes);
    cr_assert_geq(run_until(last_done, 1000), 0);
    cr_expect_leq(parent.reserved, 4 * MB + 2 * around, "one whose segment came behind its end");
    expect_identical(&senders[0]);
    expect_identical(&senders[1]);
    end_senders();
    run_until(never, 50);
    cr_expect_eq(parent.reserved, 0);
    clean_up();
}

static bool
is_settled(void)
{
    return body_is_settled(&senders[sender_count - 1].body);
}

Test(body, no_room_is_said_before_the_content_and_may_be_asked_again)
{
    struct sender *s;

    set_up(BODY_POOL_CHUNKS, 100);
    s = add_sender(0, false);
    body_fini(&s->body);
    body_init(&s->body, &pool, writer, on_change, s);
    parent.refuse = true;
    body_begin(&s->body, 20 * MB, 5 * MB, 64 * KB);
    cr_assert_geq(run_until(is_settled, 1000), 0);
    cr_expect(s->body.state == BODY_FAILED && s->body.trouble == BODY_NO_ROOM);
    cr_expect_eq(s->changes, 1);
    parent.refuse = false;
    body_begin(&s->body, 20 * MB, 5 * MB, 64 * KB);
    cr_assert_geq(run_until(is_settled, 1000), 0);
    cr_expect_eq(s->body.state, BODY_ON_DISK);
    clean_up();
}

Test(body, descriptors_are_bounded)
{
    set_up(BODY_POOL_CHUNKS, 3);
    add_many(5, 2 * MB, true);
    cr_assert_geq(run_until(all_done, 5000), 0);
    cr_expect_eq(count_of(BODY_ON_DISK), 3);
    cr_expect_eq(count_of(BODY_FAILED), 2);
    clean_up();
}

Test(body, nothing_is_held_by_what_is_not_wanted)
{
    struct sender *s;

    set_up(BODY_POOL_CHUNKS, 3);
    s = add_sender(900 * KB, false);
    add_sender(3 * MB, false);
    cr_assert_geq(run_until(all_rest, 5000), 0);
    body_discard(&s->body);
    body_discard(&senders[1].body);
    run_until(never, 50);
    cr_expect_eq(pool.granted, 0, "%u", pool.granted);
    cr_expect_eq(parent.open, 0);
    cr_expect_gt(body_room(&s->body), 0, "it is read, and thrown away");
    append_some(s, 1000);
    cr_expect_eq(pool.granted, 0);
    clean_up();
}

Test(body, one_that_ends_while_its_segment_is_awaited_settles_later)
{
    struct sender *s;

    set_up(BODY_POOL_CHUNKS, 3);
    parent.mute = true;
    s = add_sender(MB + 1, true);
    run_until(last_done, 100);
    cr_expect(s->is_ended && !body_is_settled(&s->body));
    give(parent.muted.ticket, parent.muted.bytes);
    cr_assert_geq(run_until(last_done, 1000), 0);
    expect_identical(s);
    clean_up();
}

Test(body, ends_at_any_moment_lose_nothing)
{
    unsigned seed = 1;

    set_up(512, 50);
    parent.spill_max = 200 * MB;
    pool.idle_ms = 5;
    for (int round = 0; round < 300; round++) {
        unsigned count = 1 + (unsigned)rand_r(&seed) % 60;

        for (unsigned i = 0; i < count; i++)
            add_sender((uint64_t)rand_r(&seed) % (i % 7 ? 40 * KB : 2 * MB), rand_r(&seed) % 2);
        run_until(never, rand_r(&seed) % 12);
        for (unsigned i = 0; i < sender_count; i++)
            if (!senders[i].is_ended && rand_r(&seed) % 4 == 0)
                body_discard(&senders[i].body);
        end_senders();
    }
    clean_up();
}
