/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl backend test --steps, and what this node knows of backends.  The running relay makes the
 * conversation, from where its mail comes; without one we make it, and say so.
 */
#include "admin/backend_health.h"

#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/field.h"
#include "base/clock.h"
#include "net/conn.h"
#include "net/control.h"
#include "probe/probe_json.h"

#define ASK_MS 300000 /* longer than all steps together may take */
#define STEP_MS 30000

struct shared_table *
backend_health_open(const struct call *call)
{
    struct shared_table *table;
    char path[CALL_PATH_SIZE];

    return shared_table_attach(call_path(path, call->config->run_dir, "shared"), &table) == ERR_OK
               ? table
               : NULL;
}

static bool
look_up(const struct shared_table *table, const char *address, int64_t port,
        struct shared_health *health)
{
    struct inet_endpoint endpoint;

    if (table == NULL || address == NULL ||
        inet_endpoint_parse(slice_of(address), (uint16_t)port, &endpoint) < 0)
        return false;
    endpoint.port = (uint16_t)port;
    return shared_health_get(table, &endpoint, health) == ERR_OK;
}

void
backend_health_print(struct printer *p, const struct call *call, const struct shared_table *table,
                     const char *address, int64_t port, bool held, bool is_list)
{
    struct shared_health h = {.state = SHARED_HEALTH_UNKNOWN};
    bool known = look_up(table, address, port, &h);
    bool stopped = known && shared_health_stops(h.state);
    void (*print_time)(struct printer * p, int64_t) = is_list ? printer_since : printer_time;

    printer_word(p, held    ? "held"
                    : known ? shared_health_shown(&h, call->printing.now_ms)
                            : shared_health_word(SHARED_HEALTH_UNKNOWN));
    print_time(p, known ? h.since_ms : 0);
    printer_text(p, stopped ? shared_reason_text(h.reason) : NULL);
    print_time(p, stopped && !held ? h.next_probe_at_ms : 0);
}

/* --- Asking the relay. */

/* NULL: nobody listens. */
static json_t *
ask_relay(const struct call *call, const char *verb, const struct probe_question *question)
{
    json_t *json = probe_json_of_question(verb, question), *answer = NULL;
    char path[CALL_PATH_SIZE], *line = json_dumps(json, JSON_COMPACT);
    struct buf text;

    buf_init(&text, 0);
    if (control_call(call_path(path, call->config->run_dir, "relayd.sock"), slice_of(line), ASK_MS,
                     &text) == ERR_OK)
        answer = json_loadb(buf_slice(&text).p, buf_slice(&text).n, 0, NULL);
    buf_fini(&text);
    free(line);
    json_decref(json);
    return answer;
}

/* --- Making the conversation ourselves. */

struct local {
    const struct call *call;
    struct loop *loop;
    struct shared_table *table; /* NULL: nobody is told */
    struct probe_question question;
    json_t *answer;
};

static void
on_report(void *ctx, const struct probe_report *report)
{
    struct local *l = ctx;
    const struct config *c = l->call->config;
    struct probe_change change = {SHARED_HEALTH_UNKNOWN, SHARED_HEALTH_UNKNOWN};

    if (l->table)
        change =
            probe_health_end(l->table, &l->question.endpoint, report, clock_wall_ms(),
                             (int64_t)c->probe_interval_min_ms, (int64_t)c->probe_interval_max_ms);
    l->answer = probe_json_of_report(report, &change, "relayctl");
    loop_stop(l->loop);
}

static json_t *
talk_ourselves(const struct call *call, const struct probe_question *question)
{
    struct local l = {.call = call, .question = *question};
    struct probe_settings settings = {
        .hostname = call->config->hostname,
        .connect_timeout_ms = (int64_t)call->config->backend_connect_timeout_ms,
        .command_timeout_ms = STEP_MS,
    };
    struct buf problems;

    buf_init(&problems, 0);
    if (tls_client_new("", &problems, &settings.tls) < 0)
        settings.tls = NULL;
    buf_fini(&problems);
    l.loop = loop_new();
    l.table = backend_health_open(call);
    if (l.table)
        probe_health_begin(l.table, &l.question.endpoint, clock_wall_ms());
    (void)probe_talk_start(l.loop, &settings, &l.question, on_report, &l);
    loop_run(l.loop);
    conn_close_ending();
    loop_free(&l.loop);
    shared_table_detach(&l.table);
    tls_client_free(&settings.tls);
    return l.answer;
}

/* --- test */

static const struct printer_column step_columns[] = {
    {"step", "STEP", PRINTER_LEFT},
    {"ok", "OK", PRINTER_LEFT},
    {"ms", "MS", PRINTER_RIGHT},
    {"reply", "REPLY", PRINTER_LEFT},
};

static void
print_steps(const struct call *call, const char *name, json_t *answer)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, step_columns, ARRAY_SIZE(step_columns));
    const char *after = json_string_value(json_object_get(answer, "after"));
    json_t *step;
    size_t i;

    json_array_foreach(json_object_get(answer, "steps"), i, step)
    {
        printer_text(p, json_string_value(json_object_get(step, "step")));
        printer_bool(p, json_is_true(json_object_get(step, "ok")));
        printer_number(p, json_integer_value(json_object_get(step, "ms")));
        printer_text(p, json_string_value(json_object_get(step, "reply")));
    }
    printer_finish(&p);
    fprintf(call->printing.out, "\n%s is %s on this node (asked by %s)\n", name, after,
            json_string_value(json_object_get(answer, "by")));
}

static void
print_answer(const struct call *call, const char *name, json_t *answer)
{
    char *text;

    if (!call->printing.json) {
        print_steps(call, name, answer);
        return;
    }
    json_object_set_new(answer, "name", json_string(name));
    json_object_del(answer, "ok");
    text = json_dumps(answer, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fprintf(call->printing.out, "%s\n", text);
    free(text);
}

static enum command_status
find_question(struct call *call, const char *name, struct probe_question *question)
{
    char customer[FIELD_NAME_SIZE], number[16];
    const char *params[] = {customer, number};
    PGresult *r = NULL;
    enum command_status status = field_backend_name(name, customer, number);
    json_t *json;

    if (status == COMMAND_DONE)
        status = database_query(call,
                                "SELECT host(b.address), b.port, b.tls, coalesce(b.tls_name, "
                                "b.host, ''), coalesce(b.max_connections, 0) FROM postern.backends "
                                "b JOIN postern.customers c ON "
                                "c.id = b.customer_id WHERE c.name = $1 AND b.number = $2::integer",
                                2, params, &r);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(r) == 0) {
        call_complain("there is no backend %s", name);
        PQclear(r);
        return COMMAND_NOTHING;
    }
    json = json_pack("{s:s, s:I, s:s, s:s, s:s, s:I}", "address",
                     call_value(call, "address") ?: PQgetvalue(r, 0, 0), "port",
                     (json_int_t)database_number(r, 0, 1), "tls", PQgetvalue(r, 0, 2), "tls_name",
                     PQgetvalue(r, 0, 3), "rcpt", call_value(call, "rcpt") ?: "", "limit",
                     (json_int_t)database_number(r, 0, 4));
    if (probe_json_question(json, question) < 0)
        status = call_usage("%s", database_text(r, 0, 0) == NULL && !call_value(call, "address")
                                      ? "this backend is by name: say which of its addresses, with "
                                        "--address ADDRESS; `relayctl status` lists them"
                                      : "--rcpt and --address take one address each");
    json_decref(json);
    PQclear(r);
    return status;
}

enum command_status
backend_health_steps(struct call *call)
{
    const char *name = call->line.operand_count == 1 ? call->line.operands[0] : NULL;
    struct probe_question question;
    enum command_status status;
    json_t *answer;

    if (name == NULL)
        return call_usage("--steps is for one backend, for example: relayctl backend test acme/1 "
                          "--steps");
    status = database_connect(call);
    if (status == COMMAND_DONE)
        status = database_check_schema(call);
    if (status == COMMAND_DONE)
        status = find_question(call, name, &question);
    if (status != COMMAND_DONE)
        return status;
    answer = ask_relay(call, "backend-test", &question);
    if (answer == NULL) {
        if (!call->printing.json)
            call_complain("relayd does not run here, or may not be asked by you: the connection is "
                          "made from relayctl");
        answer = talk_ourselves(call, &question);
    }
    if (answer == NULL || !json_is_true(json_object_get(answer, "ok"))) {
        call_complain("%s: %s", name,
                      json_string_value(json_object_get(answer, "error")) ?: "no answer");
        status = COMMAND_FAILED;
    } else {
        print_answer(call, name, answer);
        if (!json_is_true(json_object_get(answer, "up")))
            status = COMMAND_FAILED;
    }
    json_decref(answer);
    return status;
}

/* --- What another test has found. */

static bool
is_stopped(const struct call *call, const struct inet_endpoint *endpoint)
{
    struct shared_table *table = backend_health_open(call);
    struct shared_health h;
    bool stopped =
        table && shared_health_get(table, endpoint, &h) == ERR_OK && shared_health_stops(h.state);

    shared_table_detach(&table);
    return stopped;
}

bool
backend_health_wake(const struct call *call, const struct probe_question *question, char *says,
                    size_t says_size, bool *is_up)
{
    json_t *answer;
    const char *before, *after;

    if (!is_stopped(call, &question->endpoint) ||
        (answer = ask_relay(call, "backend-test", question)) == NULL)
        return false;
    before = json_string_value(json_object_get(answer, "before"));
    after = json_string_value(json_object_get(answer, "after"));
    *is_up = json_is_true(json_object_get(answer, "up"));
    snprintf(says, says_size, "%s before, %s now", before ? before : "unknown",
             after ? after : "unknown");
    json_decref(answer);
    return true;
}

/* --- release */

void
backend_health_release(struct call *call, const char *address, int64_t port)
{
    struct probe_question question = {.tls = TLS_POLICY_NONE};
    struct shared_table *table;
    json_t *answer;
    bool released = false;

    if (inet_endpoint_parse(slice_of(address), (uint16_t)port, &question.endpoint) < 0)
        return;
    question.endpoint.port = (uint16_t)port;
    answer = ask_relay(call, "backend-release", &question);
    if (answer != NULL)
        released = json_is_true(json_object_get(answer, "released"));
    else if ((table = backend_health_open(call)) != NULL) {
        released = shared_health_release(table, &question.endpoint, clock_wall_ms());
        shared_table_detach(&table);
    }
    json_decref(answer);
    if (released && !call->printing.json)
        fprintf(call->printing.out,
                "It was refusing known recipients; it is recovering now, and watched.\n");
}
