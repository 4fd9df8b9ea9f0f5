/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The cases of RFC 7208's test suite (pyspf), each a line of TAP, through all that a worker and the
 * spf process have: the real resolver against name servers with the suite's zones, client, channel,
 * server, libspf2.  All at once, since some of its names are never answered and take the resolver's
 * whole deadline.  Where the data is not there, nothing runs, and it is said.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "dns/dns.h"
#include "net/channel.h"
#include "spf/spf_client.h"
#include "spf/spf_server.h"
#include "spf_zone_server.h"

#define PARTS_MAX 32
#define CASES_MAX 400
#define CASES 203
#define LIMIT_MS 60000

struct part { /* a zone */
    struct spf_zone_server *names;
    struct dns *dns;
    struct spf_client *client;
};

struct test_case {
    const char *name;
    const json_t *test;
    struct spf_result result;
    bool is_done;
};

static struct loop *loop;
static struct spf_server *server;
static struct part parts[PARTS_MAX];
static struct test_case cases[CASES_MAX];
static unsigned part_count, case_count, done_count;

static void
on_result(void *ctx, const struct spf_result *result)
{
    struct test_case *c = ctx;

    c->result = *result;
    c->is_done = true;
    if (++done_count == case_count)
        loop_stop(loop);
}

static const char *
text_of(const json_t *test, const char *key)
{
    return json_string_value(json_object_get(test, key));
}

static void
start_case(struct part *part, const char *name, const json_t *test)
{
    struct test_case *c = &cases[case_count++];
    struct spf_question question = {.identity = SPF_MAIL_FROM,
                                    .helo = text_of(test, "helo"),
                                    .mail_from = text_of(test, "mailfrom")};
    struct inet_network network;
    int rc = inet_network_parse(slice_of(text_of(test, "host")), &network);

    CHECK(rc == ERR_OK && case_count < CASES_MAX);
    question.client.family = network.family;
    memcpy(question.client.addr, network.addr, sizeof network.addr);
    c->name = name;
    c->test = test;
    (void)spf_check_start(part->client, &question, on_result, c);
}

static void
start_part(const json_t *suite)
{
    struct part *part = &parts[part_count++];
    struct inet_endpoint resolver;
    const char *name;
    json_t *test;
    int fds[2], rc = channel_pair(fds);

    CHECK(rc == ERR_OK && part_count < PARTS_MAX);
    part->names = spf_zone_server_open(loop, json_object_get(suite, "zonedata"));
    resolver = spf_zone_server_endpoint(part->names);
    part->dns = dns_new(loop, &resolver);
    spf_server_add(server, fds[0]);
    part->client = spf_client_open(loop, part->dns, fds[1]);
    json_object_foreach(json_object_get(suite, "tests"), name, test) start_case(part, name, test);
}

static bool
is_expected(const json_t *expected, const char *verdict)
{
    size_t i;
    json_t *one;

    if (json_is_string(expected))
        return strcmp(json_string_value(expected), verdict) == 0;
    json_array_foreach(expected, i,
                       one) if (strcmp(json_string_value(one), verdict) == 0) return true;
    return false;
}

static unsigned
report(void)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < case_count; i++) {
        const struct test_case *c = &cases[i];
        const char *verdict = c->is_done ? spf_verdict_text(c->result.verdict) : "no result";
        bool is_good = c->is_done && is_expected(json_object_get(c->test, "result"), verdict);

        failed += !is_good;
        printf("%sok %u - %s\n", is_good ? "" : "not ", i + 1, c->name);
        if (!is_good)
            printf("# %s: %s\n", verdict, c->result.reason);
    }
    printf("%sok %u - there are %d cases\n", case_count == CASES ? "" : "not ", case_count + 1,
           CASES);
    printf("1..%u\n", case_count + 1);
    return failed + (case_count != CASES);
}

static void
on_too_long(void *ctx)
{
    loop_stop(ctx);
}

static void
on_turn_end(void *ctx)
{
    loop_stop(ctx);
}

static void
end_all(void)
{
    for (unsigned i = 0; i < part_count; i++) {
        spf_client_close(&parts[i].client);
        dns_free(&parts[i].dns);
        spf_zone_server_close(&parts[i].names);
    }
    spf_server_free(&server);
    loop_defer(loop, on_turn_end, loop);
    loop_run(loop);
    loop_free(&loop);
}

static json_t *
load_suite(char path[512])
{
    const char *data = getenv("POSTERN_SHARED_DATA"), *top = getenv("top_srcdir");

    if (data != NULL)
        snprintf(path, 512, "%s/rfc7208/rfc7208-tests.json", data);
    else
        snprintf(path, 512, "%s/../shared/data/rfc7208/rfc7208-tests.json", top ? top : ".");
    return json_load_file(path, JSON_ALLOW_NUL, NULL);
}

int
main(void)
{
    char path[512];
    json_t *suite = load_suite(path), *part;
    struct loop_timer timer;
    unsigned failed;
    size_t i;

    if (suite == NULL) {
        printf("1..0 # SKIP there is no %s; POSTERN_SHARED_DATA names another folder of data\n",
               path);
        return 0;
    }
    loop = loop_new();
    server = spf_server_new(loop);
    loop_timer_init(&timer, loop, on_too_long, loop);
    loop_timer_start(&timer, LIMIT_MS);
    json_array_foreach(suite, i, part) start_part(part);
    loop_run(loop);
    loop_timer_cancel(&timer);
    failed = report();
    end_all();
    json_decref(suite);
    return failed > 0;
}
