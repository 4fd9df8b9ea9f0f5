/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a connection, shared by its three files: conn.c (input, output, the end of a turn,
 * life), conn_connect.c (outgoing connections), conn_tls.c (the upgrade to TLS).
 */
#ifndef NET_CONN_PRIVATE_H
#define NET_CONN_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "net/conn.h"
#include "net/tls_stream.h"

enum conn_state {
    CONN_STATE_CONNECTING,
    CONN_STATE_OPEN,
    CONN_STATE_ENDING,
    CONN_STATE_CLOSED,
};

enum conn_work { /* for the end of the turn */
                 WORK_FLUSH = 1,
                 WORK_OFFER = 2,    /* input, again */
                 WORK_WATCH = 4,    /* reading may go on */
                 WORK_REPORT = 8,   /* what conn_flush_now found */
                 WORK_CONNECT = 16, /* connect() ended at once */
                 WORK_TLS = 32      /* the handshake, a step of it */
};

struct conn {
    struct loop *loop;
    conn_callback callback;
    void *ctx;
    struct buf input, output;
    struct event read_event;
    struct event *write_event; /* made when the socket is full for the first time */
    struct loop_timer timer;
    int64_t deadline_at_ms; /* 0: none */
    int64_t timer_at_ms;    /* when `timer` fires, at or before the deadline; 0: not running */
    struct conn_tls *tls;   /* NULL: plain */
    size_t read_max;        /* octets a read, and unread ones that stop reading */
    int fd;
    int error;       /* of CONN_FAILED */
    int write_error; /* the output is lost; reported when the input has ended */
    enum conn_state state;
    uint8_t work;                /* not 0: on_turn_end is deferred */
    bool is_reading, is_writing; /* the event is added */
    bool is_paused, is_at_eof, has_failed;
    bool was_full, notify_empty, is_drained;
    bool has_unread;    /* the kernel may hold input that nobody has read */
    bool is_held_back;  /* ENDING: the kernel keeps the last output for our end */
    bool has_shut_down; /* ENDING: our side has ended */
    LIST_ENTRY(conn) ending;
    struct inet_endpoint peer, local;
};

/* --- conn.c */
struct conn *conn_make(struct loop *loop, int fd, conn_callback callback, void *ctx,
                       enum conn_state state);
void conn_schedule(struct conn *c, enum conn_work work);
void conn_deliver(struct conn *c, enum conn_event event);
void conn_set_reading(struct conn *c, bool on);
void conn_set_writing(struct conn *c, bool on);
void conn_fail(struct conn *c, int error);
ssize_t conn_send_plain(struct conn *c, struct slice s); /* as send(2) */

/* --- conn_connect.c */
void conn_finish_connect(struct conn *c);

/* --- conn_tls.c */
struct conn_tls {
    struct tls_stream *stream;
    size_t plain_left; /* octets of output that leave before the handshake */
    bool has_begun;    /* the handshake, its first step */
    bool is_open;      /* it is done: the stream carries everything */
    bool read_waits;   /* reading goes on when the socket is writable */
};
/* Between conn_start_tls and its end the connection belongs to it: events come here. */
bool conn_in_handshake(const struct conn *c);
void conn_tls_step(struct conn *c);
void conn_tls_read_waits(struct conn *c);
void conn_tls_end(struct conn *c); /* close_notify, if nothing of the output is left */
void conn_tls_fini(struct conn *c);

#endif
