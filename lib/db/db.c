/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A connection that is always being made again.  Three states (waiting for the next attempt,
 * connecting, up), one timer that is the deadline of whichever state it is, one socket event that
 * asks for what libpq wants next.  The socket is read again after every poll, since libpq changes
 * it when it tries the next host.
 *
 *   WAITING --timer--> CONNECTING --poll ok--> UP
 *      ^ <---failed, deadline--- |              |
 *      +-----------lost, query deadline---------+
 *
 * Invariants: a query is answered once; queries are on the queue only while the connection is up;
 * after db_close nothing is called.
 */
#include "db/db.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "db/db_connect.h"

enum db_state { DB_WAITING, DB_CONNECTING, DB_UP };

struct query {
    struct query *next;
    char *sql;
    char **params;
    int param_count;
    db_on_result on_result;
    void *ctx;
};

struct query_list {
    struct query *first, *last;
};

struct db {
    struct loop *loop;
    char *conninfo;
    const struct db_ops *ops;
    void *ctx;
    enum db_state state;
    PGconn *pg;
    struct event *event;
    short watched; /* EV_READ, EV_WRITE of `event` */
    struct loop_timer timer;
    int64_t retry_ms;
    unsigned first_host; /* the next attempt begins with this one */
    char *reported;      /* the last reason that on_down was told */
    struct query_list queue, refused;
    bool in_flight, answered; /* from sending a query to the end of its result */
    bool refusing, closed;
};

static void on_socket(evutil_socket_t fd, short what, void *arg);

/* --- Queries as objects. */

static char *
copy_text(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

static struct query *
query_new(const char *sql, int param_count, const char *const *params)
{
    struct query *q = mem_alloc(sizeof *q);

    q->sql = mem_strdup(sql);
    q->param_count = param_count;
    q->params = mem_alloc((size_t)param_count * sizeof *q->params);
    for (int i = 0; i < param_count; i++)
        q->params[i] = copy_text(params[i]);
    return q;
}

static void
query_free(struct query *q)
{
    for (int i = 0; i < q->param_count; i++)
        free(q->params[i]);
    free(q->params);
    free(q->sql);
    free(q);
}

static void
list_append(struct query_list *list, struct query *q)
{
    if (list->last)
        list->last->next = q;
    else
        list->first = q;
    list->last = q;
}

static struct query *
list_take(struct query_list *list)
{
    struct query *q = list->first;

    if (q == NULL)
        return NULL;
    list->first = q->next;
    if (list->first == NULL)
        list->last = NULL;
    q->next = NULL;
    return q;
}

/* --- The socket. */

static void
unwatch(struct db *db)
{
    if (db->event)
        event_free(db->event);
    db->event = NULL;
    db->watched = 0;
}

static void
watch(struct db *db, short what)
{
    if (db->event && db->watched == what)
        return;
    unwatch(db);
    db->event = event_new(loop_event_base(db->loop), PQsocket(db->pg), (short)(what | EV_PERSIST),
                          on_socket, db);
    CHECK(db->event != NULL && event_add(db->event, NULL) == 0);
    db->watched = what;
}

/* --- Down. */

/* libpq's messages have line ends, and several lines for several hosts. */
static char *
one_line(const char *message)
{
    char *text = mem_strdup(message && message[0] ? message : "no reason given");
    size_t n = strlen(text);

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    return text;
}

static void
answer(struct query *q, const PGresult *result)
{
    if (q->on_result)
        q->on_result(q->ctx, result);
    query_free(q);
}

static void
report_down(struct db *db, const char *why, bool was_up)
{
    char *text = one_line(why);
    bool is_new = was_up || db->reported == NULL || strcmp(db->reported, text) != 0;

    free(db->reported);
    db->reported = text;
    if (is_new && db->ops->on_down)
        db->ops->on_down(db->ctx, text);
}

static void
go_down(struct db *db, const char *why)
{
    bool was_up = db->state == DB_UP;
    char *text = mem_strdup(why); /* it may be the connection's own */
    struct query *q;

    unwatch(db);
    PQfinish(db->pg);
    db->pg = NULL;
    db->state = DB_WAITING;
    db->in_flight = false;
    db->retry_ms = was_up || db->retry_ms == 0 ? DB_RETRY_MIN_MS : db->retry_ms * 2;
    if (db->retry_ms > DB_RETRY_MAX_MS)
        db->retry_ms = DB_RETRY_MAX_MS;
    loop_timer_start(&db->timer, db->retry_ms);
    while (!db->closed && (q = list_take(&db->queue)) != NULL)
        answer(q, NULL);
    if (!db->closed)
        report_down(db, text, was_up);
    free(text);
}

/* --- Connecting. */

static void
ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

static void
come_up(struct db *db)
{
    PQsetnonblocking(db->pg, 1);
    db->state = DB_UP;
    db->retry_ms = 0;
    free(db->reported);
    db->reported = NULL;
    loop_timer_cancel(&db->timer);
    watch(db, EV_READ);
    if (db->ops->on_up)
        db->ops->on_up(db->ctx);
}

static void
poll_connection(struct db *db)
{
    PostgresPollingStatusType next;

    unwatch(db); /* the poll may close this socket and open another of the same number */
    next = PQconnectPoll(db->pg);
    if (next == PGRES_POLLING_READING)
        watch(db, EV_READ);
    else if (next == PGRES_POLLING_WRITING)
        watch(db, EV_WRITE);
    else if (next == PGRES_POLLING_OK)
        come_up(db);
    else
        go_down(db, PQerrorMessage(db->pg));
}

static void
attempt(struct db *db)
{
    char *problem = NULL;

    db->state = DB_CONNECTING;
    db->pg = db_connect_start(db->conninfo, db->first_host, &problem);
    if (db->pg == NULL || PQstatus(db->pg) == CONNECTION_BAD) {
        go_down(db, problem ? problem : PQerrorMessage(db->pg));
        PQfreemem(problem);
        return;
    }
    PQsetNoticeReceiver(db->pg, ignore_notice, NULL);
    loop_timer_start(&db->timer, DB_CONNECT_TIMEOUT_MS);
    watch(db, EV_WRITE); /* libpq: behave as if the last poll had asked for writing */
}

/* --- Up. */

static void
flush(struct db *db)
{
    int rc = PQflush(db->pg);

    if (rc < 0)
        go_down(db, PQerrorMessage(db->pg));
    else
        watch(db, rc > 0 ? EV_READ | EV_WRITE : EV_READ);
}

static void
send_next(struct db *db)
{
    struct query *q = db->queue.first;

    if (db->in_flight || q == NULL || db->state != DB_UP)
        return;
    if (!PQsendQueryParams(db->pg, q->sql, q->param_count, NULL, (const char *const *)q->params,
                           NULL, NULL, 0)) {
        go_down(db, PQerrorMessage(db->pg));
        return;
    }
    db->in_flight = true;
    db->answered = false;
    loop_timer_start(&db->timer, DB_QUERY_TIMEOUT_MS);
    flush(db);
}

/* The answer to the query in flight. */
static void
take_result(struct db *db, PGresult *result)
{
    struct query *q;

    if (!db->answered) {
        q = list_take(&db->queue);
        CHECK(q != NULL);
        db->answered = true;
        answer(q, result);
    }
    PQclear(result);
}

/* A result, and then its end, which may come in a later packet: only then may the next query go.
 * False if the caller must stop. */
static bool
take_results(struct db *db)
{
    while (db->in_flight && !PQisBusy(db->pg)) {
        PGresult *result = PQgetResult(db->pg);

        if (result) {
            take_result(db, result);
        } else {
            db->in_flight = false;
            loop_timer_cancel(&db->timer);
            send_next(db);
        }
        if (db->closed || db->state != DB_UP)
            return false;
    }
    return true;
}

static void
take_notifications(struct db *db)
{
    PGnotify *notify;

    while ((notify = PQnotifies(db->pg)) != NULL) {
        if (db->ops->on_notify)
            db->ops->on_notify(db->ctx, notify->relname, notify->extra);
        PQfreemem(notify);
        if (db->closed || db->state != DB_UP)
            return;
    }
}

static void
read_socket(struct db *db)
{
    if (!PQconsumeInput(db->pg)) {
        go_down(db, PQerrorMessage(db->pg));
        return;
    }
    if (!take_results(db))
        return;
    if (PQstatus(db->pg) == CONNECTION_BAD)
        go_down(db, PQerrorMessage(db->pg));
    else
        take_notifications(db);
}

static void
serve_socket(struct db *db, short what)
{
    if (db->state == DB_CONNECTING) {
        poll_connection(db);
        return;
    }
    if (what & EV_WRITE)
        flush(db);
    if ((what & EV_READ) && db->state == DB_UP)
        read_socket(db);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct db *db = arg;
    int64_t began_us = loop_callback_begin(db->loop);

    (void)fd;
    serve_socket(db, what); /* db itself lives to the end of the turn */
    loop_callback_end(db->loop, began_us, "db", (void (*)(void))serve_socket);
}

static void
on_timer(void *ctx)
{
    struct db *db = ctx;

    if (db->state == DB_WAITING) {
        attempt(db);
        return;
    }
    if (db->state == DB_CONNECTING)
        db->first_host++;
    go_down(db, db->state == DB_UP ? "a query has not been answered in time"
                                   : "the server has not answered in time");
}

/* --- The interface. */

struct db *
db_open(struct loop *loop, const char *conninfo, const struct db_ops *ops, void *ctx)
{
    struct db *db = mem_alloc(sizeof *db);

    db->loop = loop;
    db->conninfo = mem_strdup(conninfo);
    db->ops = ops;
    db->ctx = ctx;
    loop_timer_init(&db->timer, loop, on_timer, db);
    loop_timer_start(&db->timer, 0);
    return db;
}

static void
on_free(void *ctx)
{
    struct db *db = ctx;
    struct query *q;

    while ((q = list_take(&db->queue)) != NULL || (q = list_take(&db->refused)) != NULL)
        query_free(q);
    PQfinish(db->pg);
    free(db->reported);
    free(db->conninfo);
    free(db);
}

void
db_close(struct db **dbp)
{
    struct db *db = *dbp;

    if (db == NULL)
        return;
    *dbp = NULL;
    db->closed = true;
    unwatch(db);
    loop_timer_cancel(&db->timer);
    loop_defer(db->loop, on_free, db);
}

bool
db_is_up(const struct db *db)
{
    return db->state == DB_UP;
}

static void
on_refuse(void *ctx)
{
    struct db *db = ctx;
    struct query_list list = db->refused;
    struct query *q;

    if (db->closed)
        return; /* freed in its own deferral, which comes later */
    db->refused = (struct query_list){NULL, NULL};
    db->refusing = false;
    while ((q = list_take(&list)) != NULL) {
        if (db->closed)
            query_free(q);
        else
            answer(q, NULL);
    }
}

static void
on_send(void *ctx)
{
    struct db *db = ctx;

    if (!db->closed)
        send_next(db);
}

void
db_query(struct db *db, const char *sql, int param_count, const char *const *params,
         db_on_result on_result, void *ctx)
{
    struct query *q = query_new(sql, param_count, params);

    q->on_result = on_result;
    q->ctx = ctx;
    if (db->state == DB_UP) {
        list_append(&db->queue, q);
        if (!db->in_flight)
            loop_defer(db->loop, on_send, db);
        return;
    }
    list_append(&db->refused, q);
    if (!db->refusing)
        loop_defer(db->loop, on_refuse, db);
    db->refusing = true;
}
