/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl backend test: what a relay needs of a customer's server, asked of each of its addresses
 * from where our mail comes from.  Nothing is delivered without an option that says so.
 */
#include <ctype.h>
#include <jansson.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "admin/backend_health.h"
#include "admin/backend_target.h"
#include "admin/commands.h"
#include "admin/finding.h"
#include "admin/paragraph.h"
#include "conformance/conformance_run.h"
#include "dns/dns.h"
#include "net/conn.h"
#include "route/destination.h"

#define ANSWER_MS 15000 /* longer, and it is as good as silent */
#define TOTAL_MS 60000
#define TOKEN_LENGTH 20
#define SUM_SIZE 256 /* a name, and four numbers with their words */

struct test {
    struct call *call;
    struct loop *loop;
    struct dns *dns;
    struct destination_finder *finder;
    struct tls_client *tls_client;
    char token[TOKEN_LENGTH + 1];
    char sender[SMTP_PATH_SIZE], probe_from[SMTP_PATH_SIZE];
    char sink[SMTP_PATH_SIZE], spf_probe[SMTP_PATH_SIZE], rcpt[SMTP_PATH_SIZE];
    const char *given_rcpt[1]; /* as a list */
    const struct backend_target *target;
    struct inet_endpoint endpoint; /* that is tested now */
    char address[INET_ENDPOINT_SIZE];
    json_t *findings, *addresses; /* of the target */
    unsigned counts[4];           /* by verdict */
    bool any_failed, is_reachable;
};

/* --- What was found. */

static void
print_finding(const struct test *t, const struct finding_row *row, const char *detail)
{
    struct finding finding = {.check = row->check,
                              .verdict = finding_verdict_word(row->verdict),
                              .text = row->text,
                              .detail = detail,
                              .before = "",
                              .remedy = row->remedy};

    finding_print(&t->call->printing, &finding);
}

static void
add_finding(struct test *t, enum conformance_id id, const char *detail)
{
    const struct finding_row *row = &conformance_rows[id];
    json_t *finding = json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:o}", "address",
                                printer_json_text_or_null(t->address), "check", row->check,
                                "finding", row->word, "verdict", finding_verdict_word(row->verdict),
                                "text", row->text, "remedy", printer_json_text_or_null(row->remedy),
                                "detail", printer_json_text_or_null(detail));

    json_array_append_new(t->findings, finding);
    t->counts[row->verdict]++;
    t->any_failed |= row->verdict == FINDING_FAIL;
    t->is_reachable |= id == CONFORMANCE_EHLO || id == CONFORMANCE_HELO_ONLY;
    if (!t->call->printing.json)
        print_finding(t, row, detail);
}

static void
on_finding(void *ctx, const struct conformance_finding *finding)
{
    struct test *t = ctx;
    char detail[CONFORMANCE_DETAIL_SIZE];

    if (finding->id != CONFORMANCE_PROBE_TAKEN) {
        add_finding(t, finding->id, finding->detail);
        return;
    }
    snprintf(detail, sizeof detail, "relayctl trace --rcpt %s", t->probe_from);
    add_finding(t, finding->id, detail);
}

static void
on_done(void *ctx, const struct conformance_seen *seen)
{
    struct test *t = ctx;

    conformance_judge(seen, on_finding, t);
    loop_stop(t->loop);
}

/* --- One address. */

/* The relay here may take it for down still: it tries again at once. */
static void
wake(struct test *t, const struct destination *d)
{
    struct probe_question question = {.endpoint = d->endpoint,
                                      .tls = (enum tls_policy)d->tls,
                                      .limit = t->target->row.max_connections};
    char detail[CONFORMANCE_DETAIL_SIZE];
    bool is_up;

    snprintf(question.tls_name, sizeof question.tls_name, "%s", d->tls_name);
    if (!t->is_reachable || !backend_health_wake(t->call, &question, detail, sizeof detail, &is_up))
        return;
    add_finding(t, is_up ? CONFORMANCE_HEALTH_WOKEN : CONFORMANCE_HEALTH_DOWN, detail);
}

static void
test_address(struct test *t, const struct destination *d)
{
    const struct config *c = t->call->config;
    const struct backend_target *b = t->target;
    struct conformance_question question = {
        .endpoint = d->endpoint,
        .source = d->source,
        .tls = (enum tls_policy)d->tls,
        .tls_name = d->tls_name,
        .hostname = c->hostname,
        .sender = t->sender,
        .domains = (const char *const *)b->domains,
        .domain_count = b->domain_count,
        .rcpts = t->rcpt[0] ? t->given_rcpt : (const char *const *)b->rcpts,
        .rcpt_count = t->rcpt[0] ? 1 : b->rcpt_count,
        .sink = t->sink[0] ? t->sink : NULL,
        .spf_probe = t->spf_probe[0] ? t->spf_probe : NULL,
        .deliver_to = t->rcpt,
        .content = call_value(t->call, "content") != NULL,
        .probe_from = call_value(t->call, "probe-message") ? t->probe_from : NULL,
        .token = t->token,
        .connections = b->row.max_connections,
        .connect_timeout_ms = (int64_t)c->backend_connect_timeout_ms,
        .answer_timeout_ms = (int64_t)c->backend_command_timeout_ms < ANSWER_MS
                                 ? (int64_t)c->backend_command_timeout_ms
                                 : ANSWER_MS,
        .total_ms = TOTAL_MS,
        .size_needed_bytes = b->max_message_size_bytes < c->max_message_size
                                 ? b->max_message_size_bytes
                                 : c->max_message_size, /* no larger one is taken here */
        .tls_client = t->tls_client,
    };

    inet_endpoint_text(&d->endpoint, t->address);
    json_array_append_new(t->addresses, json_pack("{s:s, s:o, s:s}", "address", t->address, "host",
                                                  printer_json_text_or_null(d->host), "tls",
                                                  tls_policy_text(question.tls)));
    if (!t->call->printing.json)
        fprintf(t->call->printing.out, "%s at %s%s%s%s\n", b->name, t->address,
                d->host[0] ? " (" : "", d->host, d->host[0] ? ")" : "");
    t->is_reachable = false;
    conformance_run_start(t->loop, &question, on_done, t);
    loop_run(t->loop);
    wake(t, d);
}

/* --- One backend. */

static void
on_walk(void *ctx)
{
    struct test *t = ctx;

    loop_stop(t->loop);
}

static void
test_addresses(struct test *t)
{
    struct registry_backend row = t->target->row;
    struct destination_walk *walk;
    unsigned next = 0;
    enum destination_step step;

    if (call_value(t->call, "address")) {
        if (row.tls_name[0] == '\0')
            snprintf(row.tls_name, sizeof row.tls_name, "%s", row.host);
        row.endpoint = t->endpoint;
        row.endpoint.port = t->target->row.endpoint.port;
        row.host[0] = '\0';
    }
    walk = destination_walk_new(t->finder, &row, 1, on_walk, t);
    while ((step = destination_walk_more(walk)) != DESTINATION_END) {
        if (step == DESTINATION_WAIT)
            loop_run(t->loop);
        while (next < destination_walk_count(walk)) {
            const struct destination d = *destination_walk_item(walk, next++);

            test_address(t, &d);
        }
    }
    if (next == 0) {
        t->address[0] = '\0';
        if (!t->call->printing.json)
            fprintf(t->call->printing.out, "%s\n", t->target->name);
        add_finding(t, CONFORMANCE_NO_ADDRESS, destination_walk_why(walk));
    }
    destination_walk_free(&walk);
}

static enum finding_verdict
worst(const struct test *t)
{
    return t->counts[FINDING_FAIL]      ? FINDING_FAIL
           : t->counts[FINDING_WARN]    ? FINDING_WARN
           : t->counts[FINDING_UNKNOWN] ? FINDING_UNKNOWN
                                        : FINDING_PASS;
}

static void
print_sum(const struct test *t, const struct backend_targets *targets)
{
    FILE *out = t->call->printing.out;
    json_t *json;
    char *text;

    if (!t->call->printing.json) {
        char sum[SUM_SIZE];

        snprintf(sum, sizeof sum, "%s: %u failed, %u warned of, %u passed, %u unknown",
                 t->target->name, t->counts[FINDING_FAIL], t->counts[FINDING_WARN],
                 t->counts[FINDING_PASS], t->counts[FINDING_UNKNOWN]);
        paragraph_wrap(out, 0, sum);
        return;
    }
    json = json_pack("{s:s, s:s, s:s, s:s, s:O, s:O}", "name", t->target->name, "customer",
                     t->target->customer, "verdict", finding_verdict_word(worst(t)), "source",
                     targets->from_replica ? "replica" : "database", "addresses", t->addresses,
                     "findings", t->findings);
    text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fprintf(out, "%s\n", text);
    free(text);
    json_decref(json);
}

/* With --rcpt its domain is the first: of very many the last ones are left out. */
static void
put_first(struct backend_target *target, const char *domain)
{
    size_t i = 0;
    char *found;

    while (i < target->domain_count && strcmp(target->domains[i], domain) != 0)
        i++;
    if (i == target->domain_count)
        return;
    found = target->domains[i];
    memmove(target->domains + 1, target->domains, i * sizeof *target->domains);
    target->domains[0] = found;
}

static void
test_backend(struct test *t, const struct backend_targets *targets, size_t i)
{
    const char *at = strrchr(t->rcpt, '@');

    t->target = &targets->items[i];
    if (at)
        put_first(&targets->items[i], at + 1);
    t->findings = json_array();
    t->addresses = json_array();
    memset(t->counts, 0, sizeof t->counts);
    if (i > 0 && !t->call->printing.json)
        fputc('\n', t->call->printing.out);
    test_addresses(t);
    print_sum(t, targets);
    fflush(t->call->printing.out);
    json_decref(t->findings);
    json_decref(t->addresses);
}

/* --- What is given. */

static enum command_status
read_mailbox(const struct call *call, const char *option, char dst[SMTP_PATH_SIZE])
{
    const char *text = call_value(call, option);
    struct smtp_path path;

    dst[0] = '\0';
    if (text == NULL)
        return COMMAND_DONE;
    if (smtp_path_parse_mailbox(slice_of(text), &path) < 0 || path.needs_smtputf8)
        return call_usage("--%s: \"%.100s\" is no address; use one such as info@acme.example",
                          option, text);
    snprintf(dst, SMTP_PATH_SIZE, "%s", path.text);
    return COMMAND_DONE;
}

static enum command_status
read_address(struct test *t)
{
    const char *text = call_value(t->call, "address");

    if (text && inet_endpoint_parse(slice_of(text), 25, &t->endpoint) < 0)
        return call_usage("--address: \"%.100s\" is no address; use 192.0.2.10 or 2001:db8::1",
                          text);
    return COMMAND_DONE;
}

/* Who we are in MAIL FROM: an address that exists. */
static void
choose_senders(struct test *t)
{
    const struct config *c = t->call->config;
    const char *at;

    conformance_sender(c->postmaster, c->hostname, t->sender);
    at = strrchr(t->sender, '@');
    snprintf(t->probe_from, sizeof t->probe_from, "%.*s+%s%s", (int)(at - t->sender), t->sender,
             t->token, at);
}

static void
make_token(struct test *t)
{
    unsigned char octets[TOKEN_LENGTH];

    CHECK(RAND_bytes(octets, sizeof octets) == 1);
    for (unsigned i = 0; i < TOKEN_LENGTH; i++)
        t->token[i] = (char)('a' + octets[i] % 26);
}

static enum command_status
read_options(struct test *t)
{
    const struct call *call = t->call;
    bool delivers = call_value(call, "content") || call_value(call, "probe-message");
    enum command_status status = read_mailbox(call, "rcpt", t->rcpt);

    t->given_rcpt[0] = t->rcpt;
    if (status == COMMAND_DONE)
        status = read_mailbox(call, "sink", t->sink);
    if (status == COMMAND_DONE)
        status = read_mailbox(call, "spf-probe", t->spf_probe);
    if (status == COMMAND_DONE)
        status = read_address(t);
    if (status == COMMAND_DONE && delivers && t->rcpt[0] == '\0')
        status = call_usage("--content and --probe-message deliver messages: say to whom, with "
                            "--rcpt ADDRESS");
    return status;
}

static void
open_all(struct test *t)
{
    const char *ca_file = t->call->config->backend_ca_file;
    struct buf problems;

    make_token(t);
    choose_senders(t);
    buf_init(&problems, 0);
    if (tls_client_new(ca_file ? ca_file : "", &problems, &t->tls_client) < 0)
        call_warn(t->call, "%s", buf_text(&problems));
    buf_fini(&problems);
    t->loop = loop_new();
    loop_allow_stalls(t->loop);
    t->dns = dns_new(t->loop, &t->call->config->resolver);
    t->finder = destination_finder_new(t->loop, t->call->config, t->dns);
}

static void
close_all(struct test *t)
{
    conn_close_ending();
    destination_finder_free(&t->finder);
    dns_free(&t->dns);
    loop_free(&t->loop);
    tls_client_free(&t->tls_client);
}

enum command_status
backend_test(struct call *call)
{
    struct test t = {.call = call};
    struct backend_targets targets = {.items = NULL};
    enum command_status status = read_options(&t);

    if (status == COMMAND_DONE && call_value(call, "steps"))
        return backend_health_steps(call);
    if (status == COMMAND_DONE)
        status = backend_targets_find(call, &targets);
    if (status == COMMAND_DONE) {
        open_all(&t);
        for (size_t i = 0; i < targets.count; i++)
            test_backend(&t, &targets, i);
        close_all(&t);
        status = t.any_failed ? COMMAND_FAILED : targets.is_partial ? COMMAND_PARTLY : COMMAND_DONE;
    }
    backend_targets_fini(&targets);
    return status;
}
