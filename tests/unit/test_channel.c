/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: messages between our processes: whole, in order, with their descriptors, never blocking.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/codec.h"
#include "net/channel.h"

struct end {
    struct channel *channel;
    struct loop *loop;
    int count, want, closed;
    uint64_t next; /* the number that must come */
    size_t last_size;
    int fd;
};

static void
on_close(void *ctx)
{
    struct end *e = ctx;

    e->closed++;
    channel_close(&e->channel);
    loop_stop(e->loop);
}

static void
on_number(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct end *e = ctx;
    struct decoder d = decoder_of(payload);

    cr_expect_eq(type, 7);
    cr_expect_eq(get_u64(&d), e->next);
    e->next++;
    e->last_size = payload.n;
    for (size_t i = 0; i < fd_count; i++)
        e->fd = fds[i];
    if (++e->count == e->want)
        loop_stop(e->loop);
}

static void
open_ends(struct loop *loop, struct end *a, struct end *b)
{
    int fds[2];

    cr_assert_eq(channel_pair(fds), ERR_OK);
    *a = (struct end){.loop = loop, .fd = -1};
    *b = (struct end){.loop = loop, .fd = -1};
    a->channel = channel_open(loop, fds[0], on_number, on_close, a);
    b->channel = channel_open(loop, fds[1], on_number, on_close, b);
}

static int
send_number(struct end *e, uint64_t n, size_t size, const int *fds, size_t fd_count)
{
    struct buf b;
    int rc;

    buf_init(&b, 0);
    put_u64(&b, n);
    while (buf_size(&b) < size)
        put_u64(&b, n);
    rc = channel_send(e->channel, 7, buf_slice(&b), fds, fd_count);
    buf_fini(&b);
    return rc;
}

Test(channel, messages_arrive_whole_and_in_order_however_many_wait)
{
    struct loop *loop = loop_new();
    struct end a, b;

    open_ends(loop, &a, &b);
    b.want = CHANNEL_QUEUE_MAX;
    for (uint64_t i = 0; i < CHANNEL_QUEUE_MAX; i++)
        cr_assert_eq(send_number(&a, i, i % 97 == 0 ? 2000 : 8, NULL, 0), ERR_OK);
    cr_expect_eq(send_number(&a, 0, 8, NULL, 0), ERR_LIMIT);
    loop_run(loop);
    cr_expect_eq(b.count, CHANNEL_QUEUE_MAX);
    channel_close(&a.channel);
    channel_close(&b.channel);
    loop_free(&loop);
}

Test(channel, the_largest_message_passes_and_a_larger_one_is_refused)
{
    struct loop *loop = loop_new();
    struct end a, b;

    open_ends(loop, &a, &b);
    b.want = 1;
    cr_expect_eq(send_number(&a, 0, CHANNEL_MAX_BYTES + 8, NULL, 0), ERR_LIMIT);
    cr_expect_eq(send_number(&a, 0, CHANNEL_MAX_BYTES, NULL, 0), ERR_OK);
    loop_run(loop);
    cr_expect_eq(b.last_size, CHANNEL_MAX_BYTES);
    channel_close(&a.channel);
    channel_close(&b.channel);
    loop_free(&loop);
}

Test(channel, descriptors_travel_and_the_senders_stays_its_own)
{
    struct loop *loop = loop_new();
    struct end a, b;
    int fds[2];
    char byte = 0;

    open_ends(loop, &a, &b);
    cr_assert_eq(pipe(fds), 0);
    b.want = 3;
    cr_assert_eq(send_number(&a, 0, 8, NULL, 0), ERR_OK); /* one waits before it */
    cr_assert_eq(send_number(&a, 1, 8, &fds[1], 1), ERR_OK);
    close(fds[1]);
    cr_assert_eq(send_number(&a, 2, 8, NULL, 0), ERR_OK);
    loop_run(loop);
    cr_assert_geq(b.fd, 0);
    cr_expect(fcntl(b.fd, F_GETFD) & FD_CLOEXEC);
    cr_expect_eq(write(b.fd, "!", 1), 1);
    cr_expect_eq(read(fds[0], &byte, 1), 1);
    cr_expect_eq(byte, '!');
    close(b.fd);
    cr_expect_eq(read(fds[0], &byte, 1), 0, "a duplicate was left open");
    close(fds[0]);
    channel_close(&a.channel);
    channel_close(&b.channel);
    loop_free(&loop);
}

Test(channel, what_was_sent_before_a_close_arrives_and_then_the_end_is_told_once)
{
    struct loop *loop = loop_new();
    struct end a, b;

    open_ends(loop, &a, &b);
    cr_assert_eq(send_number(&a, 0, 8, NULL, 0), ERR_OK);
    channel_close(&a.channel);
    loop_run(loop);
    cr_expect_eq(b.count, 1);
    cr_expect_eq(b.closed, 1);
    cr_expect_null(b.channel);
    loop_free(&loop);
}

Test(channel, a_send_to_nobody_is_told_and_the_end_follows)
{
    struct loop *loop = loop_new();
    struct end a, b;

    open_ends(loop, &a, &b);
    channel_close(&b.channel);
    cr_assert_eq(send_number(&a, 0, 8, NULL, 0), ERR_OK);
    channel_flush(a.channel);
    cr_expect_eq(send_number(&a, 0, 8, NULL, 0), ERR_CLOSED);
    loop_run(loop);
    cr_expect_eq(a.closed, 1);
    loop_free(&loop);
}

static void
close_on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct end *e = ctx;

    (void)type;
    (void)payload;
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    e->count++;
    channel_close(&e->channel);
    loop_stop(e->loop);
}

Test(channel, closing_in_the_callback_ends_a_batch_and_leaks_no_descriptor)
{
    struct loop *loop = loop_new();
    struct end a = {.loop = loop}, b = {.loop = loop};
    int fds[2], data[2];
    char byte;

    cr_assert_eq(channel_pair(fds), ERR_OK);
    cr_assert_eq(pipe(data), 0);
    a.channel = channel_open(loop, fds[0], on_number, on_close, &a);
    b.channel = channel_open(loop, fds[1], close_on_message, on_close, &b);
    for (uint64_t i = 0; i < 5; i++)
        cr_assert_eq(send_number(&a, i, 8, &data[1], 1), ERR_OK);
    close(data[1]);
    loop_run(loop);
    cr_expect_eq(b.count, 1);
    cr_expect_eq(read(data[0], &byte, 1), 0);
    close(data[0]);
    channel_close(&a.channel);
    loop_free(&loop);
}

Test(channel, a_packet_that_is_no_message_ends_the_channel)
{
    struct loop *loop = loop_new();
    struct end b = {.loop = loop};
    int fds[2];

    cr_assert_eq(channel_pair(fds), ERR_OK);
    b.channel = channel_open(loop, fds[1], on_number, on_close, &b);
    cr_assert_eq(send(fds[0], "x", 1, 0), 1);
    loop_run(loop);
    cr_expect_eq(b.closed, 1);
    cr_expect_eq(b.count, 0);
    close(fds[0]);
    loop_free(&loop);
}
