/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Can a sender's domain be answered, does a HELO name resolve: against a scripted server.
 */
#include <criterion/criterion.h>

#include "dns_server.h"
#include "sender/sender_domain.h"

#define NO_NAME 3
#define FAILURE 2

static struct dns_server_script scripts[] = {
    {.name = "mx.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "mail.test", 60, 10}}},
    {"two.test", SERVER_MX,
     .records = {{"*", SERVER_MX, "", 60, 20}, {"*", SERVER_MX, "mail.test", 60, 10}}},
    {.name = "mail.test", .type = SERVER_A, .records = {{"*", SERVER_A, "192.0.2.1", 60}}},
    {.name = "mail.test", .type = SERVER_AAAA},
    {.name = "mail.test", .type = SERVER_MX},
    {.name = "null.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "", 60}}},
    {.name = "null.test", .type = SERVER_A},
    {.name = "null.test", .type = SERVER_AAAA},
    {.name = "number.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "192.0.2.9", 60, 10}}},
    {.name = "alias.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "www.test", 60, 10}}},
    {"www.test", SERVER_A,
     .records = {{"*", SERVER_CNAME, "mail.test", 60}, {"mail.test", SERVER_A, "192.0.2.1", 60}}},
    {.name = "lost.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "gone.test", 60, 10}}},
    {.name = "gone.test", .type = SERVER_A, .rcode = NO_NAME},
    {.name = "gone.test", .type = SERVER_AAAA, .rcode = NO_NAME},
    {.name = "gone.test", .type = SERVER_MX, .rcode = NO_NAME},
    {.name = "host.test", .type = SERVER_MX},
    {.name = "host.test", .type = SERVER_A, .records = {{"*", SERVER_A, "192.0.2.2", 60}}},
    {.name = "host.test", .type = SERVER_AAAA},
    {.name = "empty.test", .type = SERVER_MX},
    {.name = "empty.test", .type = SERVER_A},
    {.name = "empty.test", .type = SERVER_AAAA},
    {.name = "sick.test", .type = SERVER_MX, .rcode = FAILURE},
    {.name = "sick.test", .type = SERVER_A, .rcode = FAILURE},
    {.name = "sick.test", .type = SERVER_AAAA, .rcode = FAILURE},
    {.name = "half.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "sick.test", 60, 10}}},
    {.name = "mxonly.test", .type = SERVER_A},
    {.name = "mxonly.test", .type = SERVER_AAAA},
    {.name = "mxonly.test", .type = SERVER_MX, .records = {{"*", SERVER_MX, "mail.test", 60, 10}}},
    {.name = NULL},
};

static const struct {
    const char *name;
    enum sender_domain as_sender, as_host;
} table[] = {
    {"mail.test", SENDER_DOMAIN_OK, SENDER_DOMAIN_OK},
    {"two.test", SENDER_DOMAIN_OK, SENDER_DOMAIN_TEMPORARY}, /* no script for its address */
    {"null.test", SENDER_DOMAIN_NULL_MX, SENDER_DOMAIN_NONE},
    {"host.test", SENDER_DOMAIN_OK, SENDER_DOMAIN_OK},
    {"empty.test", SENDER_DOMAIN_NONE, SENDER_DOMAIN_NONE},
    {"gone.test", SENDER_DOMAIN_NONE, SENDER_DOMAIN_NONE},
    {"sick.test", SENDER_DOMAIN_TEMPORARY, SENDER_DOMAIN_TEMPORARY},
    {"mxonly.test", SENDER_DOMAIN_OK, SENDER_DOMAIN_OK},
};

static const struct {
    const char *name;
    enum sender_domain result;
} senders[] = {
    {"mx.test", SENDER_DOMAIN_OK},     {"number.test", SENDER_DOMAIN_ODD},
    {"alias.test", SENDER_DOMAIN_ODD}, {"lost.test", SENDER_DOMAIN_ODD},
    {"half.test", SENDER_DOMAIN_OK}, /* it is there, which is all that is asked */
};

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct dns *dns;
    enum sender_domain result;
    unsigned calls;
};

static struct bench
bench_open(void)
{
    struct bench b = {.loop = loop_new()};
    struct inet_endpoint resolver;

    b.server = dns_server_open(b.loop, scripts);
    resolver = dns_server_endpoint(b.server);
    b.dns = dns_new(b.loop, &resolver);
    return b;
}

static void
bench_close(struct bench *b)
{
    dns_free(&b->dns);
    dns_server_close(&b->server);
    loop_free(&b->loop);
}

static void
on_done(void *ctx, enum sender_domain result)
{
    struct bench *b = ctx;

    b->result = result;
    b->calls++;
    loop_stop(b->loop);
}

typedef struct sender_domain_check *(*start)(struct dns *dns, const char *name,
                                             sender_domain_on_done on_done, void *ctx);

static enum sender_domain
result_of(struct bench *b, start start_it, const char *name)
{
    b->calls = 0;
    (void)start_it(b->dns, name, on_done, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    loop_run(b->loop);
    cr_assert_eq(b->calls, 1);
    return b->result;
}

Test(sender_domain, P5_as_a_sender_and_as_a_host)
{
    struct bench b = bench_open();

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        cr_expect_eq(result_of(&b, sender_domain_check_start, table[i].name), table[i].as_sender,
                     "sender %s: %d", table[i].name, b.result);
        cr_expect_eq(result_of(&b, sender_domain_host_start, table[i].name), table[i].as_host,
                     "host %s: %d", table[i].name, b.result);
    }
    bench_close(&b);
}

Test(sender_domain, an_odd_mx_is_told_apart)
{
    struct bench b = bench_open();

    for (size_t i = 0; i < ARRAY_SIZE(senders); i++)
        cr_expect_eq(result_of(&b, sender_domain_check_start, senders[i].name), senders[i].result,
                     "%s: %d", senders[i].name, b.result);
    bench_close(&b);
}

Test(sender_domain, cancelled_is_silent)
{
    struct bench b = bench_open();
    struct sender_domain_check *check = sender_domain_check_start(b.dns, "mx.test", on_done, &b);

    sender_domain_check_cancel(&check);
    cr_assert_null(check);
    sender_domain_check_cancel(&check);
    (void)result_of(&b, sender_domain_check_start, "host.test");
    cr_expect_eq(b.calls, 1);
    bench_close(&b);
}
