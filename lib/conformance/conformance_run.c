/* SPDX-License-Identifier: BSD-2-Clause
 *
 *   first [-> first again, without what of TLS failed] -> three at once -> the rest, one by one
 *
 * Those at once wait for one another before their first step, so that a server that takes one
 * connection at a time is found out; what it turned away then is asked again alone.
 */
#include "conformance/conformance_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conformance/conformance_talk.h"
#include "net/conn.h"

#define PARALLEL_MAX 3
#define PARALLEL_WAIT_MS 2000
#define FAREWELL_MS 20
#define FAREWELLS_MAX 10

struct conformance_run {
    struct loop *loop;
    const struct conformance_question *question;
    void (*on_done)(void *ctx, const struct conformance_seen *seen);
    void *ctx;
    struct conformance_seen seen;
    struct conformance_talk_settings settings;
    enum tls_policy tls;     /* that is used now */
    unsigned next, parallel; /* session; how many of those behind the first may go on at once */
    struct conformance_talk *talks[PARALLEL_MAX];
    bool is_ready[PARALLEL_MAX];
    unsigned running, ready;
    unsigned farewells;
    struct loop_timer wait, total;
    bool is_counting; /* how many are ready at once */
    bool is_over;     /* no more conversations are begun */
};

static void next_step(struct conformance_run *r);

/* Not before the farewells have been sent, so that no server logs a lost connection. */
static void
finish(void *ctx)
{
    struct conformance_run *r = ctx;

    if (conn_any_ending() && r->farewells++ < FAREWELLS_MAX) {
        loop_timer_start(&r->wait, FAREWELL_MS);
        return;
    }
    loop_timer_cancel(&r->wait);
    loop_timer_cancel(&r->total);
    r->on_done(r->ctx, &r->seen);
    conformance_script_fini(&r->seen);
    free(r);
}

static unsigned
place_of(const struct conformance_run *r, const struct conformance_talk *talk)
{
    unsigned i = 0;

    while (i < PARALLEL_MAX && r->talks[i] != talk)
        i++;
    CHECK(i < PARALLEL_MAX);
    return i;
}

/* --- The first conversation. */

static bool
fell_for_tls(const struct conformance_talk_result *t)
{
    return t->connected && !t->ready && (t->tls_tried || t->tls_offered) && !t->tls_works;
}

/* What is asked for less, to learn the rest: nothing is delivered over it. */
static bool
lower_tls(struct conformance_run *r)
{
    if (r->tls == TLS_POLICY_VERIFY)
        r->tls = TLS_POLICY_ENCRYPT;
    else if (r->tls == TLS_POLICY_MAY)
        r->tls = TLS_POLICY_NONE;
    else
        return false;
    return true;
}

static void
keep_first(struct conformance_run *r)
{
    struct conformance_talk_result *now = &r->seen.sessions[0].result, before = r->seen.first;
    bool had = before.connected;

    r->seen.first = *now;
    if (!had || now->tls_works)
        return;
    r->seen.first.tls_offered = before.tls_offered;
    r->seen.first.tls_tried = before.tls_tried;
    snprintf(r->seen.first.tls_text, sizeof r->seen.first.tls_text, "%s", before.tls_text);
}

/* A chain that a verifying handshake refused and ours finds nothing wrong with. */
static void
keep_refusal(struct conformance_run *r, const char *why)
{
    struct conformance_certificate *c = &r->seen.first.certificate;

    if (c->is_seen && c->trouble[0] == '\0')
        snprintf(c->trouble, sizeof c->trouble, "%.190s", why);
}

static void
first_ended(struct conformance_run *r)
{
    char why[sizeof r->seen.first.tls_text];
    bool again = r->seen.first.connected;

    snprintf(why, sizeof why, "%s", r->seen.first.tls_text);
    keep_first(r);
    if (again && r->question->tls == TLS_POLICY_VERIFY && r->seen.first.tls_works)
        keep_refusal(r, why);
    if (fell_for_tls(&r->seen.sessions[0].result) && lower_tls(r))
        return; /* the same session again */
    r->next = 1;
    if (!r->seen.first.ready)
        r->is_over = true;
}

/* --- Several at once. */

static void
go(void *ctx)
{
    struct conformance_run *r = ctx;

    loop_timer_cancel(&r->wait);
    if (r->is_counting)
        r->seen.parallel_ready = r->ready;
    r->is_counting = false;
    for (unsigned i = 0; i < PARALLEL_MAX; i++)
        if (r->talks[i] && r->is_ready[i])
            conformance_talk_go(r->talks[i]);
}

static void
on_ready(void *ctx, struct conformance_talk *talk)
{
    struct conformance_run *r = ctx;

    r->is_ready[place_of(r, talk)] = true;
    if (++r->ready < r->running && loop_timer_is_running(&r->wait))
        return;
    go(r);
}

static void
on_end(void *ctx, struct conformance_talk *talk)
{
    struct conformance_run *r = ctx;
    unsigned i = place_of(r, talk);

    if (r->is_ready[i])
        r->ready--;
    r->talks[i] = NULL;
    r->is_ready[i] = false;
    r->running--;
    if (r->next == 0)
        first_ended(r);
    if (r->running > 0 && r->ready == r->running && loop_timer_is_running(&r->wait))
        go(r); /* the others have waited for this one */
    if (r->running == 0)
        next_step(r);
}

static void
start(struct conformance_run *r, unsigned session)
{
    static const struct conformance_talk_ops ops = {on_ready, on_end};
    unsigned place = 0;

    while (r->talks[place] != NULL)
        place++;
    CHECK(place < PARALLEL_MAX);
    r->running++;
    r->talks[place] =
        conformance_talk_start(r->loop, &r->settings, r->tls, &r->seen.sessions[session], &ops, r);
}

static unsigned
at_once(const struct conformance_run *r)
{
    unsigned count = r->parallel < PARALLEL_MAX ? r->parallel : PARALLEL_MAX,
             most = r->question->connections;

    return most > 0 && most < count ? most : count;
}

static void
start_parallel(struct conformance_run *r)
{
    unsigned count = at_once(r);

    r->seen.parallel_tried = count;
    r->is_counting = true;
    loop_timer_start(&r->wait, PARALLEL_WAIT_MS);
    for (unsigned i = 0; i < count; i++)
        start(r, 1 + i);
}

/* A message for somebody, where the policy would not have let it go. */
static bool
is_withheld(const struct conformance_run *r)
{
    return r->seen.sessions[r->next].delivers && r->question->tls == TLS_POLICY_VERIFY &&
           r->tls != TLS_POLICY_VERIFY;
}

/* The next that has not been ready yet; those tried at once come by a second time if need be. */
static void
next_step(struct conformance_run *r)
{
    if (!r->is_over && r->next == 1 && r->seen.parallel_tried == 0 && at_once(r) > 1) {
        start_parallel(r);
        return;
    }
    loop_timer_cancel(&r->wait);
    r->is_counting = false;
    while (!r->is_over && r->next > 0 && r->next < r->seen.session_count &&
           (r->seen.sessions[r->next].result.ready || is_withheld(r)))
        r->next++;
    if (r->is_over || r->next == r->seen.session_count) {
        r->wait.on_fire = finish;
        loop_timer_start(&r->wait, 0);
    } else
        start(r, r->next > 0 ? r->next++ : 0);
}

static void
on_total(void *ctx)
{
    struct conformance_run *r = ctx;

    r->is_over = true;
    for (unsigned i = 0; i < PARALLEL_MAX; i++)
        if (r->talks[i])
            conformance_talk_stop(r->talks[i], "the whole test takes too long");
}

void
conformance_run_start(struct loop *loop, const struct conformance_question *question,
                      void (*on_done)(void *ctx, const struct conformance_seen *seen), void *ctx)
{
    struct conformance_run *r = mem_alloc(sizeof *r);

    r->loop = loop;
    r->question = question;
    r->on_done = on_done;
    r->ctx = ctx;
    r->tls = question->tls;
    r->seen = (struct conformance_seen){.hostname = question->hostname,
                                        .wall_ms = clock_wall_ms(),
                                        .timeout_ms = question->connect_timeout_ms,
                                        .tls = question->tls,
                                        .size_needed_bytes = question->size_needed_bytes,
                                        .has_sink = question->sink != NULL};
    r->settings = (struct conformance_talk_settings){
        .endpoint = question->endpoint,
        .source = question->source,
        .tls_name = question->tls_name,
        .hostname = question->hostname,
        .connect_timeout_ms = question->connect_timeout_ms,
        .answer_timeout_ms = question->answer_timeout_ms,
        .tls_client = question->tls_client,
    };
    loop_timer_init(&r->wait, loop, go, r);
    loop_timer_init(&r->total, loop, on_total, r);
    loop_timer_start(&r->total, question->total_ms);
    conformance_script_make(question, &r->seen, &r->parallel);
    next_step(r);
}
