/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl scan open-relay: the mail servers in a network of access customers, asked for open
 * relaying alone.  That somebody has agreed is in the audit before the first connection.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/field.h"
#include "admin/finding.h"
#include "admin/scan_job.h"
#include "base/parse.h"
#include "conformance/conformance_run.h"
#include "net/conn.h"

#define AT_ONCE 4
#define ADDRESSES_MAX 4096
#define CONNECT_MS 3000 /* most addresses have no mail server */
#define ANSWER_MS 10000
#define TOTAL_MS 60000
#define PORT 25

struct relay_scan;

struct place { /* one address under test */
    struct relay_scan *scan;
    bool is_used;
    struct conformance_question question;
    char address[INET_ENDPOINT_SIZE];
};

struct relay_scan {
    struct call *call;
    struct loop *loop;
    struct inet_network network;
    uint32_t next, count;
    int64_t pause_ms;
    struct loop_timer timer;
    struct place places[AT_ONCE];
    unsigned running;
    char sender[SMTP_PATH_SIZE], sink[SMTP_PATH_SIZE];
    uint16_t port;
    unsigned servers, open;
    enum command_status status;
};

/* --- What was found. */

static void
record(struct relay_scan *s, const struct place *p, json_t *finding)
{
    json_t *result = json_pack("{s:s, s:[O]}", "name", p->address, "findings", finding);
    char *text = json_dumps(result, JSON_COMPACT);
    const char *params[] = {text};
    PGresult *r;
    enum command_status status = database_query(
        s->call, "SELECT FROM postern.scan_record('network', $1::jsonb)", 1, params, &r);

    if (status == COMMAND_DONE)
        PQclear(r);
    else
        s->status = status;
    free(text);
    json_decref(result);
}

static void
print(const struct relay_scan *s, const struct place *p, const struct finding_row *row,
      const char *detail, json_t *finding)
{
    struct finding shown = {.check = row->check,
                            .verdict = finding_verdict_word(row->verdict),
                            .text = row->text,
                            .detail = detail,
                            .before = "",
                            .remedy = row->remedy};
    char *text;

    if (!s->call->printing.json) {
        fprintf(s->call->printing.out, "%s\n", p->address);
        finding_print(&s->call->printing, &shown);
        return;
    }
    json_object_set_new(finding, "address", json_string(p->address));
    text = json_dumps(finding, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fprintf(s->call->printing.out, "%s\n", text);
    free(text);
}

static void
on_finding(void *ctx, const struct conformance_finding *found)
{
    struct place *p = ctx;
    struct relay_scan *s = p->scan;
    const struct finding_row *row = &conformance_rows[found->id];
    json_t *finding;

    if (strcmp(row->check, "relay") != 0)
        return;
    s->servers++;
    s->open += row->verdict == FINDING_FAIL;
    finding = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "address", "", "check", row->check,
                        "finding", row->word, "verdict", finding_verdict_word(row->verdict), "text",
                        row->text, "remedy", printer_json_text_or_null(row->remedy), "detail",
                        printer_json_text_or_null(found->detail));
    record(s, p, finding);
    print(s, p, row, found->detail, finding);
    fflush(s->call->printing.out);
    json_decref(finding);
}

/* --- The addresses. */

static struct inet_endpoint
address_at(const struct relay_scan *s, uint32_t index)
{
    struct inet_endpoint e = {.family = s->network.family, .port = s->port};
    unsigned last = e.family == 4 ? 3 : 15;

    memcpy(e.addr, s->network.addr, sizeof e.addr);
    for (unsigned i = 0; i < 4 && index > 0; i++, index >>= 8)
        e.addr[last - i] |= (uint8_t)index; /* behind the prefix all bits are 0 */
    return e;
}

static void start_some(void *ctx);

static void
on_done(void *ctx, const struct conformance_seen *seen)
{
    struct place *p = ctx;
    struct relay_scan *s = p->scan;

    if (seen->first.ready)
        conformance_judge(seen, on_finding, p);
    p->is_used = false;
    s->running--;
    if (s->next < s->count && s->status == COMMAND_DONE) {
        if (!loop_timer_is_running(&s->timer))
            start_some(s);
    } else if (s->running == 0)
        loop_stop(s->loop);
}

static void
start(struct relay_scan *s, struct place *p)
{
    const struct config *c = s->call->config;

    *p = (struct place){.scan = s, .is_used = true};
    p->question = (struct conformance_question){.endpoint = address_at(s, s->next++),
                                                .tls = TLS_POLICY_NONE,
                                                .tls_name = "",
                                                .hostname = c->hostname,
                                                .sender = s->sender,
                                                .sink = s->sink[0] ? s->sink : NULL,
                                                .only_relay = true,
                                                .token = "relaytest",
                                                .connect_timeout_ms = CONNECT_MS,
                                                .answer_timeout_ms = ANSWER_MS,
                                                .total_ms = TOTAL_MS,
                                                .size_needed_bytes = UINT64_MAX};
    if (c->source_address.family == p->question.endpoint.family)
        p->question.source = c->source_address;
    inet_address_text(&p->question.endpoint, p->address);
    s->running++;
    conformance_run_start(s->loop, &p->question, on_done, p);
}

/* One, and the next after a pause. */
static void
start_some(void *ctx)
{
    struct relay_scan *s = ctx;
    unsigned i = 0;

    while (i < AT_ONCE && s->places[i].is_used)
        i++;
    if (i == AT_ONCE || s->next == s->count || s->status != COMMAND_DONE)
        return; /* goes on when one ends */
    start(s, &s->places[i]);
    loop_timer_start(&s->timer, s->pause_ms);
}

/* --- What is asked for. */

static enum command_status
read_network(struct relay_scan *s)
{
    const char *text = call_value(s->call, "network");
    unsigned bits;

    if (text == NULL)
        return call_usage("--network is missing; for example: %s", s->call->line.command->example);
    if (inet_network_parse(slice_of(text), &s->network) < 0)
        return call_usage("--network: \"%.100s\" is no network; write 192.0.2.0/24", text);
    bits = (s->network.family == 4 ? 32 : 128) - s->network.bits;
    if (bits > 12)
        return call_usage("--network: %s has more than %d addresses; ask for its parts", text,
                          ADDRESSES_MAX);
    s->count = 1U << bits;
    return COMMAND_DONE;
}

static enum command_status
read_port(struct relay_scan *s)
{
    const char *text = call_value(s->call, "port");
    uint64_t port = PORT;

    if (text && (parse_u64(slice_of(text), &port) < 0 || port < 1 || port > UINT16_MAX))
        return call_usage("--port: \"%.100s\" is no port", text);
    s->port = (uint16_t)port;
    return COMMAND_DONE;
}

static enum command_status
read_sink(struct relay_scan *s)
{
    const char *text = call_value(s->call, "sink");
    struct smtp_path path;

    if (text == NULL)
        return COMMAND_DONE;
    if (smtp_path_parse_mailbox(slice_of(text), &path) < 0 || path.needs_smtputf8)
        return call_usage("--sink: \"%.100s\" is no address; use one of yours at another server",
                          text);
    snprintf(s->sink, sizeof s->sink, "%s", path.text);
    return COMMAND_DONE;
}

static enum command_status
write_consent(struct relay_scan *s)
{
    const char *text = call_value(s->call, "consent");
    char network[INET_ENDPOINT_SIZE];
    const char *params[] = {inet_network_text(&s->network, network), text};
    PGresult *r;
    enum command_status status;

    if (text == NULL || text[strspn(text, " \t")] == '\0')
        return call_usage("--consent is missing: who of that network has agreed, when and how; for "
                          "example: %s",
                          s->call->line.command->example);
    status = database_query(s->call, "SELECT postern.scan_consent($1::cidr, $2)", 2, params, &r);
    if (status == COMMAND_DONE)
        PQclear(r);
    return status;
}

static void
run(struct relay_scan *s)
{
    conformance_sender(s->call->config->postmaster, s->call->config->hostname, s->sender);
    s->loop = loop_new();
    loop_allow_stalls(s->loop);
    loop_timer_init(&s->timer, s->loop, start_some, s);
    start_some(s);
    loop_run(s->loop);
    loop_timer_cancel(&s->timer);
    conn_close_ending();
    loop_free(&s->loop);
}

enum command_status
scan_open_relay(struct call *call)
{
    struct relay_scan s = {.call = call, .status = COMMAND_DONE};
    enum command_status status = read_network(&s);

    if (status == COMMAND_DONE)
        status = read_port(&s);
    if (status == COMMAND_DONE)
        status = read_sink(&s);
    if (status == COMMAND_DONE)
        status = scan_job_pause(call, &s.pause_ms);
    if (status == COMMAND_DONE)
        status = write_consent(&s);
    if (status != COMMAND_DONE)
        return status;
    run(&s);
    if (!call->printing.json)
        fprintf(call->printing.out, "%u asked: %u mail servers, %u open\n", s.count, s.servers,
                s.open);
    if (s.status != COMMAND_DONE)
        return s.status;
    return s.open > 0 ? COMMAND_FAILED : COMMAND_DONE;
}
