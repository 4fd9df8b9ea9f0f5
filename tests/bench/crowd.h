/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the crowd, shared by its files: crowd.c (options, the run, orders), crowd_client.c
 * (one client's dialogue), crowd_count.c (what is printed).
 */
#ifndef CROWD_H
#define CROWD_H

#include "bench_io.h"

#include <openssl/ssl.h>

enum {
    CROWD_CODES = 600,
    CROWD_LINE = 78, /* octets of a line of content, with its CR LF */
    CROWD_PIECE = 64 * 1024,
};

/* What a client waits for: the reply to what it has said last. */
#define CROWD_PHASES(X)         \
    X(FREE, "free")             \
    X(CONNECT, "connect")       \
    X(BANNER, "banner")         \
    X(EHLO, "ehlo")             \
    X(STARTTLS, "starttls")     \
    X(HANDSHAKE, "handshake")   \
    X(EHLO_AGAIN, "ehlo-again") \
    X(MAIL, "mail")             \
    X(RCPT, "rcpt")             \
    X(DATA, "data")             \
    X(DOT, "dot")               \
    X(QUIT, "quit")             \
    X(STANDING, "standing") /* only in counts: said to a client that had asked for nothing */

#define X_ENUM(name, text) PHASE_##name,
enum phase { CROWD_PHASES(X_ENUM) PHASE_COUNT };

enum loss { LOSS_REFUSED, LOSS_RESET, LOSS_EOF, LOSS_TIMEOUT, LOSS_TLS, LOSS_OTHER, LOSS_COUNT };

struct client {
    int fd;
    enum phase phase;
    SSL *ssl;
    struct bytes in, out;
    uint64_t content_at; /* octets of content that the kernel has taken */
    unsigned long number;
    int64_t begun_us, deadline_us, progress_us;
    bool stands;
    bool in_content;
    struct client *next_free;
};

struct crowd_options {
    struct sockaddr_in to, bind;
    unsigned long total, clients, rate, seconds, limit_s, timeout_s, content, declared, drip_ms;
    unsigned long sources, first_id;
    const char *from, *rcpt, *helo, *source, *stand;
    bool tls, proxy, steer, each_network;
    FILE *journal;
};

struct crowd_run {
    int epoll_fd;
    SSL_CTX *tls;
    struct client *all, *free;
    enum phase stand; /* PHASE_FREE: nobody stands */
    char pattern[CROWD_PIECE + CROWD_LINE];
    size_t begun, ended, standing, accepted;
    uint64_t octets;
    uint64_t replies[PHASE_COUNT][CROWD_CODES];
    uint64_t losses[PHASE_COUNT][LOSS_COUNT];
    int64_t *latency_us;
    int64_t begun_us, looked_us;
    bool is_ready, is_stopped, is_over;
    struct bytes orders;
};

extern struct crowd_options crowd_opt;
extern struct crowd_run crowd_run;

/* --- crowd_client.c: each may end the client. */
void crowd_client_begin(void); /* takes one of crowd_run.free */
void crowd_client_event(struct client *c, uint32_t events);
void crowd_client_look(struct client *c, int64_t now); /* its time: too late, stuck, next octet */
void crowd_client_finish(struct client *c);            /* it stands, and goes on to the end */
void crowd_client_end(struct client *c);

/* --- crowd_count.c */
void crowd_print_counts(const char *event);

#endif
