/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Channels work in batches, since a process that is asked by many sessions in one turn should pay
 * for one system call and not for many: sends collect until the turn ends and leave through one
 * sendmmsg, a wake-up takes up to BATCH messages through one recvmmsg into buffers that all
 * channels of the process share.  The order of messages is the order of channel_send.
 */
#define _GNU_SOURCE 1

#include "net/channel.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/codec.h"

#define BATCH 32
#define TYPE_BYTES sizeof(uint16_t)
#define PACKET_BYTES (TYPE_BYTES + CHANNEL_MAX_BYTES)
#define CONTROL_BYTES CMSG_SPACE(sizeof(int) * CHANNEL_MAX_FDS)

struct message {
    struct message *next;
    struct buf packet; /* type and payload */
    int fds[CHANNEL_MAX_FDS];
    size_t fd_count;
};

struct channel {
    struct loop *loop;
    int fd;
    channel_on_message on_message;
    channel_on_close on_close;
    void *ctx;
    struct event *read_event, *write_event;
    struct message *head, **tail;
    size_t queued;
    bool is_flush_due; /* on_turn_end is deferred */
    bool is_writing;   /* the socket is full; write_event is added */
    bool is_dead;      /* the other side is gone; on_close comes or has come */
    bool is_closed;
};

union control_space {
    struct cmsghdr align;
    char bytes[CONTROL_BYTES];
};

/* Shared by all channels: one loop a process, and no callback nests. Pages are touched as needed.
 */
static struct {
    char packet[BATCH][PACKET_BYTES];
    union control_space control[BATCH];
    struct iovec iov[BATCH];
    struct mmsghdr header[BATCH];
    size_t prepared; /* headers that no message has changed */
} received;

int
channel_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return ERR_IO;
    return ERR_OK;
}

static void
close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void
drop_message(struct message *m)
{
    close_all(m->fds, m->fd_count);
    if (m->packet.mem)
        explicit_bzero(m->packet.mem, m->packet.cap);
    buf_fini(&m->packet);
    free(m);
}

static void
drop_head(struct channel *ch)
{
    struct message *m = ch->head;

    ch->head = m->next;
    if (ch->head == NULL)
        ch->tail = &ch->head;
    ch->queued--;
    drop_message(m);
}

/* --- the other side is gone --- */

static void
on_dead(void *ctx)
{
    struct channel *ch = ctx;

    if (!ch->is_closed)
        ch->on_close(ch->ctx);
}

static void
die(struct channel *ch)
{
    if (ch->is_dead)
        return;
    ch->is_dead = true;
    event_del(ch->read_event);
    event_del(ch->write_event);
    ch->is_writing = false;
    while (ch->head)
        drop_head(ch);
    loop_defer(ch->loop, on_dead, ch);
}

/* --- receiving --- */

/* The first of them are what the last wake-up has used. */
static void
prepare_receive(void)
{
    for (size_t i = 0; i < BATCH - received.prepared; i++) {
        received.iov[i] = (struct iovec){received.packet[i], PACKET_BYTES};
        received.header[i].msg_hdr = (struct msghdr){.msg_iov = &received.iov[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = &received.control[i],
                                                     .msg_controllen = CONTROL_BYTES};
    }
    received.prepared = BATCH;
}

static size_t
take_fds(struct msghdr *h, int fds[CHANNEL_MAX_FDS])
{
    size_t count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        CHECK(count <= CHANNEL_MAX_FDS);
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
    }
    return count;
}

/* After a close or an end the rest of a batch is only cleared of descriptors. */
static void
handle_packet(struct channel *ch, struct mmsghdr *m)
{
    int fds[CHANNEL_MAX_FDS];
    size_t count = take_fds(&m->msg_hdr, fds);
    const char *packet = m->msg_hdr.msg_iov->iov_base;
    struct decoder d = decoder_of((struct slice){packet, m->msg_len});
    uint16_t type = get_u16(&d);
    int64_t began_us;

    if (d.failed || (m->msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        die(ch);
    if (ch->is_dead || ch->is_closed) {
        close_all(fds, count);
        return;
    }
    began_us = loop_callback_begin(ch->loop);
    ch->on_message(ch->ctx, type, (struct slice){d.p, (size_t)(d.end - d.p)}, fds, count);
    loop_callback_end(ch->loop, began_us, "channel", (void (*)(void))ch->on_message);
}

static void
on_channel_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct channel *ch = ctx;
    int n;

    (void)what;
    prepare_receive();
    n = recvmmsg(fd, received.header, BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        die(ch);
    if (n > 0)
        received.prepared -= (size_t)n;
    for (int i = 0; i < n; i++) {
        handle_packet(ch, &received.header[i]);
        explicit_bzero(received.packet[i], received.header[i].msg_len);
    }
}

/* --- sending --- */

static void
fill_header(struct mmsghdr *h, struct iovec *iov, union control_space *control,
            const struct message *m)
{
    struct slice packet = buf_slice(&m->packet);
    struct cmsghdr *c;

    *iov = (struct iovec){(void *)(uintptr_t)packet.p, packet.n};
    h->msg_hdr = (struct msghdr){.msg_iov = iov, .msg_iovlen = 1};
    if (m->fd_count == 0)
        return;
    memset(control, 0, sizeof *control);
    h->msg_hdr.msg_control = control;
    h->msg_hdr.msg_controllen = CMSG_SPACE(sizeof(int) * m->fd_count);
    c = CMSG_FIRSTHDR(&h->msg_hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * m->fd_count);
    memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->fd_count);
}

/* One sendmmsg; returns how many left, or -1 with errno. */
static int
send_batch(struct channel *ch)
{
    struct mmsghdr headers[BATCH];
    struct iovec iov[BATCH];
    union control_space control[BATCH];
    unsigned n = 0;

    for (struct message *m = ch->head; m && n < BATCH; m = m->next, n++)
        fill_header(&headers[n], &iov[n], &control[n], m);
    return sendmmsg(ch->fd, headers, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
set_writing(struct channel *ch, bool on)
{
    int rc;

    if (on == ch->is_writing)
        return;
    ch->is_writing = on;
    rc = on ? event_add(ch->write_event, NULL) : event_del(ch->write_event);
    CHECK(rc == 0);
}

static bool
is_socket_full(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

void
channel_flush(struct channel *ch)
{
    while (ch->head) {
        int n = send_batch(ch);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && is_socket_full(errno))
            break;
        if (n < 0) {
            die(ch);
            return;
        }
        while (n-- > 0)
            drop_head(ch);
    }
    if (!ch->is_dead)
        set_writing(ch, ch->head != NULL);
}

static void
on_channel_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    channel_flush(ctx);
}

static void
on_turn_end(void *ctx)
{
    struct channel *ch = ctx;

    ch->is_flush_due = false;
    if (!ch->is_closed && !ch->is_writing)
        channel_flush(ch);
}

/* Descriptors of a message that waits are duplicates. */
static int
copy_fds(struct message *m, const int *fds, size_t count)
{
    for (; m->fd_count < count; m->fd_count++) {
        m->fds[m->fd_count] = fcntl(fds[m->fd_count], F_DUPFD_CLOEXEC, 3);
        if (m->fds[m->fd_count] < 0)
            return ERR_LIMIT;
    }
    return ERR_OK;
}

int
channel_send(struct channel *ch, uint16_t type, struct slice payload, const int *fds,
             size_t fd_count)
{
    struct message *m;

    CHECK(fd_count <= CHANNEL_MAX_FDS);
    if (ch->is_dead)
        return ERR_CLOSED;
    if (payload.n > CHANNEL_MAX_BYTES || ch->queued >= CHANNEL_QUEUE_MAX)
        return ERR_LIMIT;
    m = mem_alloc(sizeof *m);
    put_u16(&m->packet, type);
    buf_add_slice(&m->packet, payload);
    if (copy_fds(m, fds, fd_count) < 0) {
        drop_message(m);
        return ERR_LIMIT;
    }
    *ch->tail = m;
    ch->tail = &m->next;
    ch->queued++;
    if (fd_count > 0 && !ch->is_writing)
        channel_flush(ch);
    else if (!ch->is_flush_due) {
        ch->is_flush_due = true;
        loop_defer(ch->loop, on_turn_end, ch);
    }
    return ch->is_dead ? ERR_CLOSED : ERR_OK;
}

/* --- life --- */

struct channel *
channel_open(struct loop *loop, int fd, channel_on_message on_message, channel_on_close on_close,
             void *ctx)
{
    struct channel *ch = mem_alloc(sizeof *ch);
    struct event_base *base = loop_event_base(loop);
    int rc;

    *ch = (struct channel){
        .loop = loop, .fd = fd, .on_message = on_message, .on_close = on_close, .ctx = ctx};
    ch->tail = &ch->head;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    ch->read_event = event_new(base, fd, EV_READ | EV_PERSIST, on_channel_readable, ch);
    ch->write_event = event_new(base, fd, EV_WRITE | EV_PERSIST, on_channel_writable, ch);
    CHECK(ch->read_event && ch->write_event);
    rc = event_add(ch->read_event, NULL);
    CHECK(rc == 0);
    return ch;
}

void
channel_close(struct channel **channel)
{
    struct channel *ch = *channel;

    *channel = NULL;
    if (ch == NULL)
        return;
    ch->is_closed = true;
    if (!ch->is_dead)
        channel_flush(ch);
    while (ch->head)
        drop_head(ch);
    event_free(ch->read_event);
    event_free(ch->write_event);
    close(ch->fd);
    loop_defer(ch->loop, free, ch);
}
