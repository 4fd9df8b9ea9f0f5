/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: a connection that is upgraded to TLS: two of ours joined over a socketpair.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/tls_client.h"
#include "net/tls_server.h"
#include "tests/unit/tls_fixture.h"

struct world {
    struct loop *loop;
    struct tls_files files;
    struct tls_pair pair;
    struct tls_server *server;
    struct tls_client *client;
};

struct side {
    struct world *world;
    struct conn *conn;
    int events[CONN_TIMEOUT + 1];
    struct buf got;
    void (*on_event)(struct side *s, enum conn_event event);
};

struct pair {
    struct side client, server;
};

static void
open_world(struct world *w, const char *ca_file)
{
    struct tls_wish wish = {.names = "mx1.example"};
    struct tls_ticket_keys keys;
    struct buf problems;

    *w = (struct world){.loop = loop_new()};
    buf_init(&problems, 0);
    tls_files_init(&w->files);
    w->pair = tls_make(&w->files, "mx1", &wish);
    cr_assert_eq(tls_server_new("mx1.example", &w->pair.certificate, &w->pair.key, 1, 3600000,
                                &problems, &w->server),
                 ERR_OK, "%s", buf_text(&problems));
    tls_ticket_keys_make(&keys);
    tls_server_set_ticket_keys(w->server, &keys);
    cr_assert_eq(tls_client_new(ca_file ? ca_file : w->pair.certificate, &problems, &w->client),
                 ERR_OK, "%s", buf_text(&problems));
    buf_fini(&problems);
}

static void
close_world(struct world *w)
{
    loop_free(&w->loop);
    tls_server_free(&w->server);
    tls_client_free(&w->client);
    tls_files_fini(&w->files);
    free(w->pair.certificate);
    free(w->pair.key);
}

static void
on_side(void *ctx, enum conn_event event)
{
    struct side *s = ctx;

    cr_assert_not_null(s->conn, "a callback after conn_close");
    s->events[event]++;
    if (event == CONN_INPUT) {
        buf_add_slice(&s->got, buf_slice(conn_input(s->conn)));
        buf_consume(conn_input(s->conn), buf_size(conn_input(s->conn)));
    }
    if (s->on_event)
        s->on_event(s, event);
}

static void
open_pair(struct world *w, struct pair *p)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *p = (struct pair){.client = {.world = w}, .server = {.world = w}};
    p->client.conn = conn_open_fd(w->loop, fds[0], on_side, &p->client);
    p->server.conn = conn_open_fd(w->loop, fds[1], on_side, &p->server);
}

static void
close_pair(struct pair *p)
{
    conn_close(&p->client.conn);
    conn_close(&p->server.conn);
    buf_fini(&p->client.got);
    buf_fini(&p->server.got);
}

static void
stop_loop(void *ctx)
{
    loop_stop(ctx);
}

static void
run_for(struct world *w, int ms)
{
    struct loop_timer t;

    loop_timer_init(&t, w->loop, stop_loop, w->loop);
    loop_timer_start(&t, ms);
    loop_run(w->loop);
    loop_timer_cancel(&t);
}

static void
say(struct side *s, const char *text)
{
    buf_add_text(conn_output(s->conn), text);
    conn_flush(s->conn);
}

static SSL *
client_ssl(struct world *w, enum tls_policy policy, const char *name)
{
    struct inet_endpoint endpoint = {.family = 4, .addr = {192, 0, 2, 1}, .port = 25};

    return tls_client_ssl(w->client, policy, name, &endpoint);
}

Test(conn_tls, an_upgrade_in_place_carries_both_ways)
{
    struct world w;
    struct pair p;

    open_world(&w, NULL);
    open_pair(&w, &p);
    say(&p.server, "220 go ahead\r\n");
    cr_expect_eq(conn_start_tls(p.server.conn, tls_server_ssl(w.server), 5000), 0);
    say(&p.server, "over TLS");
    cr_expect_str_eq(conn_tls_version(p.server.conn), "");
    run_for(&w, 20);
    cr_expect_str_eq(buf_text(&p.client.got), "220 go ahead\r\n");
    conn_start_tls(p.client.conn, client_ssl(&w, TLS_POLICY_VERIFY, "mx1.example"), 5000);
    say(&p.client, "EHLO");
    run_for(&w, 200);
    cr_expect_eq(p.client.events[CONN_TLS_READY], 1);
    cr_expect_eq(p.server.events[CONN_TLS_READY], 1);
    cr_expect_str_eq(buf_text(&p.client.got), "220 go ahead\r\nover TLS");
    cr_expect_str_eq(buf_text(&p.server.got), "EHLO");
    cr_expect_str_eq(conn_tls_version(p.server.conn), "TLSv1.3");
    cr_expect_str_eq(conn_tls_cipher(p.server.conn), conn_tls_cipher(p.client.conn));
    close_pair(&p);
    close_world(&w);
}

/* P7: octets of the owner's memory pass through the encryption as any others. */
Test(conn_tls, P7_what_is_written_out_of_the_owners_memory_comes_whole)
{
    enum { SIZE = 300 * 1000 };
    char *data = mem_alloc(SIZE);
    struct iovec pieces[3] = {{.iov_base = data, .iov_len = 100 * 1000},
                              {.iov_base = data + 100 * 1000, .iov_len = 1},
                              {.iov_base = data + 100 * 1000 + 1, .iov_len = 200 * 1000 - 1}};
    struct world w;
    struct pair p;

    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i / 251 + i);
    open_world(&w, NULL);
    open_pair(&w, &p);
    conn_start_tls(p.server.conn, tls_server_ssl(w.server), 5000);
    conn_start_tls(p.client.conn, client_ssl(&w, TLS_POLICY_VERIFY, "mx1.example"), 5000);
    say(&p.client, "before");
    conn_write(p.client.conn, pieces, 3);
    run_for(&w, 200);
    conn_write(p.client.conn, pieces, 3);
    memset(data, 0, SIZE);
    say(&p.client, "behind");
    for (int i = 0; i < 50 && buf_size(&p.server.got) < 2 * SIZE + 12; i++)
        run_for(&w, 20);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i / 251 + i);
    cr_assert_eq(buf_size(&p.server.got), 2 * SIZE + 12);
    cr_expect_arr_eq(buf_slice(&p.server.got).p + 6, data, SIZE);
    cr_expect_arr_eq(buf_slice(&p.server.got).p + 6 + SIZE, data, SIZE);
    close_pair(&p);
    close_world(&w);
    free(data);
}

static void
close_at_input(struct side *s, enum conn_event event)
{
    if (event != CONN_INPUT)
        return;
    say(s, "421 enough\r\n");
    conn_close_after_output(&s->conn);
}

/* What is left inside the TLS layer is nobody's then: it must not be looked for again and again,
 * nor behind the connection's end. */
Test(conn_tls, P8_a_close_amid_a_record_costs_nothing)
{
    struct world w;
    struct pair p;
    clock_t began;

    open_world(&w, NULL);
    open_pair(&w, &p);
    conn_start_tls(p.server.conn, tls_server_ssl(w.server), 5000);
    conn_read_limit(p.server.conn, 4096);
    p.server.on_event = close_at_input;
    conn_start_tls(p.client.conn, client_ssl(&w, TLS_POLICY_VERIFY, "mx1.example"), 5000);
    for (int i = 0; i < 1000; i++)
        say(&p.client, "a line of 16...\n");
    run_for(&w, 200);
    cr_expect_str_eq(buf_text(&p.client.got), "421 enough\r\n");
    cr_expect(conn_any_ending());
    began = clock();
    run_for(&w, 300);
    cr_expect_lt(clock() - began, CLOCKS_PER_SEC / 10);
    conn_close(&p.client.conn);
    run_for(&w, 50);
    cr_expect_not(conn_any_ending());
    close_pair(&p);
    close_world(&w);
}
