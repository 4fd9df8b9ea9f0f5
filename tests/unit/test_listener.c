/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Listening sockets: nobody is lost, neither in a burst nor when descriptors run out nor at the
 * end.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/listener.h"

#define CLIENTS 40

struct house {
    struct loop *loop;
    struct listener *listener;
    struct inet_endpoint at;
    int clients[CLIENTS], guests[CLIENTS];
    int count, want;
};

static void
on_guest(void *ctx, int fd, const struct inet_endpoint *peer)
{
    struct house *h = ctx;

    cr_expect_eq(peer->family, 4);
    h->guests[h->count++] = fd;
    if (h->count == h->want)
        loop_stop(h->loop);
}

static void
open_house(struct house *h, int want)
{
    struct sockaddr_storage ss;
    socklen_t size = sizeof ss;
    int fd;

    *h = (struct house){.loop = loop_new(), .want = want};
    cr_assert_eq(inet_endpoint_parse(SLICE("127.0.0.1:1"), 0, &h->at), ERR_OK);
    h->at.port = 0;
    cr_assert_eq(listener_bind(&h->at, true, &fd), ERR_OK);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&ss, &size), 0);
    cr_assert_eq(inet_endpoint_from_sockaddr((struct sockaddr *)&ss, &h->at), ERR_OK);
    h->listener = listener_open(h->loop, fd, on_guest, h);
}

static void
call(struct house *h)
{
    struct sockaddr_storage ss;
    socklen_t size = inet_endpoint_to_sockaddr(&h->at, &ss);

    for (int i = 0; i < CLIENTS; i++) {
        h->clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(connect(h->clients[i], (struct sockaddr *)&ss, size), 0);
    }
}

static void
close_house(struct house *h)
{
    listener_close(&h->listener);
    for (int i = 0; i < CLIENTS; i++) {
        close(h->clients[i]);
        if (i < h->count)
            close(h->guests[i]);
    }
    loop_free(&h->loop);
}

static void
stop_house(void *ctx)
{
    struct house *h = ctx;

    loop_stop(h->loop);
}

static void
run_for(struct house *h, int ms)
{
    struct loop_timer t;

    loop_timer_init(&t, h->loop, stop_house, h);
    loop_timer_start(&t, ms);
    loop_run(h->loop);
    loop_timer_cancel(&t);
}

Test(listener, a_burst_is_taken_whole)
{
    struct house h;

    open_house(&h, CLIENTS);
    call(&h);
    loop_run(h.loop);
    cr_expect_eq(h.count, CLIENTS);
    close_house(&h);
}

Test(listener, closing_takes_what_the_kernel_has_queued)
{
    struct house h;
    char byte;

    open_house(&h, 0);
    call(&h);
    listener_close(&h.listener);
    cr_expect_null(h.listener);
    cr_expect_eq(h.count, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        cr_expect(recv(h.clients[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    close_house(&h);
}

Test(listener, without_descriptors_it_waits_and_goes_on)
{
    struct rlimit before, none;
    struct house h;

    open_house(&h, CLIENTS);
    call(&h);
    run_for(&h, 0); /* the first wake-ups, and all lazy descriptors of the loop */
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)h.clients[CLIENTS - 1] + 1;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_for(&h, 30);
    cr_expect_lt(h.count, CLIENTS);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    loop_run(h.loop);
    cr_expect_eq(h.count, CLIENTS);
    close_house(&h);
}

Test(listener, an_address_in_use_is_an_error_with_its_reason)
{
    struct house h;
    int fd;

    open_house(&h, 0);
    cr_expect_eq(listener_bind(&h.at, false, &fd), ERR_IO);
    cr_expect_eq(errno, EADDRINUSE);
    cr_expect_eq(listener_bind(&h.at, true, &fd), ERR_OK, "SO_REUSEPORT shares an address");
    close(fd);
    listener_close(&h.listener);
    loop_free(&h.loop);
}
