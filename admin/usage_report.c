/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl report: what was counted of each customer, by day or month.  PostgreSQL adds up; it is
 * told of the days and their ends, since the service's time zone is ours to know.
 *
 * Several nodes: sums are sums; an outage that two of them saw is one; peaks of a day are added,
 * though they may have come at different hours.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/field.h"
#include "admin/missing.h"
#include "admin/until.h"
#include "base/clock.h"
#include "base/parse.h"
#include "db/db_days.h"

#define DAY_MS INT64_C(86400000)
#define DAYS_MAX 4000
#define DAYS_DEFAULT 7

/* $1, $3: days and their ends (db_days.h), $2: a customer or NULL, $4: "day" or "month". */
#define DAYS_SQL                                                                                 \
    "WITH days AS MATERIALIZED (SELECT day, date_trunc($4, day::timestamp)::date AS period, n, " \
    "($3::timestamptz[])[n] AS begins, ($3::timestamptz[])[n + 1] AS ends "                      \
    "FROM unnest($1::date[]) WITH ORDINALITY d(day, n)) "
/* All days from the first to the last. */
#define BETWEEN_SQL                                                                \
    "WHERE day BETWEEN ($1::date[])[1] AND ($1::date[])[cardinality($1::date[])] " \
    "AND ($2::text IS NULL OR customer = $2) "
#define OF_DAYS_SQL "JOIN days USING (day) " BETWEEN_SQL
/* Ends of mail that was kept have class 0, and are no refusals. */
#define ENDED_SQL "event = 'ended'"
#define CLASS_SQL "CASE WHEN class IN (2, 4) THEN class WHEN " ENDED_SQL " THEN 0 ELSE 5 END"

/* $5: are reasons wanted?  100,000 customers have a million rows a month: they are added up without
 * being sorted, and a sum of bigint that is not made one again is of a slower kind. */
static const char report_sql[] = DAYS_SQL
    ", mail AS (SELECT period, customer_id, max(customer COLLATE \"C\") AS customer, "
    "sum(events) FILTER (WHERE class = 2) AS messages, "
    "sum(bytes) FILTER (WHERE class = 2) AS bytes, "
    "sum(recipients) FILTER (WHERE class = 2) AS recipients, sum(kept_events) AS kept_events, "
    "sum(kept_recipients) AS kept_recipients, "
    "sum(events) FILTER (WHERE " CLASS_SQL " = 5) AS refused, "
    "sum(events) FILTER (WHERE class = 4) AS deferred, "
    "sum(recipients) FILTER (WHERE " ENDED_SQL " AND verdict = 'delivered') AS later, "
    "sum(recipients) FILTER (WHERE " ENDED_SQL " AND verdict = 'expired') AS expired, "
    "sum(recipients) FILTER (WHERE " ENDED_SQL " AND verdict = 'refused') AS bounced, "
    "sum(recipients) FILTER (WHERE " ENDED_SQL " AND verdict = 'returned') AS returned, "
    "sum(recipients) FILTER (WHERE " ENDED_SQL " AND verdict = 'removed') AS removed "
    "FROM postern.usage_daily " OF_DAYS_SQL "GROUP BY 1, 2), "
    "reasons AS (SELECT period, customer_id, "
    "json_object_agg(verdict, n) FILTER (WHERE class = 5) AS refusals, "
    "json_object_agg(verdict, n) FILTER (WHERE class = 4) AS deferrals "
    "FROM (SELECT period, customer_id, " CLASS_SQL " AS class, verdict, sum(events)::bigint AS n "
    "FROM postern.usage_daily " OF_DAYS_SQL "AND class <> 2 AND NOT " ENDED_SQL " AND $5::boolean "
    "GROUP BY 1, 2, 3, 4) verdicts GROUP BY 1, 2), "
    "spool AS (SELECT period, customer_id, max(customer) AS customer, "
    "max(messages) AS peak_messages, max(bytes) AS peak_bytes FROM ("
    "SELECT day, period, customer_id, max(customer) AS customer, sum(peak_messages) AS messages, "
    "sum(peak_bytes) AS bytes FROM postern.usage_spool " OF_DAYS_SQL "GROUP BY 1, 2, 3) peaks "
    "GROUP BY 1, 2), "
    "spans AS (SELECT customer_id, max(customer) AS customer, "
    "unnest(range_agg(tstzrange(began_at, greatest(began_at, coalesce(ended_at, now()))))) AS span "
    "FROM postern.usage_outages "
    "WHERE began_at < ($3::timestamptz[])[cardinality($3::timestamptz[])] "
    "AND coalesce(ended_at, now()) > ($3::timestamptz[])[1] "
    "AND ($2::text IS NULL OR customer = $2) GROUP BY customer_id), "
    /* What waits now, by the day when it came. */
    "waits AS (SELECT period, customer_id, max(customer) AS customer, "
    "sum(open_recipients) AS recipients FROM (SELECT width_bucket(received_at, "
    "$3::timestamptz[]) AS n, customer_id, customer, open_recipients FROM postern.spool_index "
    "WHERE customer_id > 0 AND ($2::text IS NULL OR customer = $2)) i JOIN days USING (n) "
    "GROUP BY 1, 2), "
    "outages AS (SELECT period, customer_id, max(customer) AS customer, "
    "count(*) FILTER (WHERE lower(span) >= begins) AS outages, "
    "sum(extract(epoch FROM least(upper(span), ends) - greatest(lower(span), begins)))::bigint "
    "AS seconds FROM spans JOIN days ON lower(span) < ends AND upper(span) > begins "
    "GROUP BY 1, 2) "
    "SELECT to_char(period, CASE $4 WHEN 'day' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM' END), "
    "coalesce(m.customer, s.customer, o.customer, w.customer) AS customer, customer_id, "
    "m.messages, m.bytes, m.recipients, m.kept_events, m.kept_recipients, m.later, m.expired, "
    "m.bounced, m.returned, m.removed, w.recipients, m.refused, r.refusals, m.deferred, "
    "r.deferrals, o.outages, o.seconds, s.peak_messages, s.peak_bytes "
    "FROM mail m LEFT JOIN reasons r USING (period, customer_id) "
    "FULL JOIN spool s USING (period, customer_id) "
    "FULL JOIN outages o USING (period, customer_id) "
    "FULL JOIN waits w USING (period, customer_id) "
    "ORDER BY period, coalesce(m.customer, s.customer, o.customer, w.customer) COLLATE \"C\", "
    "customer_id";

static const char reasons_sql[] =
    "SELECT verdict, sum(CASE " CLASS_SQL " WHEN 5 THEN events ELSE 0 END), "
    "sum(CASE class WHEN 4 THEN events ELSE 0 END) FROM postern.usage_daily " BETWEEN_SQL
    "AND class <> 2 AND NOT " ENDED_SQL " GROUP BY 1 ORDER BY sum(events) DESC, 1";

/* --- What is asked. */

static bool
is_for_programs(const struct call *call)
{
    return call->printing.json || call->printing.csv;
}

struct asked {
    int64_t from_ms, to_ms; /* moments of the first and the last day */
    struct db_days days;
    const char *params[5];
};

/* In any moment of the day that is meant. */
static enum command_status
read_day(const struct call *call, const char *option, int64_t *at_ms)
{
    const char *text = call_value(call, option);
    char first_day[16];
    int64_t age_ms;

    if (text == NULL)
        return COMMAND_DONE;
    snprintf(first_day, sizeof first_day, "%.10s-01", text);
    if (parse_duration_ms(slice_of(text), &age_ms) == ERR_OK && age_ms < DAYS_MAX * DAY_MS)
        *at_ms = call->printing.now_ms - age_ms;
    else if ((strlen(text) != 10 || until_parse_moment(text, at_ms) != ERR_OK) &&
             (strlen(text) != 7 || until_parse_moment(first_day, at_ms) != ERR_OK))
        return call_usage("--%s: \"%s\" is no day; use 2026-12-01, 2026-12 (its first day) or 30d "
                          "(ago)",
                          option, text);
    return COMMAND_DONE;
}

static int64_t
first_of_month(int64_t at_ms)
{
    while (clock_local_day(at_ms) % 100 != 1)
        at_ms = db_days_start_ms(at_ms) - 1;
    return at_ms;
}

static enum command_status
read_by(const struct call *call, bool *by_day)
{
    const char *by = call_value(call, "by");

    *by_day = by != NULL && strcmp(by, "day") == 0;
    if (by == NULL || *by_day || strcmp(by, "month") == 0)
        return COMMAND_DONE;
    return call_usage("--by: \"%s\" is unknown; use day or month", by);
}

static enum command_status
read_span(const struct call *call, bool by_day, struct asked *asked)
{
    int64_t until_ms = 0, now_ms = call->printing.now_ms;
    enum command_status status;

    asked->from_ms = by_day ? now_ms - (DAYS_DEFAULT - 1) * DAY_MS : first_of_month(now_ms);
    asked->to_ms = now_ms;
    status = read_day(call, "since", &asked->from_ms);
    if (status == COMMAND_DONE)
        status = read_day(call, "until", &until_ms);
    if (status != COMMAND_DONE)
        return status;
    if (until_ms != 0)
        asked->to_ms = db_days_start_ms(until_ms) - 1;
    if (asked->from_ms > asked->to_ms)
        return call_usage("no day lies between --since and --until: --until names the day behind "
                          "the last one");
    if (asked->to_ms - asked->from_ms > DAYS_MAX * DAY_MS)
        return call_usage("--since and --until are more than %d days apart", DAYS_MAX);
    return COMMAND_DONE;
}

static enum command_status
read_asked(const struct call *call, struct asked *asked)
{
    bool by_day = false;
    enum command_status status = read_by(call, &by_day);

    if (status == COMMAND_DONE)
        status = read_span(call, by_day, asked);
    if (status != COMMAND_DONE)
        return status;
    db_days_init(&asked->days, asked->from_ms, asked->to_ms);
    asked->params[0] = buf_text(&asked->days.days);
    asked->params[1] = call_value(call, "customer");
    asked->params[2] = buf_text(&asked->days.starts);
    asked->params[3] = by_day ? "day" : "month";
    asked->params[4] = is_for_programs(call) ? "true" : "false";
    return COMMAND_DONE;
}

/* --- The rows. */

#define REASONS_MAX 200 /* of a customer: more than there are verdicts */

struct reason {
    const char *word;
    json_int_t count;
};

static void
put_text(struct printer *p, const PGresult *rows, int row, int column)
{
    printer_text(p, database_text(rows, row, column));
}

static void
put_number(struct printer *p, const PGresult *rows, int row, int column)
{
    printer_number(p, database_number(rows, row, column));
}

/* Most rows have none of it. */
static void
put_trouble(struct printer *p, const PGresult *rows, int row, int column)
{
    put_number(p, rows, row, column);
    printer_usual(p, database_number(rows, row, column) == 0);
}

static void
put_size(struct printer *p, const PGresult *rows, int row, int column)
{
    printer_size(p, (uint64_t)database_number(rows, row, column));
}

/* The largest first, then by name. */
static int
by_count(const void *a, const void *b)
{
    const struct reason *x = a, *y = b;

    return x->count != y->count ? (x->count < y->count) - (x->count > y->count)
                                : strcmp(x->word, y->word);
}

static void
put_counts(struct printer *p, const PGresult *rows, int row, int column)
{
    const char *text = database_text(rows, row, column), *word;
    json_t *counts = text ? json_loads(text, 0, NULL) : NULL, *sorted = json_object(), *count;
    struct reason reasons[REASONS_MAX];
    size_t n = 0;

    json_object_foreach(counts, word, count)
    {
        if (n < REASONS_MAX)
            reasons[n++] = (struct reason){word, json_integer_value(count)};
    }
    qsort(reasons, n, sizeof *reasons, by_count);
    for (size_t i = 0; i < n; i++)
        json_object_set_new(sorted, reasons[i].word, json_integer(reasons[i].count));
    json_decref(counts);
    printer_value(p, sorted, "");
}

static void
put_duration(struct printer *p, const PGresult *rows, int row, int column)
{
    long long seconds = database_number(rows, row, column);
    char text[32] = "-";

    if (seconds >= 86400)
        snprintf(text, sizeof text, "%lldd %lldh", seconds / 86400, seconds / 3600 % 24);
    else if (seconds >= 3600)
        snprintf(text, sizeof text, "%lldh %lldm", seconds / 3600, seconds / 60 % 60);
    else if (seconds > 0)
        snprintf(text, sizeof text, "%lldm %llds", seconds / 60, seconds % 60);
    printer_value(p, json_integer(seconds), text);
}

/* In the order of the query's columns. */
static const struct {
    struct printer_column column;
    void (*put)(struct printer *p, const PGresult *rows, int row, int column);
} report_columns[] = {
    {{"period", "PERIOD", PRINTER_LEFT}, put_text},
    {{"customer", "CUSTOMER", PRINTER_LEFT}, put_text},
    {{"customer_id", NULL, PRINTER_RIGHT}, put_number}, /* no title: not for people */
    {{"messages", "MESSAGES", PRINTER_RIGHT}, put_number},
    {{"bytes", "SIZE", PRINTER_RIGHT}, put_size},
    {{"recipients", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_messages", "KEPT", PRINTER_RIGHT}, put_number},
    {{"kept_recipients", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_delivered", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_expired", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_refused", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_returned", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_removed", NULL, PRINTER_RIGHT}, put_number},
    {{"kept_waiting", NULL, PRINTER_RIGHT}, put_number},
    {{"refused", "REFUSED", PRINTER_RIGHT}, put_number},
    {{"refusals", NULL, PRINTER_LEFT}, put_counts},
    {{"deferred", "LATER", PRINTER_RIGHT}, put_trouble},
    {{"deferrals", NULL, PRINTER_LEFT}, put_counts},
    {{"outages", NULL, PRINTER_RIGHT}, put_number},
    {{"outage_seconds", "DOWN", PRINTER_RIGHT}, put_duration},
    {{"peak_messages", "PEAK", PRINTER_RIGHT}, put_trouble},
    {{"peak_bytes", NULL, PRINTER_RIGHT}, put_size},
};

static void
print_rows(const struct call *call, const PGresult *rows)
{
    bool for_programs = is_for_programs(call);
    struct printer_column columns[ARRAY_SIZE(report_columns)];
    unsigned count = 0;
    struct printer *p;

    for (size_t i = 0; i < ARRAY_SIZE(report_columns); i++)
        if (for_programs || report_columns[i].column.title != NULL)
            columns[count++] = report_columns[i].column;
    p = printer_new(&call->printing, PRINTER_LIST, columns, count);
    for (int row = 0; row < PQntuples(rows); row++)
        for (size_t i = 0; i < ARRAY_SIZE(report_columns); i++)
            if (for_programs || report_columns[i].column.title != NULL)
                report_columns[i].put(p, rows, row, (int)i);
    printer_finish(&p);
}

static const struct printer_column reason_columns[] = {
    {"reason", "REASON", PRINTER_LEFT},
    {"refused", "REFUSED", PRINTER_RIGHT},
    {"deferred", "LATER", PRINTER_RIGHT},
};

/* In the order of the query's columns. */
static const char *const ends[] = {"delivered later", "expired", "refused later",
                                   "returned",        "removed", "waiting now"};

static const struct printer_column end_columns[] = {
    {"kept", "KEPT MAIL", PRINTER_LEFT},
    {"recipients", "RECIPIENTS", PRINTER_RIGHT},
};

static int
column_of(const char *name)
{
    int column = 0;

    while (strcmp(report_columns[column].column.name, name) != 0)
        column++;
    return column;
}

static int64_t
sum_of(const PGresult *rows, int column)
{
    int64_t sum = 0;

    for (int row = 0; row < PQntuples(rows); row++)
        sum += database_number(rows, row, column);
    return sum;
}

/* For people, of all rows together: a row has no room for it. */
static void
print_ends(const struct call *call, const PGresult *rows)
{
    int first = column_of("kept_delivered");
    int64_t sums[ARRAY_SIZE(ends)], any = sum_of(rows, column_of("kept_recipients"));
    struct printer *p;

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        any += sums[i] = sum_of(rows, first + (int)i);
    if (any == 0)
        return;
    fputc('\n', call->printing.out);
    p = printer_new(&call->printing, PRINTER_LIST, end_columns, ARRAY_SIZE(end_columns));
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (sums[i] > 0) {
            printer_text(p, ends[i]);
            printer_number(p, sums[i]);
        }
    printer_finish(&p);
}

/* The same. */
static enum command_status
print_reasons(struct call *call, const struct asked *asked)
{
    enum command_status status;
    struct printer *p;
    PGresult *reasons;

    status = database_query(call, reasons_sql, 2, asked->params, &reasons);
    if (status == COMMAND_DONE && PQntuples(reasons) > 0) {
        fputc('\n', call->printing.out);
        p = printer_new(&call->printing, PRINTER_LIST, reason_columns, ARRAY_SIZE(reason_columns));
        for (int row = 0; row < PQntuples(reasons); row++) {
            printer_text(p, database_text(reasons, row, 0));
            printer_number(p, database_number(reasons, row, 1));
            printer_number(p, database_number(reasons, row, 2));
        }
        printer_finish(&p);
    }
    PQclear(reasons);
    return status;
}

static enum command_status
say_nothing(const struct call *call, const struct asked *asked)
{
    char from[DB_DAYS_TEXT_SIZE], to[DB_DAYS_TEXT_SIZE];

    db_days_text(clock_local_day(asked->from_ms), from);
    db_days_text(clock_local_day(asked->to_ms), to);
    if (asked->params[1] == NULL) {
        call_complain("nothing was counted from %s to %s", from, to);
        return COMMAND_DONE;
    }
    call_complain("nothing was counted of customer %s from %s to %s; relayctl customer list has "
                  "the names, and --since goes further back",
                  call_value(call, "customer"), from, to);
    missing_say(call, MISSING_CUSTOMER, call_value(call, "customer"));
    return COMMAND_NOTHING;
}

static enum command_status
ask_and_print(struct call *call, const struct asked *asked)
{
    enum command_status status;
    PGresult *rows;

    /* PostgreSQL cannot know that a month of a customer is one row, and would sort all days. */
    PQclear(database_try(call,
                         "SELECT set_config('work_mem', '64MB', false), set_config('enable_sort', "
                         "CASE $1 WHEN 'month' THEN 'off' ELSE 'on' END, false)",
                         1, &asked->params[3]));
    status = database_query(call, report_sql, ARRAY_SIZE(asked->params), asked->params, &rows);
    if (status == COMMAND_DONE && (PQntuples(rows) > 0 || call->printing.csv))
        print_rows(call, rows);
    if (status == COMMAND_DONE && PQntuples(rows) == 0)
        status = say_nothing(call, asked);
    else if (status == COMMAND_DONE && !is_for_programs(call)) {
        print_ends(call, rows);
        status = print_reasons(call, asked);
    }
    PQclear(rows);
    return status;
}

enum command_status
report_usage(struct call *call)
{
    struct asked asked = {0};
    enum command_status status;

    call->printing.csv = call_value(call, "csv") != NULL;
    if (call->printing.csv && call->printing.json)
        return call_usage("--csv and --json exclude each other");
    status = read_asked(call, &asked);
    if (status != COMMAND_DONE)
        return status;
    status = ask_and_print(call, &asked);
    db_days_fini(&asked.days);
    return status;
}
