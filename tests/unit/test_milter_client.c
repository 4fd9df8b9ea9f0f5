/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: the client with filters at a socket: one that works, and those that are away, silent, slow,
 * rude or gone in the midst.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "milter/milter_client.h"
#include "tests/unit/scratch.h"

/* A filter in a thread: what it does with one connection. */
struct filter {
    int listener;
    pthread_t thread;
    void (*serve)(int fd);
    char folder[SCRATCH_PATH], path[SCRATCH_PATH + 8];
};

struct asking {
    struct loop *loop;
    struct milter_entry entry;
    struct milter_question question;
    struct milter_header header;
    struct milter_client *client;
    enum milter_outcome outcome;
    char why[100];
    bool is_dead, is_done;
    size_t body_left, new_body;
    unsigned asked_for_more;
};

/* --- The filter's side, blocking. */

static bool
read_all(int fd, void *dst, size_t n)
{
    for (ssize_t got; n > 0; n -= (size_t)got, dst = (char *)dst + got)
        if ((got = read(fd, dst, n)) <= 0)
            return false;
    return true;
}

/* The command of the next packet; 0: none comes. */
static char
next_command(int fd)
{
    static __thread char payload[70000];
    uint8_t length[4];
    size_t n;

    if (!read_all(fd, length, 4))
        return 0;
    n = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
    cr_assert(n > 0 && n <= sizeof payload);
    return read_all(fd, payload, n) ? payload[0] : 0;
}

static void
say(int fd, char answer, const void *payload, size_t n)
{
    char packet[200] = {0, 0, 0, (char)(n + 1), answer};

    memcpy(packet + 5, payload, n);
    cr_assert_eq(write(fd, packet, n + 5), (ssize_t)(n + 5));
}

static void
negotiate(int fd)
{
    cr_assert_eq(next_command(fd), MILTER_NEGOTIATE);
    say(fd, MILTER_NEGOTIATE, "\0\0\0\6\0\0\0\x33\0\x0f\xf0\x80", 12);
}

static void
read_message(int fd)
{
    char command;

    negotiate(fd);
    while ((command = next_command(fd)) != 0 && command != MILTER_END_OF_BODY)
        ;
}

static void
serve_well(int fd)
{
    read_message(fd);
    say(fd, MILTER_ACCEPT, "", 0);
    cr_expect_eq(next_command(fd), MILTER_ABORT);
    cr_expect_eq(next_command(fd), MILTER_QUIT);
}

static void
serve_slowly(int fd)
{
    read_message(fd);
    for (int i = 0; i < 4; i++) {
        usleep(150 * 1000);
        say(fd, MILTER_PROGRESS, "", 0);
    }
    say(fd, MILTER_ACCEPT, "", 0);
}

static void
serve_forever(int fd)
{
    read_message(fd);
    for (int i = 0; i < 100; i++) {
        usleep(50 * 1000);
        if (send(fd, "\0\0\0\1p", 5, MSG_NOSIGNAL) < 0)
            return;
    }
}

static void
serve_silently(int fd)
{
    negotiate(fd);
    while (next_command(fd) != 0)
        ;
}

static void
serve_nothing(int fd)
{
    while (next_command(fd) != 0)
        ;
}

static void
serve_half(int fd)
{
    negotiate(fd);
    (void)next_command(fd);
}

static void
serve_no_one(int fd)
{
    (void)fd;
}

static void
serve_http(int fd)
{
    cr_assert_gt(write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 0);
    usleep(50 * 1000);
}

static void
serve_new_body(int fd)
{
    static char packet[5 + 60000] = {0, 0, (char)0xea, 0x61, MILTER_REPLACE_BODY};

    read_message(fd);
    for (int i = 0; i < 100; i++)
        for (size_t sent = 0; sent < sizeof packet;) {
            ssize_t n = send(fd, packet + sent, sizeof packet - sent, MSG_NOSIGNAL);

            if (n < 0)
                return;
            sent += (size_t)n;
        }
    say(fd, MILTER_ACCEPT, "", 0);
}

static void *
run_filter(void *ctx)
{
    struct filter *f = ctx;
    int fd = accept(f->listener, NULL, NULL);

    cr_assert_geq(fd, 0);
    f->serve(fd);
    close(fd);
    return NULL;
}

static void
start_filter(struct filter *f, void (*serve)(int fd))
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    f->serve = serve;
    scratch_folder(f->folder, "test_milter");
    snprintf(f->path, sizeof f->path, "%s/socket", f->folder);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(f->listener, 5), 0);
    cr_assert_eq(pthread_create(&f->thread, NULL, run_filter, f), 0);
}

static void
stop_filter(struct filter *f)
{
    pthread_join(f->thread, NULL);
    close(f->listener);
    unlink(f->path);
    rmdir(f->folder);
}

/* --- Our side. */

static enum milter_pull
pull(void *ctx, struct slice *piece)
{
    static const char body[64 * 1024];
    struct asking *a = ctx;

    if (a->body_left == 0)
        return MILTER_PULL_END;
    *piece = (struct slice){body, a->body_left < sizeof body ? a->body_left : sizeof body};
    a->body_left -= piece->n;
    return MILTER_PULL_PIECE;
}

static bool
replace(void *ctx, struct slice piece)
{
    struct asking *a = ctx;

    a->new_body += piece.n;
    return true;
}

static void
on_room(void *ctx)
{
    struct asking *a = ctx;

    if (a->client)
        milter_client_resume(a->client);
}

static bool
wants_more(void *ctx)
{
    static struct loop_timer timer;
    struct asking *a = ctx;

    if (a->asked_for_more++ % 8 != 0)
        return true;
    if (timer.loop == NULL)
        loop_timer_init(&timer, a->loop, on_room, a);
    loop_timer_start(&timer, 1);
    return false;
}

static void
on_done(void *ctx, const struct milter_talk *talk, bool is_dead)
{
    struct asking *a = ctx;

    cr_assert_not(a->is_done);
    a->is_done = true;
    a->outcome = talk->outcome;
    a->is_dead = is_dead;
    snprintf(a->why, sizeof a->why, "%s", talk->why ? talk->why : "");
    a->client = NULL;
    loop_stop(a->loop);
}

static const char *
recipient(const void *ctx, unsigned i)
{
    (void)ctx;
    (void)i;
    return "b@b.example";
}

static const struct milter_client_ops ops = {{pull, replace, wants_more}, on_done};

static int64_t
ask(struct asking *a, const char *path, int64_t timeout_ms, int64_t limit_ms)
{
    int64_t began_ms = clock_monotonic_ms();

    a->loop = loop_new();
    a->entry.timeout_ms = timeout_ms;
    snprintf(a->entry.path, sizeof a->entry.path, "%s", path);
    milter_header_init(&a->header);
    (void)milter_header_feed(&a->header, SLICE("From: a@a.example\r\n\r\n"));
    a->question = (struct milter_question){.hostname = "mx.isp.example",
                                           .ref = "1-2-3",
                                           .client = {.family = 4},
                                           .client_name = "",
                                           .helo = "x",
                                           .tls_version = "",
                                           .tls_cipher = "",
                                           .sender = "",
                                           .recipient = recipient,
                                           .recipient_count = 1,
                                           .header = &a->header};
    a->client = milter_client_start(a->loop, &a->entry, &a->question, limit_ms, &ops, a);
    cr_assert_not(a->is_done, "never from inside");
    loop_run(a->loop);
    cr_assert(a->is_done);
    milter_header_fini(&a->header);
    loop_free(&a->loop);
    return clock_monotonic_ms() - began_ms;
}

Test(milter_client, P8_filters_of_all_kinds, .timeout = 60)
{
    static const struct {
        const char *name;
        void (*serve)(int fd);
        int64_t timeout_ms, limit_ms;
        enum milter_outcome outcome;
        bool is_dead;
        const char *why;
        int64_t at_least_ms, at_most_ms;
    } cases[] = {
        {"good", serve_well, 5000, 5000, MILTER_OUTCOME_ACCEPTED, false, "", 0, 4000},
        {"at work", serve_slowly, 400, 5000, MILTER_OUTCOME_ACCEPTED, false, "", 600, 4000},
        {"at work for ever", serve_forever, 400, 800, MILTER_OUTCOME_FAILED, false, "too long", 750,
         4000},
        {"silent", serve_silently, 300, 5000, MILTER_OUTCOME_FAILED, false, "too long", 290, 4000},
        {"mute", serve_nothing, 300, 5000, MILTER_OUTCOME_FAILED, true, "too long", 290, 4000},
        {"gone in the midst", serve_half, 5000, 5000, MILTER_OUTCOME_FAILED, false, "", 0, 4000},
        {"gone at once", serve_no_one, 5000, 5000, MILTER_OUTCOME_FAILED, true, "", 0, 4000},
        {"another server", serve_http, 5000, 5000, MILTER_OUTCOME_FAILED, true, "packet", 0, 4000},
        {"a large new body", serve_new_body, 20000, 20000, MILTER_OUTCOME_ACCEPTED, false, "", 0,
         15000},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct asking a = {.body_left = 3 * 1024 * 1024};
        struct filter f;
        int64_t took_ms;

        start_filter(&f, cases[i].serve);
        took_ms = ask(&a, f.path, cases[i].timeout_ms, cases[i].limit_ms);
        stop_filter(&f);
        cr_expect_eq(a.outcome, cases[i].outcome, "%s: %s", cases[i].name, a.why);
        cr_expect_eq(a.is_dead, cases[i].is_dead, "%s: %s", cases[i].name, a.why);
        cr_expect_not_null(strstr(a.why, cases[i].why), "%s: %s", cases[i].name, a.why);
        cr_expect(took_ms >= cases[i].at_least_ms && took_ms <= cases[i].at_most_ms, "%s: %lld ms",
                  cases[i].name, (long long)took_ms);
        if (cases[i].serve == serve_new_body)
            cr_expect_eq(a.new_body, 100 * 60000);
    }
}

Test(milter_client, P8_nobody_is_there)
{
    struct asking a = {.body_left = 10};

    (void)ask(&a, "/nonexistent/socket", 5000, 5000);
    cr_expect_eq(a.outcome, MILTER_OUTCOME_FAILED);
    cr_expect(a.is_dead);
    cr_expect_str_eq(a.why, "it cannot be connected to");
}

static void
cancel(void *ctx)
{
    struct asking *a = ctx;

    milter_client_cancel(&a->client);
    loop_stop(a->loop);
}

Test(milter_client, cancelled_it_says_nothing)
{
    struct asking a = {.body_left = 10};
    struct loop_timer timer;
    struct filter f;

    start_filter(&f, serve_silently);
    a.loop = loop_new();
    a.entry.timeout_ms = 5000;
    snprintf(a.entry.path, sizeof a.entry.path, "%s", f.path);
    milter_header_init(&a.header);
    a.question = (struct milter_question){.hostname = "x",
                                          .ref = "x",
                                          .client_name = "",
                                          .helo = "",
                                          .tls_version = "",
                                          .tls_cipher = "",
                                          .sender = "",
                                          .recipient = recipient,
                                          .header = &a.header};
    a.client = milter_client_start(a.loop, &a.entry, &a.question, 5000, &ops, &a);
    loop_timer_init(&timer, a.loop, cancel, &a);
    loop_timer_start(&timer, 50);
    loop_run(a.loop);
    cr_expect_not(a.is_done);
    cr_expect_null(a.client);
    loop_timer_cancel(&timer);
    loop_free(&a.loop);
    stop_filter(&f);
}
