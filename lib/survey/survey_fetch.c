/* SPDX-License-Identifier: BSD-2-Clause
 *
 * HTTP/1.0, so that the answer ends with the connection and comes in no chunks.
 */
#include "survey/survey_fetch.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/conn.h"

#define STEP_MS SURVEY_ANSWER_MS

struct survey_fetch {
    struct loop *loop;
    struct tls_client *tls;
    struct inet_endpoint to;
    char *host, *path;
    struct conn *conn;
    bool is_secure; /* TLS stands */
    struct loop_timer failed;
    void (*on_done)(void *ctx, const struct survey_page *page);
    void *ctx;
};

/* --- An answer. */

static bool
split_head(struct slice answer, struct slice *head, struct slice *body)
{
    for (size_t n = 0; n + 4 <= answer.n; n++) {
        if (memcmp(answer.p + n, "\r\n\r\n", 4) != 0)
            continue;
        *head = (struct slice){answer.p, n};
        *body = (struct slice){answer.p + n + 4, answer.n - n - 4};
        return true;
    }
    return false;
}

/* The value of a header field; n 0: it is not there. */
static struct slice
field_of(struct slice head, const char *name)
{
    while (head.p != NULL) {
        struct slice value = slice_split(&head, '\n'), key = slice_split(&value, ':');

        if (value.p != NULL && slice_equal_nocase(slice_trim(key), slice_of(name))) {
            if (value.n > 0 && value.p[value.n - 1] == '\r')
                value.n--;
            return slice_trim(value);
        }
    }
    return SLICE("");
}

static bool
content_length(struct slice head, size_t *length)
{
    struct slice text = field_of(head, "content-length");

    *length = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || *length > SURVEY_FETCH_MAX)
            return false;
        *length = *length * 10 + (size_t)(text.p[i] - '0');
    }
    return text.n > 0;
}

bool
survey_fetch_is_whole(struct slice answer)
{
    struct slice head, body;
    size_t length;

    return split_head(answer, &head, &body) && content_length(head, &length) && body.n >= length;
}

static void
refuse(struct survey_page *page, const char *why)
{
    page->state = SURVEY_PAGE_REFUSED;
    snprintf(page->why, sizeof page->why, "%s", why);
}

void
survey_fetch_read(struct slice answer, struct survey_page *page)
{
    struct slice head, status;
    size_t length;
    char code[4];

    *page = (struct survey_page){.state = SURVEY_PAGE_OK};
    if (!split_head(answer, &head, &page->content)) {
        refuse(page, "the answer is no HTTP");
        return;
    }
    status = head;
    (void)slice_split(&status, ' ');
    if (!slice_starts_nocase(head, SLICE("HTTP/1.")) || status.p == NULL || status.n < 3) {
        refuse(page, "the answer is no HTTP");
    } else if (memcmp(status.p, "200", 3) != 0) {
        snprintf(code, sizeof code, SLICE_FMT, 3, status.p);
        page->state = SURVEY_PAGE_REFUSED;
        snprintf(page->why, sizeof page->why, "it answers with the status %s", code);
    } else if (field_of(head, "transfer-encoding").n > 0) {
        refuse(page, "it answers HTTP/1.0 in chunks");
    } else if (content_length(head, &length) && length < page->content.n) {
        page->content.n = length;
    } else if (content_length(head, &length) && length > page->content.n) {
        refuse(page, "the answer was cut off");
    }
}

/* --- A connection. */

static void
finish(struct survey_fetch *f, const struct survey_page *page)
{
    f->on_done(f->ctx, page);
}

static void
fail(struct survey_fetch *f, enum survey_page_state state, const char *why)
{
    struct survey_page page = {.state = state};
    char address[INET_ENDPOINT_SIZE];

    if (state == SURVEY_PAGE_UNKNOWN)
        snprintf(page.why, sizeof page.why, "no connection to %s, port 443, from here (%s)",
                 inet_address_text(&f->to, address), why);
    else
        snprintf(page.why, sizeof page.why, "%s", why);
    finish(f, &page);
}

static void
ask(struct survey_fetch *f)
{
    f->is_secure = true;
    buf_printf(conn_output(f->conn),
               "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: postern\r\nAccept: text/plain\r\n"
               "Connection: close\r\n\r\n",
               f->path, f->host);
    conn_flush(f->conn);
    conn_deadline(f->conn, STEP_MS);
}

static void
read_answer(struct survey_fetch *f)
{
    struct survey_page page;

    survey_fetch_read(buf_slice(conn_input(f->conn)), &page);
    finish(f, &page);
}

static void
on_input(struct survey_fetch *f)
{
    struct slice text = buf_slice(conn_input(f->conn));

    if (text.n >= SURVEY_FETCH_MAX)
        fail(f, SURVEY_PAGE_REFUSED, "the answer is too long");
    else if (survey_fetch_is_whole(text))
        read_answer(f);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct survey_fetch *f = ctx;

    switch (event) {
    case CONN_CONNECTED:
        (void)conn_start_tls(f->conn, tls_client_ssl(f->tls, TLS_POLICY_VERIFY, f->host, &f->to),
                             STEP_MS);
        return;
    case CONN_TLS_READY:
        ask(f);
        return;
    case CONN_INPUT:
        on_input(f);
        return;
    case CONN_DRAINED:
        return;
    case CONN_EOF:
        read_answer(f);
        return;
    case CONN_FAILED:
        if (f->is_secure)
            read_answer(f);
        else if (conn_tls_error(f->conn)[0])
            fail(f, SURVEY_PAGE_REFUSED, conn_tls_error(f->conn));
        else
            fail(f, SURVEY_PAGE_UNKNOWN, strerror(conn_error(f->conn)));
        return;
    case CONN_TIMEOUT:
        fail(f, SURVEY_PAGE_UNKNOWN, "timeout");
        return;
    }
}

static void
on_failed(void *ctx)
{
    fail(ctx, SURVEY_PAGE_UNKNOWN, "no socket");
}

struct survey_fetch *
survey_fetch_start(struct loop *loop, struct tls_client *tls, const struct inet_endpoint *to,
                   const struct inet_endpoint *source, const char *host, const char *path,
                   void (*on_done)(void *ctx, const struct survey_page *page), void *ctx)
{
    struct survey_fetch *f = mem_alloc(sizeof *f);

    *f = (struct survey_fetch){
        .loop = loop, .tls = tls, .to = *to, .host = mem_strdup(host), .path = mem_strdup(path)};
    f->on_done = on_done;
    f->ctx = ctx;
    f->to.port = 443;
    loop_timer_init(&f->failed, loop, on_failed, f);
    if (conn_connect(loop, &f->to, source, STEP_MS, on_conn, f, &f->conn) < 0)
        loop_timer_start(&f->failed, 0);
    else
        conn_read_limit(f->conn, SURVEY_FETCH_MAX);
    return f;
}

static void
release(void *ctx)
{
    struct survey_fetch *f = ctx;

    free(f->host);
    free(f->path);
    free(f);
}

void
survey_fetch_cancel(struct survey_fetch **fetch)
{
    struct survey_fetch *f = *fetch;

    *fetch = NULL;
    if (f == NULL)
        return;
    loop_timer_cancel(&f->failed);
    conn_close(&f->conn);
    loop_defer(f->loop, release, f);
}
