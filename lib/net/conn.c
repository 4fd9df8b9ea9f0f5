/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections, built for few system calls: a wake-up is one read into a scratch buffer that all
 * connections share (lent to the connection for the callback; only what it leaves is copied), a
 * turn is one send of all that was appended, EV_WRITE exists only while the socket is full, pausing
 * removes EV_READ only when the peer sends on, and a deadline is a number that one lazy timer
 * checks.
 *
 * Callbacks run from three places, never nested: a descriptor event, the timer, and on_turn_end,
 * where flushes, second offers and notices collect (`work`).  A closed connection keeps its memory
 * until the turn ends; `state` tells each of them that it has come too late.
 *
 *   CONNECTING --> OPEN --> ENDING (output, then end of file; no callbacks) --> CLOSED
 */
#include "net/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn_private.h"

#define SPARE_BUFFERS 16
#define SPARE_MAX_BYTES (512 * 1024)
#define NEAR_BYTES (64 * 1024)

/* One loop a process, so one of each a process. */
static struct buf scratch;                     /* CONN_READ_BUDGET bytes, while nobody has it */
static struct buf spare_output[SPARE_BUFFERS]; /* memory of emptied output buffers */
static size_t spare_count;
static LIST_HEAD(, conn) endings = LIST_HEAD_INITIALIZER(endings); /* in CONN_STATE_ENDING */

static void on_turn_end(void *ctx);
static void report(struct conn *c);

/* --- the two places that touch the socket, but for TLS (net/tls_stream.c) --- */

/* ENDING: what comes is thrown away, so it need not be decrypted. */
static ssize_t
read_some(struct conn *c, char *dst, size_t n)
{
    ssize_t got;

    if (c->tls && c->state == CONN_STATE_OPEN)
        return tls_stream_read(c->tls->stream, dst, n);
    do
        got = read(c->fd, dst, n);
    while (got < 0 && errno == EINTR);
    return got;
}

static ssize_t
send_with(struct conn *c, struct slice s, int flags)
{
    ssize_t put;

    do
        put = send(c->fd, s.p, s.n, flags | MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put;
}

ssize_t
conn_send_plain(struct conn *c, struct slice s)
{
    return send_with(c, s, 0);
}

/* The last words wait for the end, and are one packet with it. */
static ssize_t
write_some(struct conn *c, struct slice s)
{
    if (c->tls)
        return tls_stream_write(c->tls->stream, s);
    c->is_held_back |= c->state == CONN_STATE_ENDING;
    return send_with(c, s, c->is_held_back ? MSG_MORE : 0);
}

/* --- small parts --- */

/* Once we have closed, the TLS layer is not read any more. */
static bool
has_more_inside(const struct conn *c)
{
    return c->tls && c->state == CONN_STATE_OPEN && tls_stream_has_more(c->tls->stream);
}

void
conn_schedule(struct conn *c, enum conn_work work)
{
    CHECK(c->state != CONN_STATE_CLOSED); /* its memory goes at the turn's end */
    if (c->work == 0)
        loop_defer(c->loop, on_turn_end, c);
    c->work |= (uint8_t)work;
}

void
conn_deliver(struct conn *c, enum conn_event event)
{
    int64_t began_us;

    if (c->state == CONN_STATE_ENDING || c->state == CONN_STATE_CLOSED)
        return;
    began_us = loop_callback_begin(c->loop);
    c->callback(c->ctx, event);
    loop_callback_end(c->loop, began_us, "conn", (void (*)(void))c->callback);
}

void
conn_set_reading(struct conn *c, bool on)
{
    int rc;

    if (on == c->is_reading)
        return;
    c->is_reading = on;
    rc = on ? event_add(&c->read_event, NULL) : event_del(&c->read_event);
    CHECK(rc == 0);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx);

void
conn_set_writing(struct conn *c, bool on)
{
    int rc;

    if (on == c->is_writing)
        return;
    c->is_writing = on;
    if (c->write_event == NULL) {
        c->write_event =
            event_new(loop_event_base(c->loop), c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
        CHECK(c->write_event != NULL);
    }
    rc = on ? event_add(c->write_event, NULL) : event_del(c->write_event);
    CHECK(rc == 0);
}

static bool
wants_input(const struct conn *c)
{
    return !c->is_paused && !c->is_at_eof && !c->has_failed && buf_size(&c->input) < c->read_max &&
           (c->state == CONN_STATE_OPEN || c->state == CONN_STATE_ENDING);
}

static void
release_input(struct conn *c)
{
    if (c->input.mem && buf_size(&c->input) == 0)
        buf_release(&c->input);
}

static void
release_output(struct conn *c)
{
    if (c->output.mem == NULL)
        return;
    if (spare_count < SPARE_BUFFERS && c->output.cap <= SPARE_MAX_BYTES) {
        buf_clear(&c->output);
        spare_output[spare_count++] = c->output;
        buf_init(&c->output, 0);
    } else
        buf_release(&c->output);
}

static void
free_conn(void *ctx)
{
    struct conn *c = ctx;

    buf_fini(&c->input);
    release_output(c);
    conn_tls_fini(c);
    free(c);
}

static void
destroy(struct conn *c)
{
    if (c->state == CONN_STATE_CLOSED)
        return;
    if (c->state == CONN_STATE_ENDING)
        LIST_REMOVE(c, ending);
    conn_set_reading(c, false);
    if (c->write_event)
        event_free(c->write_event);
    c->write_event = NULL;
    loop_timer_cancel(&c->timer);
    conn_tls_end(c);
    close(c->fd);
    c->fd = -1;
    c->state = CONN_STATE_CLOSED;
    loop_defer(c->loop, free_conn, c);
}

void
conn_fail(struct conn *c, int error)
{
    if (c->state == CONN_STATE_ENDING) {
        destroy(c);
        return;
    }
    if (c->has_failed || c->state == CONN_STATE_CLOSED)
        return;
    c->has_failed = true;
    c->error = error;
    conn_set_reading(c, false);
    conn_set_writing(c, false);
    conn_deliver(c, CONN_FAILED);
}

/* --- reading --- */

/* The bytes of `scratch` to the connection: lent whole if it has none waiting, else copied behind
 * those. */
static void
offer_scratch(struct conn *c)
{
    struct buf lent;

    if (buf_size(&c->input) > 0) {
        buf_add_slice(&c->input, buf_slice(&scratch));
        buf_clear(&scratch);
        conn_deliver(c, CONN_INPUT);
        release_input(c);
        return;
    }
    buf_release(&c->input);
    c->input = scratch;
    buf_init(&scratch, 0);
    conn_deliver(c, CONN_INPUT);
    lent = c->input;
    buf_init(&c->input, 0);
    if (c->state == CONN_STATE_OPEN)
        buf_add_slice(&c->input, buf_slice(&lent));
    else
        c->has_unread |= buf_size(&lent) > 0;
    buf_clear(&lent);
    scratch = lent;
}

static void
end_of_input(struct conn *c)
{
    c->is_at_eof = true;
    conn_set_reading(c, false);
    if (c->state == CONN_STATE_ENDING) {
        if (buf_size(&c->output) == 0)
            destroy(c);
    } else if (c->write_error)
        conn_fail(c, c->write_error);
    else
        conn_deliver(c, CONN_EOF);
}

static void
on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    char *room;
    ssize_t n;
    int rc;

    (void)fd;
    (void)what;
    if (conn_in_handshake(c)) {
        conn_tls_step(c);
        return;
    }
    if (!wants_input(c)) {
        conn_set_reading(c, false);
        report(c);
        return;
    }
    rc = buf_room(&scratch, CONN_READ_BUDGET, &room);
    CHECK(rc == ERR_OK);
    n = read_some(c, room, c->read_max);
    c->has_unread = n == (ssize_t)c->read_max || (n > 0 && c->state == CONN_STATE_ENDING);
    if (n > 0 && c->state == CONN_STATE_OPEN) {
        buf_added(&scratch, (size_t)n);
        offer_scratch(c);
    } else if (n == 0)
        end_of_input(c);
    else if (n < 0 && errno != EAGAIN)
        conn_fail(c, errno);
    else if (c->tls && n < 0)
        conn_tls_read_waits(c);
    if (has_more_inside(c))
        conn_schedule(c, WORK_WATCH);
}

struct buf *
conn_input(struct conn *c)
{
    if ((!c->is_reading || has_more_inside(c)) && buf_size(&c->input) >= c->read_max)
        conn_schedule(c, WORK_WATCH);
    return &c->input;
}

bool
conn_has_more(const struct conn *c)
{
    char octet;

    return (c->tls && tls_stream_has_content(c->tls->stream)) ||
           recv(c->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void
conn_read_limit(struct conn *c, size_t octets)
{
    CHECK(octets > 0 && octets <= CONN_READ_BUDGET);
    if (octets > c->read_max)
        conn_schedule(c, WORK_WATCH);
    c->read_max = octets;
}

void
conn_read_pause(struct conn *c)
{
    c->is_paused = true; /* EV_READ goes when the peer sends on: a short pause costs nothing */
    if (c->write_error)
        conn_schedule(c, WORK_REPORT);
}

void
conn_read_resume(struct conn *c)
{
    c->is_paused = false;
    conn_schedule(c, WORK_OFFER | WORK_WATCH);
}

/* --- writing --- */

static void
lose_output(struct conn *c, int error)
{
    if (c->write_error == 0)
        c->write_error = error;
    buf_release(&c->output);
    conn_set_writing(c, false);
}

static bool
is_short_of_room(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

/* One send. Notes what report() has to say. */
static void
push(struct conn *c)
{
    size_t size = buf_size(&c->output);
    ssize_t n;

    if (c->write_error)
        buf_release(&c->output);
    else if (size > 0) {
        c->was_full |= size > CONN_HIGH_MARK;
        n = write_some(c, buf_slice(&c->output));
        if (n < 0 && !is_short_of_room(errno)) {
            lose_output(c, errno);
            return;
        }
        if (n > 0)
            buf_consume(&c->output, (size_t)n);
        conn_set_writing(c, buf_size(&c->output) > 0);
    }
    if (buf_size(&c->output) == 0)
        release_output(c);
    if ((c->was_full && buf_size(&c->output) <= CONN_LOW_MARK) ||
        (c->notify_empty && buf_size(&c->output) == 0)) {
        c->was_full = false;
        c->notify_empty = c->notify_empty && buf_size(&c->output) > 0;
        c->is_drained = true;
    }
}

/* ENDING: once the output has gone, or cannot go.  A close alone would throw away what is held back
 * if input is there that nobody knows of. */
static void
finish_ending(struct conn *c)
{
    bool must_read;

    c->has_unread |= buf_size(&c->input) > 0;
    buf_release(&c->input);
    if (buf_size(&c->output) > 0 || c->has_shut_down)
        return;
    conn_tls_end(c);
    must_read = c->has_unread && !c->write_error && !c->is_at_eof;
    if (must_read || c->is_held_back)
        c->has_shut_down = shutdown(c->fd, SHUT_WR) == 0;
    if (must_read && c->has_shut_down)
        conn_set_reading(c, true);
    else
        destroy(c);
}

static void
report(struct conn *c)
{
    if (c->state == CONN_STATE_ENDING)
        finish_ending(c);
    if (c->state != CONN_STATE_OPEN)
        return;
    if (c->write_error && (!c->is_reading || !wants_input(c)))
        conn_fail(c, c->write_error); /* else the peer's last words are read first */
    else if (c->is_drained && !c->write_error) {
        c->is_drained = false;
        conn_deliver(c, CONN_DRAINED);
    }
}

static void
on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;

    (void)fd;
    (void)what;
    if (c->state == CONN_STATE_CONNECTING) {
        conn_finish_connect(c);
        return;
    }
    if (conn_in_handshake(c)) {
        conn_tls_step(c);
        return;
    }
    push(c);
    if (c->tls && c->tls->read_waits) {
        c->tls->read_waits = false;
        conn_schedule(c, WORK_WATCH);
    }
    report(c);
}

struct buf *
conn_output(struct conn *c)
{
    if (c->output.mem == NULL && spare_count > 0)
        c->output = spare_output[--spare_count];
    return &c->output;
}

void
conn_flush(struct conn *c)
{
    if (!c->is_writing || c->write_error)
        conn_schedule(c, WORK_FLUSH);
}

void
conn_flush_now(struct conn *c)
{
    if (c->is_writing || c->state != CONN_STATE_OPEN || conn_in_handshake(c))
        return;
    push(c);
    if (c->write_error || c->is_drained)
        conn_schedule(c, WORK_REPORT);
}

/* The output, and the pieces behind it, in one send. Returns how many octets of the pieces went. */
static size_t
send_with_output(struct conn *c, const struct iovec *pieces, int count)
{
    struct iovec all[CONN_PIECES_MAX + 1];
    struct slice own = buf_slice(&c->output);
    struct msghdr msg = {.msg_iov = all, .msg_iovlen = (size_t)count + 1};
    size_t from_own;
    ssize_t put;

    CHECK(count >= 0 && count <= CONN_PIECES_MAX);
    all[0] = (struct iovec){.iov_base = (char *)(uintptr_t)own.p, .iov_len = own.n};
    memcpy(all + 1, pieces, (size_t)count * sizeof *pieces);
    do
        put = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0 && !is_short_of_room(errno))
        lose_output(c, errno);
    if (put < 0)
        return 0;
    from_own = (size_t)put < own.n ? (size_t)put : own.n;
    buf_consume(&c->output, from_own);
    return (size_t)put - from_own;
}

/* Over TLS it is encrypted in parts that stay in a near cache. */
static void
add_piece(struct conn *c, const char *p, size_t n)
{
    buf_add(conn_output(c), p, n);
    if (c->tls && buf_size(&c->output) >= NEAR_BYTES)
        conn_flush_now(c);
}

void
conn_write(struct conn *c, const struct iovec *pieces, int count)
{
    size_t sent = 0;

    if (c->tls == NULL && c->state == CONN_STATE_OPEN && !c->is_writing && !c->write_error)
        sent = send_with_output(c, pieces, count);
    for (int i = 0; i < count && !c->write_error; i++) {
        size_t skip = sent < pieces[i].iov_len ? sent : pieces[i].iov_len;

        sent -= skip;
        add_piece(c, (const char *)pieces[i].iov_base + skip, pieces[i].iov_len - skip);
    }
    conn_flush(c);
}

bool
conn_output_is_full(const struct conn *c)
{
    return buf_size(&c->output) > CONN_HIGH_MARK;
}

void
conn_notify_empty(struct conn *c)
{
    c->notify_empty = true;
    conn_schedule(c, WORK_FLUSH);
}

/* --- the end of the turn --- */

static void
on_turn_end(void *ctx)
{
    struct conn *c = ctx;
    unsigned work = c->work;

    c->work = 0;
    if (c->state == CONN_STATE_CLOSED)
        return;
    if (work & WORK_CONNECT)
        conn_finish_connect(c);
    if (conn_in_handshake(c)) {
        if (work & WORK_TLS)
            conn_tls_step(c);
        return;
    }
    if ((work & WORK_OFFER) && c->state == CONN_STATE_OPEN && !c->is_paused && !c->has_failed &&
        buf_size(&c->input) > 0)
        conn_deliver(c, CONN_INPUT);
    if (c->state == CONN_STATE_CLOSED)
        return;
    release_input(c);
    if ((work & WORK_WATCH) && wants_input(c)) {
        conn_set_reading(c, true);
        if (has_more_inside(c)) /* the descriptor will not tell; in the next turn, as if it did */
            event_active(&c->read_event, EV_READ, 0);
    }
    if (c->state != CONN_STATE_CONNECTING && !c->is_writing && !c->has_failed)
        push(c);
    report(c);
}

/* --- deadlines --- */

static void
on_deadline_timer(void *ctx)
{
    struct conn *c = ctx;
    int64_t left_ms = c->deadline_at_ms - loop_now_ms(c->loop);

    c->timer_at_ms = 0;
    if (c->deadline_at_ms == 0)
        return;
    if (left_ms > 0) {
        c->timer_at_ms = c->deadline_at_ms;
        loop_timer_start(&c->timer, left_ms);
        return;
    }
    c->deadline_at_ms = 0;
    if (c->state == CONN_STATE_ENDING)
        destroy(c);
    else if (!c->has_failed)
        conn_deliver(c, CONN_TIMEOUT);
}

void
conn_deadline(struct conn *c, int64_t timeout_ms)
{
    c->deadline_at_ms = timeout_ms ? loop_now_ms(c->loop) + timeout_ms : 0;
    if (c->deadline_at_ms == 0 || (c->timer_at_ms && c->timer_at_ms <= c->deadline_at_ms))
        return;
    c->timer_at_ms = c->deadline_at_ms;
    loop_timer_start(&c->timer, timeout_ms);
}

/* --- life --- */

struct conn *
conn_make(struct loop *loop, int fd, conn_callback callback, void *ctx, enum conn_state state)
{
    struct conn *c = mem_alloc(sizeof *c);
    int rc;

    c->loop = loop;
    c->read_max = CONN_READ_BUDGET;
    c->fd = fd;
    c->callback = callback;
    c->ctx = ctx;
    c->state = state;
    loop_timer_init(&c->timer, loop, on_deadline_timer, c);
    rc = event_assign(&c->read_event, loop_event_base(loop), fd, EV_READ | EV_PERSIST, on_readable,
                      c);
    CHECK(rc == 0);
    return c;
}

struct conn *
conn_open_accepted(struct loop *loop, int fd, const struct inet_endpoint *peer,
                   conn_callback callback, void *ctx)
{
    struct conn *c = conn_make(loop, fd, callback, ctx, CONN_STATE_OPEN);

    c->peer = *peer;
    conn_set_reading(c, true);
    return c;
}

struct conn *
conn_open_fd(struct loop *loop, int fd, conn_callback callback, void *ctx)
{
    struct inet_endpoint unknown = {0};
    int on = 1;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a unix socket */
    return conn_open_accepted(loop, fd, &unknown, callback, ctx);
}

void
conn_close(struct conn **conn)
{
    struct conn *c = *conn;

    *conn = NULL;
    if (c)
        destroy(c);
}

void
conn_close_after_output(struct conn **conn)
{
    struct conn *c = *conn;

    *conn = NULL;
    if (c == NULL)
        return;
    if (c->state != CONN_STATE_OPEN || c->has_failed || conn_in_handshake(c)) {
        destroy(c);
        return;
    }
    c->has_unread |= c->is_paused || !c->is_reading || has_more_inside(c);
    c->state = CONN_STATE_ENDING;
    LIST_INSERT_HEAD(&endings, c, ending);
    c->is_paused = false;
    conn_deadline(c, CONN_LINGER_MS);
    conn_schedule(c, WORK_FLUSH);
}

bool
conn_any_ending(void)
{
    return !LIST_EMPTY(&endings);
}

void
conn_close_ending(void)
{
    while (!LIST_EMPTY(&endings))
        destroy(LIST_FIRST(&endings));
}

/* --- looking --- */

typedef int (*socket_name)(int fd, struct sockaddr *sa, socklen_t *size);

static const struct inet_endpoint *
look_up(const struct conn *c, struct inet_endpoint *known, socket_name name)
{
    struct sockaddr_storage ss;
    socklen_t size = sizeof ss;

    if (known->family == 0 && c->fd >= 0 && name(c->fd, (struct sockaddr *)&ss, &size) == 0 &&
        inet_endpoint_from_sockaddr((struct sockaddr *)&ss, known) < 0)
        *known = (struct inet_endpoint){0};
    return known;
}

const struct inet_endpoint *
conn_peer(const struct conn *c)
{
    return look_up(c, (struct inet_endpoint *)&c->peer, getpeername);
}

const struct inet_endpoint *
conn_local(const struct conn *c)
{
    return look_up(c, (struct inet_endpoint *)&c->local, getsockname);
}

int
conn_error(const struct conn *c)
{
    return c->error;
}

int
conn_fd(const struct conn *c)
{
    return c->fd;
}
