/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl status: one look at everything that can be wrong, a line a part, with what helps.  Exit
 * 1 if something needs an operator.  --watch looks again every two seconds, and shows rates.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/paragraph.h"
#include "admin/status_nagios.h"
#include "admin/status_part.h"
#include "base/clock.h"

#define WATCH_S 2
#define STATE_COLUMN 12
#define DETAIL_COLUMN 25
#define CUSTOMERS_SHOWN 10
#define BACKENDS_SHOWN 10

/* What the counters were at the look before. */
struct before {
    bool is_known;
    int64_t at_ms; /* monotonic */
    uint64_t counters[SHARED_COUNTER_COUNT];
};

/* --- JSON. */

/* "acme, beta" */
static json_t *
names_as_json(const char *names)
{
    struct slice rest = slice_of(names);
    json_t *list = json_array();

    while (rest.n > 0) {
        struct slice name = slice_trim(slice_split(&rest, ','));

        json_array_append_new(list, json_stringn(name.p, name.n));
    }
    return list;
}

static json_t *
backend_as_json(const struct status *s, const struct status_backend *backend)
{
    const struct shared_health *h = &backend->health;
    bool stopped = shared_health_stops(h->state);
    char address[INET_ENDPOINT_SIZE];

    return json_pack("{s:s, s:i, s:o, s:s, s:o, s:I, s:o, s:s?, s:I, s:I, s:I, s:I}", "address",
                     inet_address_text(&h->endpoint, address), "port", (int)h->endpoint.port,
                     "customers", names_as_json(backend->customers), "state",
                     shared_health_shown(h, s->now_ms), "since_at", printer_json_time(h->since_ms),
                     "failures", (json_int_t)h->failures, "next_probe_at",
                     printer_json_time(stopped ? h->next_probe_at_ms : 0), "reason",
                     stopped ? shared_reason_text(h->reason) : NULL, "verdicts",
                     (json_int_t)h->verdicts, "accepted", (json_int_t)h->accepted, "refused_known",
                     (json_int_t)h->refused, "good_probes", (json_int_t)h->good_probes);
}

static json_t *
backends_as_json(const struct status *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->backend_count; i++)
        json_array_append_new(list, backend_as_json(s, &s->backends[i]));
    return list;
}

static json_t *
customers_as_json(const struct status *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->customers.count; i++) {
        const struct spool_tally_row *row = s->customers.rows[i];
        const struct spool_totals *t = &row->totals;

        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "customer", row->key, "messages",
                            (json_int_t)t->messages, "size_bytes", (json_int_t)t->size_bytes,
                            "oldest_received_at", printer_json_time(t->oldest_at_ms),
                            "next_attempt_at", printer_json_time(t->due ? 0 : t->next_at_ms),
                            "first_expires_at", printer_json_time(t->expires_at_ms)));
    }
    return list;
}

static json_t *
counters_as_json(const struct status *s)
{
    json_t *counters = json_object();

    for (int i = 0; s->has_counters && i < SHARED_COUNTER_COUNT; i++)
        json_object_set_new(counters, shared_counter_word((enum shared_counter)i),
                            json_integer((json_int_t)s->counters[i]));
    return counters;
}

static double
rate_of(const struct status *s, const struct before *before, enum shared_counter counter)
{
    int64_t took_ms = clock_monotonic_ms() - before->at_ms;
    uint64_t now = s->counters[counter], then = before->counters[counter];

    return now > then && took_ms > 0 ? (double)(now - then) * 1000 / (double)took_ms : 0;
}

static json_t *
rates_as_json(const struct status *s, const struct before *before)
{
    json_t *rates = json_object();

    for (int i = 0; s->has_counters && i < SHARED_COUNTER_COUNT; i++)
        json_object_set_new(rates, shared_counter_word((enum shared_counter)i),
                            json_real(rate_of(s, before, (enum shared_counter)i)));
    return rates;
}

static void
print_json(struct status *s, const struct before *before)
{
    const struct config *config = s->call->config;
    json_t *all =
        json_pack("{s:s, s:i, s:o, s:b}", "hostname", config->hostname, "node", (int)config->node,
                  "at", printer_json_time(s->now_ms), "ok", s->problems == 0);
    char *text;

    for (unsigned i = 0; i < s->part_count; i++) {
        struct status_part *part = &s->parts[i];

        json_object_set_new(part->facts, "state", json_string(part->state));
        json_object_set_new(part->facts, "needs_operator", json_boolean(part->needs_operator));
        json_object_set_new(part->facts, "detail", printer_json_text(buf_text(&part->detail)));
        json_object_set(all, part->name, part->facts);
    }
    json_object_set_new(all, "customers", customers_as_json(s));
    json_object_set_new(all, "backends", backends_as_json(s));
    json_object_set_new(all, "counters", counters_as_json(s));
    if (before->is_known)
        json_object_set_new(all, "rates", rates_as_json(s, before));
    text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(text != NULL);
    fprintf(s->call->printing.out, "%s\n", text);
    free(text);
    json_decref(all);
}

/* --- For people. */

static void
print_head(const struct status *s)
{
    const struct config *config = s->call->config;
    char when[CLOCK_LOCAL_SIZE];

    fprintf(s->call->printing.out, "%s, node %u, %s\n\n", config->hostname, (unsigned)config->node,
            clock_local(s->now_ms, when));
}

static void
print_parts(struct status *s)
{
    FILE *out = s->call->printing.out;

    for (unsigned i = 0; i < s->part_count; i++) {
        struct status_part *part = &s->parts[i];

        fprintf(out, "%-*s", STATE_COLUMN, part->name);
        printer_put_word(&s->call->printing, part->state, DETAIL_COLUMN - STATE_COLUMN);
        paragraph_wrap(out, DETAIL_COLUMN, buf_text(&part->detail));
    }
}

static void
print_counted(const struct status *s, const char *title, int decimals,
              double (*count)(const struct status *s, const struct before *before,
                              enum shared_counter counter),
              const struct before *before)
{
    struct buf text;

    buf_init(&text, 0);
    buf_printf(&text,
               "%.*f connections; messages: %.*f delivered, %.*f kept, %.*f refused; recipients: "
               "%.*f accepted, %.*f refused",
               decimals, count(s, before, SHARED_COUNTER_CONNECTIONS), decimals,
               count(s, before, SHARED_COUNTER_MESSAGES_DELIVERED), decimals,
               count(s, before, SHARED_COUNTER_MESSAGES_SPOOLED), decimals,
               count(s, before, SHARED_COUNTER_MESSAGES_REFUSED), decimals,
               count(s, before, SHARED_COUNTER_RECIPIENTS_ACCEPTED), decimals,
               count(s, before, SHARED_COUNTER_RECIPIENTS_REFUSED));
    fprintf(s->call->printing.out, "%-*s", DETAIL_COLUMN, title);
    paragraph_wrap(s->call->printing.out, DETAIL_COLUMN, buf_text(&text));
    buf_fini(&text);
}

static double
sum_of(const struct status *s, const struct before *before, enum shared_counter counter)
{
    (void)before;
    return (double)s->counters[counter];
}

static void
print_counters(const struct status *s, const struct before *before)
{
    if (!s->has_counters)
        return;
    fputc('\n', s->call->printing.out);
    print_counted(s, "Since relayd's start", 0, sum_of, before);
    if (before->is_known)
        print_counted(s, "A second", 1, rate_of, before);
}

static int
by_age(const void *a, const void *b)
{
    const struct spool_tally_row *x = *(struct spool_tally_row *const *)a;
    const struct spool_tally_row *y = *(struct spool_tally_row *const *)b;

    return (x->totals.oldest_at_ms > y->totals.oldest_at_ms) -
           (x->totals.oldest_at_ms < y->totals.oldest_at_ms);
}

static void
print_customers(struct status *s)
{
    static const struct printer_column columns[] = {
        {"customer", "SPOOL OF", PRINTER_LEFT},        {"messages", "MESSAGES", PRINTER_RIGHT},
        {"size_bytes", "SIZE", PRINTER_RIGHT},         {"oldest", "OLDEST", PRINTER_LEFT},
        {"next_attempt_at", "NEXT TRY", PRINTER_LEFT}, {"ends", "ENDS", PRINTER_LEFT},
    };
    size_t count = s->customers.count, shown = count < CUSTOMERS_SHOWN ? count : CUSTOMERS_SHOWN;
    struct printer *p;

    if (count == 0)
        return;
    fputc('\n', s->call->printing.out);
    qsort(s->customers.rows, count, sizeof *s->customers.rows, by_age);
    p = printer_new(&s->call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < shown; i++) {
        const struct spool_totals *t = &s->customers.rows[i]->totals;

        printer_text(p, s->customers.rows[i]->key);
        printer_number(p, (int64_t)t->messages);
        printer_size(p, t->size_bytes);
        printer_since(p, t->oldest_at_ms);
        spool_reader_print_wait(p, t->due ? SPOOL_WAIT_SERVER : SPOOL_WAIT_TIME, t->next_at_ms);
        printer_since(p, t->expires_at_ms);
    }
    printer_finish(&p);
    if (shown < count)
        fprintf(s->call->printing.out, "... and %zu more: relayctl spool summary\n", count - shown);
}

/* What does not end by itself comes first, and then what has lasted longest. */
static int
by_trouble(const void *a, const void *b)
{
    static const int ranks[] = {[SHARED_HEALTH_REFUSING] = -2, [SHARED_HEALTH_DOWN] = -1};
    const struct shared_health *x = &((const struct status_backend *)a)->health,
                               *y = &((const struct status_backend *)b)->health;
    int rank_x = x->state < ARRAY_SIZE(ranks) ? ranks[x->state] : 0;
    int rank_y = y->state < ARRAY_SIZE(ranks) ? ranks[y->state] : 0;

    if (rank_x != rank_y)
        return rank_x - rank_y;
    return (x->since_ms > y->since_ms) - (x->since_ms < y->since_ms);
}

static void
print_backend(struct printer *p, const struct status *s, const struct status_backend *backend)
{
    const struct shared_health *h = &backend->health;
    char endpoint[INET_ENDPOINT_SIZE];
    bool is_stopped = shared_health_stops(h->state);

    printer_text(p, inet_endpoint_text(&h->endpoint, endpoint));
    printer_word(p, shared_health_shown(h, s->now_ms));
    printer_since(p, h->since_ms);
    printer_text(p, backend->customers[0] ? backend->customers : NULL);
    if (is_stopped && h->next_probe_at_ms <= s->now_ms)
        printer_none(p, "due");
    else
        printer_since(p, is_stopped ? h->next_probe_at_ms : 0);
    printer_text(p, is_stopped ? shared_reason_text(h->reason) : NULL);
}

/* Those that are not simply up. */
static void
print_backends(const struct status *s)
{
    static const struct printer_column columns[] = {
        {"backend", "SERVER NOT UP", PRINTER_LEFT},
        {"state", "STATE", PRINTER_LEFT},
        {"since", "SINCE", PRINTER_LEFT},
        {"customers", "CUSTOMER", PRINTER_LEFT},
        {"next_probe_at", "PROBE", PRINTER_LEFT},
        {"reason", "REASON", PRINTER_PROSE | PRINTER_BELOW},
    };
    struct printer *p;
    size_t count = 0;

    if (s->backend_count > 0)
        qsort(s->backends, s->backend_count, sizeof *s->backends, by_trouble);
    p = printer_new(&s->call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < s->backend_count; i++) {
        enum shared_health_state state = s->backends[i].health.state;

        if (state == SHARED_HEALTH_UP || state == SHARED_HEALTH_UNKNOWN ||
            count++ >= BACKENDS_SHOWN)
            continue;
        print_backend(p, s, &s->backends[i]);
    }
    if (count > 0)
        fputc('\n', s->call->printing.out);
    printer_finish(&p);
    if (count > BACKENDS_SHOWN)
        fprintf(s->call->printing.out, "... and %zu more: relayctl backend list\n",
                count - BACKENDS_SHOWN);
}

static void
print_problems(const struct status *s)
{
    const char *gap = ": ";
    struct buf text;

    buf_init(&text, 0);
    buf_printf(&text, "%u of %u need%s an operator", s->problems, s->part_count,
               s->problems == 1 ? "s" : "");
    for (unsigned i = 0; i < s->part_count; i++) {
        if (!s->parts[i].needs_operator)
            continue;
        buf_printf(&text, "%s%s", gap, s->parts[i].name);
        gap = ", ";
    }
    fputc('\n', s->call->printing.out);
    paragraph_wrap(s->call->printing.out, 0, buf_text(&text));
    buf_fini(&text);
}

static void
print_text(struct status *s, const struct before *before)
{
    print_head(s);
    print_parts(s);
    print_counters(s, before);
    print_customers(s);
    print_backends(s);
    if (s->problems)
        print_problems(s);
}

/* --- The look. */

static void
look(struct status *s, struct call *call)
{
    *s = (struct status){.call = call, .now_ms = clock_wall_ms()};
    call->printing.now_ms = s->now_ms;
    status_look_daemons(s);
    status_look_relay(s);
    status_look_database(s);
    status_look_spool(s);
    status_look_host(s);
    for (unsigned i = 0; i < s->part_count; i++)
        s->problems += s->parts[i].needs_operator;
}

static void
status_fini(struct status *s)
{
    for (unsigned i = 0; i < s->part_count; i++) {
        json_decref(s->parts[i].facts);
        buf_fini(&s->parts[i].detail);
    }
    spool_tally_fini(&s->customers);
    free(s->backends);
    database_disconnect(s->call);
}

/* Returns how many parts need an operator. */
static unsigned
show(struct call *call, struct before *before)
{
    unsigned problems;
    struct status s;

    look(&s, call);
    if (call->printing.json)
        print_json(&s, before);
    else
        print_text(&s, before);
    fflush(call->printing.out);
    before->is_known = s.has_counters;
    before->at_ms = clock_monotonic_ms();
    memcpy(before->counters, s.counters, sizeof s.counters);
    problems = s.problems;
    status_fini(&s);
    return problems;
}

/* How many lines the terminal has; 0: not known. */
static unsigned
height_of(FILE *out)
{
    struct winsize size = {0};

    return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

/* Over what stands there, so that nothing flickers, and no more than there is room for: what comes
 * first must not leave the screen. */
static void
repaint(FILE *out, const char *text, unsigned height)
{
    unsigned lines = 0;

    fputs("\033[H", out);
    for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        bool is_last = ++lines == height || end[1] == '\0';

        if (is_last && end[1] != '\0')
            fputs("...\033[K", out);
        else
            fprintf(out, "%.*s\033[K%s", (int)(end - line), line, is_last ? "" : "\n");
        if (is_last)
            break;
    }
    fputs("\033[J", out);
    fflush(out);
}

static void
show_on_screen(struct call *call, struct before *before)
{
    FILE *terminal = call->printing.out;
    char *text = NULL;
    size_t size;

    call->printing.out = open_memstream(&text, &size);
    CHECK(call->printing.out != NULL);
    show(call, before);
    fclose(call->printing.out);
    call->printing.out = terminal;
    repaint(terminal, text, height_of(terminal));
    free(text);
}

/* Until it is interrupted, or nobody reads any more. */
static enum command_status
watch(struct call *call, struct before *before)
{
    bool is_screen = isatty(fileno(call->printing.out)) && !call->printing.json;

    if (is_screen)
        fputs("\033[2J", call->printing.out);
    for (;;) {
        if (is_screen)
            show_on_screen(call, before);
        else
            show(call, before);
        if (ferror(call->printing.out))
            return COMMAND_FAILED;
        sleep(WATCH_S);
    }
}

/* The exit statuses of plugins are no others' (3 is unknown). */
static enum command_status
show_to_nagios(struct call *call)
{
    struct status s;
    int state;

    look(&s, call);
    state = status_nagios(&s);
    status_fini(&s);
    return (enum command_status)state;
}

enum command_status
status_not_looked(const struct call *call, enum command_status why)
{
    if (call_value(call, "nagios") == NULL)
        return why;
    fprintf(call->printing.out, "POSTERN UNKNOWN - relayctl could not look: its standard error "
                                "says why\n");
    return COMMAND_NOTHING;
}

enum command_status
status_show(struct call *call)
{
    struct before before = {0};

    if (call_value(call, "nagios") && (call_value(call, "watch") || call->printing.json))
        return call_usage("--nagios is a line by itself: without --watch and --json");
    if (call_value(call, "nagios"))
        return show_to_nagios(call);
    if (call_value(call, "watch"))
        return watch(call, &before);
    return show(call, &before) > 0 ? COMMAND_FAILED : COMMAND_DONE;
}
