/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl scan: the tests of all customers' servers and domains, gently, for cron or a timer. What
 * they find is kept in PostgreSQL as times in which it was the same; what is not as before is news.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/field.h"
#include "admin/finding.h"
#include "admin/scan_job.h"

struct subject { /* what is tested, and by which command */
    const char *kind, *noun, *verb;
    const char *sql; /* their names; $1: a customer, or "" */
};

static const struct subject subjects[] = {
    {"backend", "backend", "test",
     "SELECT c.name || '/' || b.number FROM postern.backends b JOIN postern.customers c ON c.id = "
     "b.customer_id WHERE ($1 = '' OR c.name = $1) AND NOT b.held AND c.state = 'active' ORDER BY "
     "c.name, b.number"},
    {"domain", "domain", "check",
     "SELECT d.name FROM postern.domains d JOIN postern.customers c ON c.id = d.customer_id WHERE "
     "($1 = '' OR c.name = $1) AND c.state = 'active' ORDER BY c.name, d.name"},
};

struct scan {
    struct call *call;
    const struct subject *subject;
    char customer[FIELD_NAME_SIZE];
    int64_t pause_ms;
    bool only_changes;
    bool any_failed;                   /* of what is shown */
    size_t tested, broken;             /* broken: ended without a result, or could not be kept */
    enum command_status trouble;       /* with the database */
    char shown[FIELD_NAME_SIZE + 400]; /* whose heading was printed last */
};

/* --- What is shown. */

enum column { /* of both questions below */
              ADDRESS,
              CHECK_NAME,
              BEFORE,
              BEFORE_VERDICT,
              FINDING,
              VERDICT,
              TEXT,
              DETAIL,
              REMEDY,
};

static void
print_json(const struct scan *s, const char *name, const PGresult *r, int row)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:s, s:s?, s:s?, s:s, s:o, s:o}", "kind", s->subject->kind,
        "name", name, "address", printer_json_text_or_null(PQgetvalue(r, row, ADDRESS)), "check",
        PQgetvalue(r, row, CHECK_NAME), "finding", PQgetvalue(r, row, FINDING), "verdict",
        PQgetvalue(r, row, VERDICT), "before", database_text(r, row, BEFORE), "before_verdict",
        database_text(r, row, BEFORE_VERDICT), "text", PQgetvalue(r, row, TEXT), "remedy",
        printer_json_text_or_null(PQgetvalue(r, row, REMEDY)), "detail",
        printer_json_text_or_null(PQgetvalue(r, row, DETAIL)));
    char *text;

    text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fprintf(s->call->printing.out, "%s\n", text);
    free(text);
    json_decref(json);
}

static void
print_heading(struct scan *s, const char *name, const char *address)
{
    char heading[sizeof s->shown];

    snprintf(heading, sizeof heading, "%s%s%s", name, address[0] ? " at " : "", address);
    if (strcmp(heading, s->shown) == 0)
        return;
    fprintf(s->call->printing.out, "%s%s\n", s->shown[0] ? "\n" : "", heading);
    memcpy(s->shown, heading, sizeof heading);
}

static void
print_row(struct scan *s, const char *name, const PGresult *r, int row)
{
    const char *before = database_text(r, row, BEFORE);
    char was[200] = "";
    struct finding finding = {.check = PQgetvalue(r, row, CHECK_NAME),
                              .verdict = PQgetvalue(r, row, VERDICT),
                              .text = PQgetvalue(r, row, TEXT),
                              .detail = PQgetvalue(r, row, DETAIL),
                              .before = was,
                              .remedy = PQgetvalue(r, row, REMEDY)};

    if (before)
        snprintf(was, sizeof was, "Before: %s, %s.", database_text(r, row, BEFORE_VERDICT), before);
    s->any_failed |= strcmp(finding.verdict, "fail") == 0;
    if (s->call->printing.json) {
        print_json(s, name, r, row);
        return;
    }
    print_heading(s, name, PQgetvalue(r, row, ADDRESS));
    finding_print(&s->call->printing, &finding);
}

/* --- What is kept. */

/* What a check finds first is news only if it is bad. */
static const char record_sql[] =
    "SELECT address, \"check\", before_finding, before_verdict, finding, verdict, text, detail, "
    "remedy FROM postern.scan_record($1, $2::jsonb) WHERE verdict IN ('warn', 'fail') OR "
    "before_verdict IN ('warn', 'fail')";
static const char current_sql[] =
    "SELECT address, \"check\", NULL, NULL, finding, verdict, text, detail, remedy FROM "
    "postern.scan_results WHERE kind = $1 AND name = $2 AND is_current AND verdict <> 'pass' ORDER "
    "BY address, id";

static enum command_status
ask(struct scan *s, const char *sql, const char *with, const char *name, bool is_shown)
{
    const char *params[] = {s->subject->kind, with};
    PGresult *r;
    enum command_status status = database_query(s->call, sql, 2, params, &r);

    if (status != COMMAND_DONE)
        return status;
    for (int row = 0; is_shown && row < PQntuples(r); row++)
        print_row(s, name, r, row);
    PQclear(r);
    return COMMAND_DONE;
}

/* Facts of the moment, that no later test takes back, and what is in JSON beyond a finding. */
static void
leave_out(json_t *result)
{
    json_t *findings = json_object_get(result, "findings");

    for (size_t i = json_array_size(findings); i-- > 0;) {
        const char *check =
            json_string_value(json_object_get(json_array_get(findings, i), "check"));

        if (check == NULL || strcmp(check, "health") == 0)
            json_array_remove(findings, i);
    }
}

/* Without the database nothing can be kept. */
static bool
on_result(void *ctx, const char *name, struct slice output)
{
    struct scan *s = ctx;
    json_t *result = json_loadb(output.p, output.n, JSON_DISABLE_EOF_CHECK, NULL);
    char *text;
    enum command_status status;

    s->tested++;
    if (!json_is_array(json_object_get(result, "findings"))) {
        call_complain("%s: the test has ended without a result", name);
        s->broken++;
        json_decref(result);
        return true;
    }
    leave_out(result);
    json_object_set_new(result, "name", json_string(name));
    text = json_dumps(result, JSON_COMPACT);
    status = ask(s, record_sql, text, name, s->only_changes);
    if (status == COMMAND_DONE && !s->only_changes)
        status = ask(s, current_sql, name, name, true);
    if (status != COMMAND_DONE) {
        s->broken++;
        s->trouble = status;
    }
    fflush(s->call->printing.out);
    free(text);
    json_decref(result);
    return s->trouble == COMMAND_DONE;
}

/* --- The whole. */

static bool
is_wanted(const char *kind, const struct subject *subject)
{
    return kind == NULL || strcmp(kind, subject->kind) == 0;
}

static enum command_status
check_kind(const char *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(subjects); i++)
        if (is_wanted(kind, &subjects[i]))
            return COMMAND_DONE;
    return call_usage("--kind: \"%.100s\" is unknown; use backend or domain", kind);
}

/* One scan at a time: two would ask twice as fast. */
static enum command_status
begin(struct call *call)
{
    PGresult *r;
    enum command_status status =
        database_query(call, "SELECT pg_try_advisory_lock(hashtext('postern.scan'))", 0, NULL, &r);

    if (status != COMMAND_DONE)
        return status;
    if (!database_bool(r, 0, 0)) {
        call_complain("another scan is running; its results will be there when it has ended");
        status = COMMAND_LATER;
    }
    PQclear(r);
    if (status == COMMAND_DONE)
        status = database_query(call, "SELECT postern.scan_tend()", 0, NULL, &r);
    if (status == COMMAND_DONE)
        PQclear(r);
    return status;
}

static void
run_jobs(struct scan *s, const PGresult *names)
{
    size_t count = (size_t)PQntuples(names);
    const char **list = mem_alloc((count + 1) * sizeof *list);
    struct scan_job_settings settings = {.noun = s->subject->noun,
                                         .verb = s->subject->verb,
                                         .names = list,
                                         .count = count,
                                         .pause_ms = s->pause_ms};

    for (size_t i = 0; i < count; i++)
        list[i] = PQgetvalue(names, (int)i, 0);
    scan_job_run(s->call, &settings, on_result, s);
    free(list);
}

static enum command_status
scan_subject(struct scan *s)
{
    const char *params[] = {s->customer};
    PGresult *names;
    enum command_status status = database_query(s->call, s->subject->sql, 1, params, &names);

    if (status != COMMAND_DONE)
        return status;
    run_jobs(s, names);
    PQclear(names);
    return s->trouble;
}

static enum command_status
finish(const struct scan *s, enum command_status status)
{
    if (status != COMMAND_DONE)
        return status;
    if (s->tested == 0) {
        call_complain("there is nothing to scan%s%s; held backends and those of suspended "
                      "customers are left out",
                      s->customer[0] ? " of customer " : "", s->customer);
        return COMMAND_NOTHING;
    }
    if (!s->call->printing.json && !s->only_changes)
        fprintf(s->call->printing.out, "%s%zu tested\n", s->shown[0] ? "\n" : "", s->tested);
    return s->any_failed ? COMMAND_FAILED : s->broken ? COMMAND_PARTLY : COMMAND_DONE;
}

enum command_status
scan(struct call *call)
{
    struct scan s = {.call = call, .only_changes = call_value(call, "changes") != NULL};
    const char *customer = call_value(call, "customer"), *kind = call_value(call, "kind");
    enum command_status status = scan_job_pause(call, &s.pause_ms);

    if (status == COMMAND_DONE)
        status = check_kind(kind);
    if (status == COMMAND_DONE && customer)
        status = field_customer_name(customer, s.customer);
    if (status == COMMAND_DONE)
        status = begin(call);
    for (size_t i = 0; status == COMMAND_DONE && i < ARRAY_SIZE(subjects); i++) {
        s.subject = &subjects[i];
        if (is_wanted(kind, s.subject))
            status = scan_subject(&s);
    }
    return finish(&s, status);
}
