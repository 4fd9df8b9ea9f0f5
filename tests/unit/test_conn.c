/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: connections over real sockets: order and wholeness of bytes, back-pressure, deadlines, every
 * way to end, and the number of reads and writes that they cost.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/listener.h"

struct side {
    struct loop *loop;
    struct conn *conn;
    int peer; /* the test's end, blocking */
    int events[CONN_TIMEOUT + 1];
    struct buf got;
    void (*on_event)(struct side *s, enum conn_event event);
    size_t left; /* for the tests' own counting */
    int turns;
};

static void
on_side(void *ctx, enum conn_event event)
{
    struct side *s = ctx;

    cr_assert_not_null(s->conn, "a callback after conn_close");
    s->events[event]++;
    s->on_event(s, event);
}

static void
take_input(struct side *s)
{
    struct buf *input = conn_input(s->conn);

    buf_add_slice(&s->got, buf_slice(input));
    buf_consume(input, buf_size(input));
}

static void
open_side(struct side *s, void (*on_event)(struct side *, enum conn_event))
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *s = (struct side){.loop = loop_new(), .peer = fds[1], .on_event = on_event};
    s->conn = conn_open_fd(s->loop, fds[0], on_side, s);
}

static void
close_side(struct side *s)
{
    conn_close(&s->conn);
    loop_free(&s->loop);
    close(s->peer);
    buf_fini(&s->got);
}

/* A TCP pair over loopback: `peer` is the test's end. */
static void
open_tcp_side(struct side *s, void (*on_event)(struct side *, enum conn_event))
{
    struct inet_endpoint any, bound;
    struct sockaddr_storage ss;
    socklen_t size = sizeof ss;
    int listening, fd;

    cr_assert_eq(inet_endpoint_parse(SLICE("127.0.0.1:1"), 0, &any), ERR_OK);
    any.port = 0;
    cr_assert_eq(listener_bind(&any, false, &listening), ERR_OK);
    cr_assert_eq(getsockname(listening, (struct sockaddr *)&ss, &size), 0);
    cr_assert_eq(inet_endpoint_from_sockaddr((struct sockaddr *)&ss, &bound), ERR_OK);
    *s = (struct side){.loop = loop_new(), .on_event = on_event};
    s->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size = inet_endpoint_to_sockaddr(&bound, &ss);
    cr_assert_eq(connect(s->peer, (struct sockaddr *)&ss, size), 0);
    fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(fd, 0);
    s->conn = conn_open_accepted(s->loop, fd, &bound, on_side, s);
    close(listening);
}

static void
say(struct side *s, const char *text)
{
    cr_assert_eq(write(s->peer, text, strlen(text)), (ssize_t)strlen(text));
}

static const char *
hear(struct side *s, char *dst, size_t size)
{
    ssize_t n = recv(s->peer, dst, size - 1, MSG_DONTWAIT);

    dst[n > 0 ? n : 0] = '\0';
    return dst;
}

static void
stop_loop(void *ctx)
{
    struct side *s = ctx;

    loop_stop(s->loop);
}

static void
run_for(struct side *s, int ms)
{
    struct loop_timer t;

    loop_timer_init(&t, s->loop, stop_loop, s);
    loop_timer_start(&t, ms);
    loop_run(s->loop);
    loop_timer_cancel(&t);
}

/* --- input and output --- */

static void
echo_and_stop(struct side *s, enum conn_event event)
{
    if (event != CONN_INPUT)
        return;
    take_input(s);
    buf_add_text(conn_output(s->conn), "you ");
    conn_flush(s->conn);
    buf_add_text(conn_output(s->conn), "said ");
    buf_add_slice(conn_output(s->conn), buf_slice(&s->got));
    conn_flush(s->conn);
    loop_stop(s->loop);
}

Test(conn, many_small_adds_leave_as_one_write)
{
    struct side s;
    char text[64];

    open_side(&s, echo_and_stop);
    say(&s, "hello");
    loop_run(s.loop);
    cr_expect_str_eq(hear(&s, text, sizeof text), "you said hello");
    cr_expect_eq(s.events[CONN_INPUT], 1);
    close_side(&s);
}

static void
take_one_byte(struct side *s, enum conn_event event)
{
    if (event != CONN_INPUT)
        return;
    buf_add(&s->got, buf_slice(conn_input(s->conn)).p, 1);
    buf_consume(conn_input(s->conn), 1);
}

Test(conn, what_is_not_consumed_stays_before_what_comes)
{
    struct side s;

    open_side(&s, take_one_byte);
    say(&s, "abc");
    run_for(&s, 10);
    say(&s, "de");
    run_for(&s, 10);
    cr_expect_str_eq(buf_text(&s.got), "ab");
    cr_expect(slice_equal(buf_slice(conn_input(s.conn)), SLICE("cde")));
    conn_read_resume(s.conn);
    run_for(&s, 10);
    cr_expect_str_eq(buf_text(&s.got), "abc");
    close_side(&s);
}

static void
swallow(struct side *s, enum conn_event event)
{
    if (event == CONN_INPUT)
        take_input(s);
    if (event == CONN_EOF)
        loop_stop(s->loop);
}

Test(conn, a_large_input_comes_whole_and_in_order)
{
    enum { SIZE = 3 * 1000 * 1000 };
    struct side s;
    char *data = mem_alloc(SIZE);
    pid_t pid;

    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 7 + i / 256);
    open_tcp_side(&s, swallow);
    pid = fork();
    if (pid == 0) {
        for (size_t sent = 0; sent < SIZE;) {
            ssize_t n = write(s.peer, data + sent, SIZE - sent);

            if (n <= 0)
                _exit(1);
            sent += (size_t)n;
        }
        _exit(0);
    }
    close(s.peer);
    loop_run(s.loop);
    cr_assert_eq(buf_size(&s.got), SIZE);
    cr_expect_eq(memcmp(buf_slice(&s.got).p, data, SIZE), 0);
    s.peer = -1;
    close_side(&s);
    free(data);
}

static void
ignore(struct side *s, enum conn_event event)
{
    (void)s;
    (void)event;
}

Test(conn, P8_unread_input_is_bounded_without_the_owners_doing)
{
    struct side s;
    char block[65536];
    size_t sent = 0;

    open_side(&s, ignore);
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 50; i++) {
        ssize_t n = send(s.peer, block, sizeof block, MSG_DONTWAIT);

        sent += n > 0 ? (size_t)n : 0;
        run_for(&s, 1);
    }
    cr_expect_lt(buf_size(conn_input(s.conn)), 2 * CONN_READ_BUDGET);
    cr_expect_lt(sent, sizeof block * 40);
    buf_consume(conn_input(s.conn), buf_size(conn_input(s.conn)));
    run_for(&s, 5);
    cr_expect_gt(buf_size(conn_input(s.conn)), 0, "reading did not go on after consuming");
    close_side(&s);
}

Test(conn, a_paused_connection_offers_nothing_until_it_is_resumed)
{
    struct side s;

    open_side(&s, swallow);
    conn_read_pause(s.conn);
    say(&s, "later");
    run_for(&s, 10);
    cr_expect_eq(s.events[CONN_INPUT], 0);
    conn_read_resume(s.conn);
    run_for(&s, 10);
    cr_expect_str_eq(buf_text(&s.got), "later");
    close_side(&s);
}

/* --- back-pressure --- */

static void
stop_when_drained(struct side *s, enum conn_event event)
{
    if (event == CONN_DRAINED)
        loop_stop(s->loop);
}

static size_t
hear_all(struct side *s)
{
    char block[65536];
    size_t total = 0;
    ssize_t n;

    while ((n = recv(s->peer, block, sizeof block, MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    return total;
}

Test(conn, P8_full_output_is_told_and_drained_is_told)
{
    enum { SIZE = 2 * 1000 * 1000 };
    struct side s;
    char *data = mem_alloc(SIZE);
    size_t heard = 0;

    open_side(&s, stop_when_drained);
    buf_add(conn_output(s.conn), data, SIZE);
    cr_expect(conn_output_is_full(s.conn));
    conn_flush(s.conn);
    run_for(&s, 5);
    cr_expect_eq(s.events[CONN_DRAINED], 0);
    while (s.events[CONN_DRAINED] == 0) {
        heard += hear_all(&s);
        run_for(&s, 2);
    }
    cr_expect_not(conn_output_is_full(s.conn));
    while (heard < SIZE) {
        run_for(&s, 2);
        heard += hear_all(&s);
    }
    cr_expect_eq(heard, SIZE);
    cr_expect_eq(s.events[CONN_DRAINED], 1);
    close_side(&s);
    free(data);
}

Test(conn, the_empty_notice_comes_once_also_when_there_is_nothing_to_send)
{
    struct side s;

    open_side(&s, stop_when_drained);
    conn_notify_empty(s.conn);
    loop_run(s.loop);
    cr_expect_eq(s.events[CONN_DRAINED], 1);
    buf_add_text(conn_output(s.conn), "text");
    conn_flush(s.conn);
    run_for(&s, 5);
    cr_expect_eq(s.events[CONN_DRAINED], 1);
    close_side(&s);
}

Test(conn, flush_now_writes_before_it_returns)
{
    struct side s;
    char text[16];

    open_side(&s, ignore);
    buf_add_text(conn_output(s.conn), "now");
    conn_flush_now(s.conn);
    cr_expect_str_eq(hear(&s, text, sizeof text), "now");
    close_side(&s);
}

/* --- out of the owner's memory --- */

enum { PIECES = CONN_PIECES_MAX, PIECE_BYTES = 32 * 1024 };

/* Pieces whose octets tell their place; returned borrowed. */
static const struct iovec *
make_pieces(char *data)
{
    static struct iovec pieces[PIECES];

    for (size_t i = 0; i < (size_t)PIECES * PIECE_BYTES; i++)
        data[i] = (char)(i / 251 + i);
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = (struct iovec){.iov_base = data + i * PIECE_BYTES, .iov_len = PIECE_BYTES};
    return pieces;
}

static void
hear_into(struct side *s, struct buf *all)
{
    char block[65536];
    ssize_t n;

    while ((n = recv(s->peer, block, sizeof block, MSG_DONTWAIT)) > 0)
        buf_add(all, block, (size_t)n);
}

Test(conn, what_a_write_finds_in_the_output_goes_before_it_in_one_send)
{
    char two[] = "two ", three[] = "three";
    struct iovec pieces[2] = {{.iov_base = two, .iov_len = 4}, {.iov_base = three, .iov_len = 5}};
    struct side s;
    char text[16];

    open_side(&s, ignore);
    buf_add_text(conn_output(s.conn), "one ");
    conn_write(s.conn, pieces, 2);
    cr_expect_str_eq(hear(&s, text, sizeof text), "one two three");
    cr_expect_eq(buf_size(conn_output(s.conn)), 0);
    close_side(&s);
}

/* P7, P8: what the socket does not take is kept, and what is written behind it stays behind. */
Test(conn, P7_a_write_into_a_full_socket_loses_and_mixes_nothing)
{
    size_t size = (size_t)PIECES * PIECE_BYTES;
    char *data = mem_alloc(size);
    const struct iovec *pieces = make_pieces(data);
    struct buf all;
    struct side s;

    buf_init(&all, 0);
    open_side(&s, ignore);
    for (int i = 0; i < 3; i++)
        conn_write(s.conn, pieces, PIECES);
    cr_expect_gt(buf_size(conn_output(s.conn)), size, "the socket has taken little");
    memset(data, 0, size); /* what was kept is a copy */
    conn_notify_empty(s.conn);
    for (int i = 0; i < 2000 && s.events[CONN_DRAINED] == 0; i++) {
        hear_into(&s, &all);
        run_for(&s, 1);
    }
    cr_expect_eq(s.events[CONN_DRAINED], 1);
    hear_into(&s, &all);
    make_pieces(data);
    cr_assert_eq(buf_size(&all), 3 * size);
    for (size_t i = 0; i < 3; i++)
        cr_expect_arr_eq(buf_slice(&all).p + i * size, data, size);
    buf_fini(&all);
    close_side(&s);
    free(data);
}

Test(conn, a_write_to_a_peer_that_is_gone_keeps_nothing_and_is_told)
{
    char said[] = "text";
    struct iovec piece = {.iov_base = said, .iov_len = 4};
    struct side s;

    open_side(&s, ignore);
    cr_assert_eq(shutdown(s.peer, SHUT_RD), 0);
    conn_read_pause(s.conn);
    for (int i = 0; i < 2; i++)
        conn_write(s.conn, &piece, 1);
    cr_expect_eq(s.events[CONN_FAILED], 0, "not from inside the call");
    cr_expect_eq(buf_size(conn_output(s.conn)), 0);
    run_for(&s, 10);
    cr_expect_eq(s.events[CONN_FAILED], 1);
    cr_expect_eq(conn_error(s.conn), EPIPE);
    close_side(&s);
}

/* --- ends --- */

Test(conn, input_before_the_end_is_offered_before_the_end_is_told)
{
    struct side s;

    open_side(&s, swallow);
    say(&s, "last words");
    shutdown(s.peer, SHUT_WR);
    loop_run(s.loop);
    cr_expect_str_eq(buf_text(&s.got), "last words");
    cr_expect_eq(s.events[CONN_EOF], 1);
    close_side(&s);
}

static void
close_at_once(struct side *s, enum conn_event event)
{
    (void)event;
    conn_close(&s->conn);
    cr_expect_null(s->conn);
    loop_stop(s->loop);
}

Test(conn, closing_in_the_own_callback_is_safe_whatever_waits)
{
    struct side s;

    open_side(&s, close_at_once);
    buf_add_text(conn_output(s.conn), "never seen");
    conn_deadline(s.conn, 1);
    conn_notify_empty(s.conn);
    say(&s, "x");
    loop_run(s.loop);
    loop_free(&s.loop);
    close(s.peer);
}

Test(conn, a_write_to_a_peer_that_is_gone_fails_after_its_last_words)
{
    struct side s;

    open_side(&s, swallow);
    conn_read_pause(s.conn);
    say(&s, "421 bye");
    close(s.peer);
    conn_read_resume(s.conn);
    buf_add_text(conn_output(s.conn), "MAIL");
    conn_flush_now(s.conn);
    run_for(&s, 10);
    cr_expect_str_eq(buf_text(&s.got), "421 bye");
    cr_expect_eq(s.events[CONN_FAILED], 1);
    cr_expect_eq(s.events[CONN_EOF], 0);
    cr_expect_eq(conn_error(s.conn), EPIPE);
    s.peer = -1;
    close_side(&s);
}

Test(conn, a_reset_is_a_failure)
{
    struct linger hard = {.l_onoff = 1};
    struct side s;

    open_tcp_side(&s, ignore);
    setsockopt(s.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s.peer);
    run_for(&s, 20);
    cr_expect_eq(s.events[CONN_FAILED], 1);
    cr_expect_eq(conn_error(s.conn), ECONNRESET);
    s.peer = -1;
    close_side(&s);
}

static void
answer_and_leave(struct side *s, enum conn_event event)
{
    if (event != CONN_INPUT)
        return;
    buf_consume(conn_input(s->conn), 4);
    buf_add_text(conn_output(s->conn), "221 bye");
    conn_close_after_output(&s->conn);
    cr_expect_null(s->conn);
}

Test(conn, close_after_output_sends_what_is_there)
{
    struct side s;
    char text[16];

    open_side(&s, answer_and_leave);
    say(&s, "QUIT");
    run_for(&s, 10);
    cr_expect_str_eq(hear(&s, text, sizeof text), "221 bye");
    cr_expect_eq(recv(s.peer, text, sizeof text, MSG_DONTWAIT), 0);
    close_side(&s);
}

/* P6: the last words leave although there is input that we do not know of, over which the kernel
 * resets the connection. */
Test(conn, P6_last_words_leave_over_input_that_nobody_has_seen)
{
    struct side s;
    char text[32];

    open_tcp_side(&s, ignore);
    run_for(&s, 5);
    buf_add_text(conn_output(s.conn), "421 ");
    conn_flush_now(s.conn);
    buf_add_text(conn_output(s.conn), "enough\r\n");
    conn_close_after_output(&s.conn);
    say(&s, "not read");
    run_for(&s, 20);
    cr_expect_str_eq(hear(&s, text, sizeof text), "421 enough\r\n");
    close_side(&s);
}

Test(conn, close_after_output_does_not_reset_over_unread_input)
{
    struct side s;
    char text[16];

    open_tcp_side(&s, answer_and_leave);
    say(&s, "QUITand much that nobody reads");
    run_for(&s, 10);
    say(&s, "more");
    run_for(&s, 10);
    cr_expect_str_eq(hear(&s, text, sizeof text), "221 bye");
    cr_expect_eq(recv(s.peer, text, sizeof text, MSG_DONTWAIT), 0, "errno %d", errno);
    close(s.peer);
    run_for(&s, 10);
    s.peer = -1;
    close_side(&s);
}

/* --- deadlines --- */

static void
stop_on_timeout(struct side *s, enum conn_event event)
{
    if (event == CONN_TIMEOUT)
        loop_stop(s->loop);
}

static const struct {
    const char *name;
    int64_t first_ms, then_ms; /* then: -1 leaves the first */
    int64_t at_least_ms, at_most_ms;
} deadlines[] = {
    {"one", 40, -1, 40, 2000},
    {"a later one replaces it", 20, 60, 60, 2000},
    {"an earlier one replaces it", 60000, 30, 30, 2000},
};

Test(conn, P8_a_deadline_comes_when_it_was_last_set)
{
    for (size_t i = 0; i < ARRAY_SIZE(deadlines); i++) {
        struct side s;
        int64_t began_at = clock_monotonic_ms(), took;

        open_side(&s, stop_on_timeout);
        conn_deadline(s.conn, deadlines[i].first_ms);
        if (deadlines[i].then_ms >= 0)
            conn_deadline(s.conn, deadlines[i].then_ms);
        loop_run(s.loop);
        took = clock_monotonic_ms() - began_at;
        cr_expect(took >= deadlines[i].at_least_ms && took <= deadlines[i].at_most_ms,
                  "%s: %lld ms", deadlines[i].name, (long long)took);
        cr_expect_eq(s.events[CONN_TIMEOUT], 1, "%s", deadlines[i].name);
        close_side(&s);
    }
}

Test(conn, a_deadline_that_was_taken_away_does_not_come)
{
    struct side s;

    open_side(&s, stop_on_timeout);
    conn_deadline(s.conn, 10);
    conn_deadline(s.conn, 0);
    run_for(&s, 40);
    cr_expect_eq(s.events[CONN_TIMEOUT], 0);
    close_side(&s);
}

/* --- connecting --- */

static void
stop_on_outcome(struct side *s, enum conn_event event)
{
    (void)event;
    loop_stop(s->loop);
}

static int
listen_somewhere(struct inet_endpoint *e)
{
    struct sockaddr_storage ss;
    socklen_t size = sizeof ss;
    int fd;

    cr_assert_eq(inet_endpoint_parse(SLICE("127.0.0.1:1"), 0, e), ERR_OK);
    e->port = 0;
    cr_assert_eq(listener_bind(e, true, &fd), ERR_OK);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&ss, &size), 0);
    cr_assert_eq(inet_endpoint_from_sockaddr((struct sockaddr *)&ss, e), ERR_OK);
    return fd;
}

Test(conn, a_connection_is_told_later_and_sends_what_was_waiting)
{
    struct side s = {.loop = loop_new(), .on_event = stop_on_outcome, .peer = -1};
    struct inet_endpoint to, source;
    int listening = listen_somewhere(&to), accepted, on = 0;
    socklen_t size = sizeof on;
    char text[16] = "";

    cr_assert_eq(inet_endpoint_parse(SLICE("127.0.0.3:1"), 0, &source), ERR_OK);
    source.port = 0;
    cr_assert_eq(conn_connect(s.loop, &to, &source, 5000, on_side, &s, &s.conn), ERR_OK);
    buf_add_text(conn_output(s.conn), "EHLO");
    conn_flush(s.conn);
    loop_run(s.loop);
    cr_expect_eq(s.events[CONN_CONNECTED], 1);
    run_for(&s, 10);
    accepted = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(accepted, 0);
    cr_expect_eq(recv(accepted, text, sizeof text, MSG_DONTWAIT), 4);
    cr_expect_eq(conn_local(s.conn)->addr[3], 3);
    cr_expect(inet_endpoint_equal(conn_peer(s.conn), &to));
    cr_expect_eq(getsockopt(conn_fd(s.conn), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    cr_expect_neq(on, 0);
    cr_expect_eq(getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    cr_expect_neq(on, 0, "TCP_NODELAY is not inherited from the listening socket");
    close(accepted);
    close(listening);
    close_side(&s);
}

Test(conn, a_refused_connection_fails_with_its_reason)
{
    struct side s = {.loop = loop_new(), .on_event = stop_on_outcome, .peer = -1};
    struct inet_endpoint to;

    close(listen_somewhere(&to));
    cr_assert_eq(conn_connect(s.loop, &to, NULL, 5000, on_side, &s, &s.conn), ERR_OK);
    loop_run(s.loop);
    cr_expect_eq(s.events[CONN_FAILED], 1);
    cr_expect_eq(conn_error(s.conn), ECONNREFUSED);
    close_side(&s);
}

Test(conn, a_connection_that_is_not_answered_times_out)
{
    struct side s = {.loop = loop_new(), .on_event = stop_on_outcome, .peer = -1};
    struct inet_endpoint to;
    int listening = listen_somewhere(&to), fillers[16];

    listen(listening, 0); /* a queue of one: the rest waits for an answer */
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        struct sockaddr_storage ss;
        socklen_t size = inet_endpoint_to_sockaddr(&to, &ss);

        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        cr_assert(connect(fillers[i], (struct sockaddr *)&ss, size) < 0 && errno == EINPROGRESS);
    }
    cr_assert_eq(conn_connect(s.loop, &to, NULL, 50, on_side, &s, &s.conn), ERR_OK);
    loop_run(s.loop);
    cr_expect_eq(s.events[CONN_TIMEOUT], 1);
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++)
        close(fillers[i]);
    close(listening);
    close_side(&s);
}

Test(conn, a_source_that_is_not_ours_is_an_error_at_once)
{
    struct side s = {.loop = loop_new()};
    struct inet_endpoint to, source;

    cr_assert_eq(inet_endpoint_parse(SLICE("127.0.0.1:9"), 0, &to), ERR_OK);
    cr_assert_eq(inet_endpoint_parse(SLICE("192.0.2.77:9"), 0, &source), ERR_OK);
    cr_expect_eq(conn_connect(s.loop, &to, &source, 50, on_side, &s, &s.conn), ERR_IO);
    cr_expect_eq(errno, EADDRNOTAVAIL);
    cr_expect_null(s.conn);
    loop_free(&s.loop);
}
