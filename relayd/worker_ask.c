/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A conversation with a backend takes one of its connections like any other link, so that a test
 * never goes over the limit; and it changes health as any probe does.
 */
#include "relayd/worker_ask.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "probe/probe_json.h"
#include "relayd/simulate.h"
#include "relayd/worker_ask_private.h"

#define COMMAND_MS 30000 /* people wait for it */

struct worker_asked {
    struct worker_asked *next;
    struct worker *worker;
    uint32_t id;
    struct probe_settings settings;
    struct probe_question question;
    struct probe_talk *talk;
};

void
worker_ask_answer(struct worker *w, uint32_t id, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct buf b;

    buf_init(&b, 0);
    put_u32(&b, id);
    put_bytes(&b, text ? slice_of(text) : SLICE("{\"ok\":false}"));
    if (w->parent && channel_send(w->parent, RELAYD_ANSWER, buf_slice(&b), NULL, 0) < 0)
        log_line(LOG_LEVEL_WARN, NULL, "answer-lost", "id=%u", id);
    buf_fini(&b);
    free(text);
    json_decref(json);
}

void
worker_ask_error(struct worker *w, uint32_t id, const char *why)
{
    worker_ask_answer(w, id, json_pack("{s:b, s:s}", "ok", 0, "error", why));
}

/* --- backend-test */

static void
asked_end(struct worker_asked *a)
{
    struct worker_asked **at = &a->worker->asked;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    shared_slot_give(a->worker->table, a->worker->slot, &a->question.endpoint);
    loop_defer(a->worker->loop, free, a);
}

static void
say_change(const struct worker_asked *a, const struct probe_change *change)
{
    char text[INET_ENDPOINT_SIZE];

    if (change->before != change->after)
        log_line(LOG_LEVEL_INFO, NULL, "backend-tested", "endpoint=%s before=%s after=%s",
                 inet_endpoint_text(&a->question.endpoint, text),
                 shared_health_word(change->before), shared_health_word(change->after));
}

static void
on_report(void *ctx, const struct probe_report *report)
{
    struct worker_asked *a = ctx;
    struct worker *w = a->worker;
    struct probe_change change = probe_health_end(
        w->table, &a->question.endpoint, report, clock_wall_ms(),
        (int64_t)w->config->probe_interval_min_ms, (int64_t)w->config->probe_interval_max_ms);

    a->talk = NULL;
    say_change(a, &change);
    worker_ask_answer(w, a->id, probe_json_of_report(report, &change, "relayd"));
    asked_end(a);
}

static void
test(struct worker *w, uint32_t id, const struct probe_question *question)
{
    int64_t command_ms = (int64_t)w->config->backend_command_timeout_ms;
    uint32_t limit = question->limit ? question->limit : w->config->backend_connections;
    struct worker_asked *a;

    if (!shared_slot_take(w->table, w->slot, &question->endpoint, limit)) {
        worker_ask_error(w, id,
                         "all connections to this backend are in use: it is being talked to");
        return;
    }
    a = mem_alloc(sizeof *a);
    a->worker = w;
    a->id = id;
    a->question = *question;
    a->settings = (struct probe_settings){
        .hostname = w->config->hostname,
        .connect_timeout_ms = (int64_t)w->config->backend_connect_timeout_ms,
        .command_timeout_ms = command_ms < COMMAND_MS ? command_ms : COMMAND_MS,
        .tls = w->tls_client,
    };
    a->next = w->asked;
    w->asked = a;
    probe_health_begin(w->table, &question->endpoint, clock_wall_ms());
    a->talk = probe_talk_start(w->loop, &a->settings, &a->question, on_report, a);
}

/* --- backend-release */

static void
release(struct worker *w, uint32_t id, const struct probe_question *question)
{
    bool released = shared_health_release(w->table, &question->endpoint, clock_wall_ms());
    char text[INET_ENDPOINT_SIZE];

    if (released)
        log_line(LOG_LEVEL_INFO, NULL, "backend-released", "endpoint=%s state=recovering",
                 inet_endpoint_text(&question->endpoint, text));
    worker_ask_answer(w, id, json_pack("{s:b, s:b}", "ok", 1, "released", released));
}

/* --- Verbs. */

static const struct verb {
    const char *word;
    void (*run)(struct worker *w, uint32_t id, const struct probe_question *question);
} verbs[] = {
    {"backend-test", test},
    {"backend-release", release},
};

static void
run(struct worker *w, uint32_t id, uint32_t uid, const json_t *json)
{
    const char *word = json_string_value(json_object_get(json, "verb"));
    struct probe_question question;

    if (worker_ask_memory(w, id, word, json))
        return;
    if (word && strcmp(word, "node-drain") == 0) {
        worker_ask_drain(w, id, uid, json);
        return;
    }
    if (word && strcmp(word, "simulate") == 0) {
        simulate_start(w, id, json, worker_ask_answer);
        return;
    }
    for (size_t i = 0; word && i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].word, word) != 0)
            continue;
        if (probe_json_question(json, &question) == ERR_OK)
            verbs[i].run(w, id, &question);
        else
            worker_ask_error(w, id, "it names no backend, or no single recipient");
        return;
    }
    worker_ask_error(w, id, "unknown request; relayd and relayctl may be of different releases");
}

void
worker_ask(struct worker *w, struct slice payload)
{
    struct decoder d = decoder_of(payload);
    uint32_t id = get_u32(&d), uid = get_u32(&d);
    struct slice line = get_bytes(&d);
    json_t *json;

    CHECK(decoder_done(&d));
    json = json_loadb(line.p, line.n, 0, NULL);
    run(w, id, uid, json);
    json_decref(json);
}

void
worker_ask_cancel_all(struct worker *w)
{
    simulate_cancel_all(w);
    while (w->asked) {
        probe_talk_cancel(&w->asked->talk);
        asked_end(w->asked);
    }
    worker_ask_memory_cancel_all(w);
}
