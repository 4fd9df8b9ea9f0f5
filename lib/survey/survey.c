/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The machine: facts, each asked for once and kept for the survey's life, and the runs of the
 * judge.  Every fact has a deadline of its own, the survey another.  A run that follows on an
 * answer is made after the turn, so that answers that come together make one run.
 */
#include "survey/survey.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/conn.h"
#include "survey/survey_fetch.h"
#include "survey/survey_finding.h"

#define FACTS_MAX 512 /* a hostile domain gets no more of our time */
#define GREETING_MAX 1024

struct fact {
    struct survey *survey;
    struct fact *next;
    enum { RECORDS, GREETING, PAGE } kind;
    char *name; /* of records; the host of a page */
    enum dns_type type;
    struct inet_endpoint endpoint;
    bool is_known;
    struct survey_answer answer;
    struct dns_record *records; /* answer.items, ours */
    enum survey_greeting greeting;
    bool is_connected;
    struct dns_lookup *lookup;
    struct conn *conn;
    struct survey_page page;
    char *content; /* page.content, ours */
    struct survey_fetch *fetch;
    struct loop_timer deadline;
};

struct survey {
    const struct survey_world *world;
    struct loop *loop;
    char *subject;
    char ours[SURVEY_TEXT_SIZE];
    survey_judge judge;
    const void *question;
    void (*on_done)(void *ctx);
    void *ctx;
    struct fact *facts;
    unsigned fact_count, pending;
    bool is_over; /* nothing is asked any more */
    struct survey_findings findings;
    struct loop_timer kick, end;
};

/* --- Facts that arrive. */

static void
fact_end(struct fact *f)
{
    loop_timer_cancel(&f->deadline);
    dns_lookup_cancel(&f->lookup);
    conn_close(&f->conn);
    survey_fetch_cancel(&f->fetch);
}

static void
known(struct fact *f)
{
    fact_end(f);
    f->is_known = true;
    f->survey->pending--;
    loop_timer_start(&f->survey->kick, 0);
}

static void
on_late(void *ctx)
{
    struct fact *f = ctx;

    if (f->kind == GREETING)
        f->greeting = f->is_connected ? SURVEY_GREETING_OTHER : SURVEY_GREETING_NONE;
    known(f);
}

static struct slice
copy_data(struct slice data)
{
    char *copy = mem_alloc(data.n + 1);

    if (data.n > 0)
        memcpy(copy, data.p, data.n);
    return (struct slice){copy, data.n};
}

static void
on_records(void *ctx, const struct dns_records *found)
{
    struct fact *f = ctx;

    f->lookup = NULL;
    f->answer = (struct survey_answer){
        .result = found->answer.is_stale ? DNS_TEMPORARY : found->answer.result,
        .is_alias = found->is_alias,
        .is_authentic = found->answer.is_authentic,
    };
    if (f->answer.result == DNS_OK && found->count > 0) {
        f->records = mem_alloc(found->count * sizeof *f->records);
        for (unsigned i = 0; i < found->count; i++) {
            f->records[i] = found->items[i];
            f->records[i].name = mem_strdup(found->items[i].name ? found->items[i].name : "");
            f->records[i].data = copy_data(found->items[i].data);
        }
        f->answer.count = found->count;
        f->answer.items = f->records;
    }
    known(f);
}

/* The first line is enough; we leave politely. */
static void
read_greeting(struct fact *f, bool is_all)
{
    struct slice text = buf_slice(conn_input(f->conn));

    if (!is_all && memchr(text.p, '\n', text.n) == NULL && text.n < GREETING_MAX)
        return;
    f->greeting =
        text.n >= 4 && memcmp(text.p, "220", 3) == 0 ? SURVEY_GREETING_OK : SURVEY_GREETING_OTHER;
    buf_add_text(conn_output(f->conn), "QUIT\r\n");
    conn_flush_now(f->conn);
    known(f);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct fact *f = ctx;

    if (event == CONN_CONNECTED) {
        f->is_connected = true;
    } else if (event == CONN_INPUT) {
        read_greeting(f, false);
    } else if (event == CONN_EOF) {
        read_greeting(f, true);
    } else if (event == CONN_FAILED || event == CONN_TIMEOUT) {
        on_late(f);
    }
}

static void
on_page(void *ctx, const struct survey_page *page)
{
    struct fact *f = ctx;

    f->page = *page;
    f->content = (char *)copy_data(page->content).p;
    f->page.content.p = f->content;
    known(f);
}

/* --- Facts that are asked for. */

static struct fact *
fact_find(struct survey *s, int kind, const char *name, enum dns_type type,
          const struct inet_endpoint *endpoint)
{
    for (struct fact *f = s->facts; f; f = f->next)
        if ((int)f->kind == kind && f->type == type && (!name || strcmp(f->name, name) == 0) &&
            (!endpoint || inet_endpoint_equal(&f->endpoint, endpoint)))
            return f;
    return NULL;
}

static struct fact *
fact_add(struct survey *s, int kind, const char *name)
{
    struct fact *f;

    if (s->is_over || s->fact_count == FACTS_MAX)
        return NULL;
    f = mem_alloc(sizeof *f);
    f->survey = s;
    f->kind = kind;
    f->name = mem_strdup(name);
    f->answer.result = DNS_TEMPORARY;
    f->next = s->facts;
    s->facts = f;
    s->fact_count++;
    s->pending++;
    loop_timer_init(&f->deadline, s->loop, on_late, f);
    loop_timer_start(&f->deadline, SURVEY_ANSWER_MS);
    return f;
}

const struct survey_answer *
survey_ask(struct survey *s, const char *name, enum dns_type type)
{
    static const struct survey_answer nothing = {.result = DNS_TEMPORARY};
    struct fact *f = fact_find(s, RECORDS, name, type, NULL);

    if (f)
        return &f->answer;
    f = fact_add(s, RECORDS, name);
    if (f == NULL)
        return &nothing;
    f->type = type;
    f->lookup = dns_lookup_records(s->world->dns, name, type, on_records, f);
    return &f->answer;
}

static const struct inet_endpoint *
source_for(const struct survey *s, const struct inet_endpoint *to)
{
    const struct inet_endpoint *own = &s->world->config->source_address;

    return own->family == to->family ? own : NULL;
}

enum survey_greeting
survey_ask_greeting(struct survey *s, const struct inet_endpoint *endpoint)
{
    struct fact *f = fact_find(s, GREETING, NULL, 0, endpoint);

    if (f)
        return f->greeting;
    f = fact_add(s, GREETING, NULL);
    if (f == NULL)
        return SURVEY_GREETING_UNKNOWN;
    f->endpoint = *endpoint;
    if (conn_connect(s->loop, endpoint, source_for(s, endpoint), SURVEY_ANSWER_MS, on_conn, f,
                     &f->conn) < 0) {
        f->greeting = SURVEY_GREETING_NONE;
        known(f);
    }
    return f->greeting;
}

static struct tls_client *
get_tls(const struct survey *s)
{
    struct buf problems;

    buf_init(&problems, 0);
    if (*s->world->tls == NULL &&
        tls_client_new(s->world->config->backend_ca_file, &problems, s->world->tls) < 0)
        *s->world->tls = NULL;
    buf_fini(&problems);
    return *s->world->tls;
}

void
survey_ask_page(struct survey *s, const struct inet_endpoint *address, const char *host,
                const char *path, struct survey_page *page)
{
    struct fact *f = fact_find(s, PAGE, host, 0, NULL);
    struct tls_client *tls;

    *page = (struct survey_page){.state = SURVEY_PAGE_UNKNOWN, .why = "it does not answer in time"};
    if (f)
        *page = f->page;
    tls = f ? NULL : get_tls(s);
    if (tls == NULL || (f = fact_add(s, PAGE, host)) == NULL)
        return;
    f->page = *page;
    f->fetch =
        survey_fetch_start(s->loop, tls, address, source_for(s, address), host, path, on_page, f);
}

/* --- Runs. */

void
survey_find(struct survey *s, enum survey_finding_id id, const char *host, const char *fmt, ...)
{
    char detail[SURVEY_TEXT_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    survey_findings_add(&s->findings, id,
                        &(struct survey_words){s->subject, host, s->ours, detail});
}

static void
run(void *ctx)
{
    struct survey *s = ctx;

    survey_findings_clear(&s->findings);
    s->judge(s, s->question);
    if (s->pending > 0)
        return;
    loop_timer_cancel(&s->kick);
    loop_timer_cancel(&s->end);
    s->on_done(s->ctx);
}

/* What is still being fetched is not known. */
static void
on_end(void *ctx)
{
    struct survey *s = ctx;

    s->is_over = true;
    for (struct fact *f = s->facts; f; f = f->next)
        if (!f->is_known)
            known(f);
}

static void
list_ours(struct survey *s)
{
    const struct config_words *names = &s->world->config->mx_names;
    size_t n = 0;

    for (size_t i = 0; i < names->count && n < sizeof s->ours - 1; i++)
        n += (size_t)snprintf(s->ours + n, sizeof s->ours - n, "%s%s", i ? ", " : "",
                              names->items[i]);
}

struct survey *
survey_start(const struct survey_world *world, const char *subject, survey_judge judge,
             const void *question, void (*on_done)(void *ctx), void *ctx)
{
    struct survey *s = mem_alloc(sizeof *s);

    *s = (struct survey){
        .world = world,
        .loop = dns_loop(world->dns),
        .subject = mem_strdup(subject),
        .judge = judge,
        .question = question,
        .on_done = on_done,
        .ctx = ctx,
    };
    list_ours(s);
    loop_timer_init(&s->kick, s->loop, run, s);
    loop_timer_init(&s->end, s->loop, on_end, s);
    loop_timer_start(&s->kick, 0);
    loop_timer_start(&s->end, SURVEY_MS);
    return s;
}

static void
fact_free(struct fact *f)
{
    fact_end(f);
    for (unsigned i = 0; i < f->answer.count; i++) {
        free((char *)f->records[i].name);
        free((char *)f->records[i].data.p);
    }
    free(f->records);
    free(f->content);
    free(f->name);
    free(f);
}

static void
release(void *ctx)
{
    struct survey *s = ctx;

    for (struct fact *f = s->facts, *next; f; f = next) {
        next = f->next;
        fact_free(f);
    }
    survey_findings_clear(&s->findings);
    free(s->subject);
    free(s);
}

void
survey_free(struct survey **survey)
{
    struct survey *s = *survey;

    *survey = NULL;
    if (s == NULL)
        return;
    loop_timer_cancel(&s->kick);
    loop_timer_cancel(&s->end);
    for (struct fact *f = s->facts; f; f = f->next)
        fact_end(f);
    loop_defer(s->loop, release, s);
}

unsigned
survey_count(const struct survey *s)
{
    return s->findings.count;
}

const struct survey_finding *
survey_item(const struct survey *s, unsigned i)
{
    return &s->findings.items[i];
}

unsigned
survey_count_of(const struct survey *s, enum finding_verdict verdict)
{
    unsigned count = 0;

    for (unsigned i = 0; i < s->findings.count; i++)
        count += survey_rows[s->findings.items[i].id].verdict == verdict;
    return count;
}

const struct survey_world *
survey_world(const struct survey *s)
{
    return s->world;
}

const char *
survey_subject(const struct survey *s)
{
    return s->subject;
}
