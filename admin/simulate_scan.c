/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What relayd/transaction_scan.c does with a message in passage is done here with one in memory.
 */
#include "admin/simulate_scan.h"

#include <stdio.h>
#include <string.h>

#include "milter/milter_body.h"
#include "milter/milter_client.h"
#include "milter/milter_verdict.h"

struct scan {
    const struct call *call;
    struct loop *loop;
    json_t *answer, *results; /* instead of the check milter */
    const char *action;
    struct milter_entry entry;
    struct milter_question question;
    struct milter_header header;
    struct slice body; /* as it is now */
    struct buf bodies[2], *coming;
    struct milter_body ends;
    bool is_told; /* the body, to the present one */
    bool is_held, is_over, is_marked, is_unsure;
    int64_t began_ms;
};

/* --- The talk. */

static enum milter_pull
pull(void *ctx, struct slice *piece)
{
    struct scan *s = ctx;

    if (s->is_told || s->body.n == 0)
        return MILTER_PULL_END;
    *piece = s->body;
    s->is_told = true;
    return MILTER_PULL_PIECE;
}

static void
keep_piece(void *ctx, struct slice piece)
{
    struct scan *s = ctx;

    buf_add_slice(s->coming, piece);
}

static bool
replace(void *ctx, struct slice piece)
{
    struct scan *s = ctx;

    milter_body_feed(&s->ends, piece, keep_piece, s);
    return buf_size(s->coming) <= s->call->config->max_message_size;
}

static bool
wants_more(void *ctx)
{
    (void)ctx;
    return true;
}

static const char *
recipient(const void *ctx, unsigned i)
{
    const struct scan *s = ctx;

    (void)i;
    return call_value(s->call, "rcpt");
}

/* --- What it says. */

static void
add_result(struct scan *s, const char *result, const char *input, int64_t ms)
{
    json_array_append_new(s->results,
                          json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "check", "milter", "name",
                                    s->entry.name, "action", s->action, "result", result, "input",
                                    input, "ms", (json_int_t)ms));
}

static void
take_changes(struct scan *s, const struct milter_talk *talk)
{
    milter_header_apply(&s->header, &talk->edits, talk->protocol & MILTER_LEADING_SPACE);
    if (!talk->is_replacing)
        return;
    milter_body_end(&s->ends, keep_piece, s);
    s->body = buf_slice(s->coming);
    s->coming = s->coming == &s->bodies[0] ? &s->bodies[1] : &s->bodies[0];
}

static void
set_reply(struct scan *s, const char *verdict, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];

    json_object_set_new(s->answer, "verdict", json_string(verdict));
    json_object_set_new(s->answer, "reply", json_string(smtp_reply_text(reply, text, sizeof text)));
}

static void
judge(struct scan *s, const struct milter_talk *talk)
{
    enum milter_wish wish = strcmp(s->action, "mark") == 0    ? MILTER_MARK_ONLY
                            : strcmp(s->action, "defer") == 0 ? MILTER_FOR_NOW
                                                              : MILTER_AS_IT_SAYS;
    struct milter_verdict verdict = milter_verdict_of(&s->entry, talk, wish);

    s->is_marked = s->is_marked || verdict.effect == MILTER_MARKED;
    s->is_unsure = s->is_unsure || verdict.effect == MILTER_UNSURE;
    s->is_held = s->is_held || verdict.effect == MILTER_HELD;
    if (verdict.effect != MILTER_REFUSED)
        return;
    s->is_over = true;
    set_reply(s, verdict.reply.code / 100 == 5 ? "refuse" : "later", &verdict.reply);
}

static void
on_done(void *ctx, const struct milter_talk *talk, bool is_dead)
{
    struct scan *s = ctx;
    bool is_held = talk->outcome == MILTER_OUTCOME_ACCEPTED && talk->quarantine[0];

    (void)is_dead;
    add_result(s, is_held ? "quarantine" : milter_outcome_word(talk->outcome),
               talk->why          ? talk->why
               : talk->reply.code ? talk->reply.text
                                  : talk->quarantine,
               loop_now_ms(s->loop) - s->began_ms);
    if (talk->outcome == MILTER_OUTCOME_ACCEPTED)
        take_changes(s, talk);
    judge(s, talk);
    loop_stop(s->loop);
}

static const struct milter_client_ops ops = {{pull, replace, wants_more}, on_done};

static void
ask(struct scan *s, const char *milter, size_t content_bytes)
{
    if (milter_entry_parse(milter, &s->entry) != NULL)
        return;
    if (s->entry.max_bytes > 0 && content_bytes > s->entry.max_bytes) {
        add_result(s, "too large", "", 0);
        return;
    }
    s->is_told = false;
    s->ends = (struct milter_body){.was_cr = false};
    buf_clear(s->coming);
    s->began_ms = loop_now_ms(s->loop);
    (void)milter_client_start(s->loop, &s->entry, &s->question,
                              (int64_t)s->call->config->final_reply_timeout_ms / 2, &ops, s);
    loop_run(s->loop);
}

/* --- The whole. */

/* The check's place in the list; -1: the customer's policy has it off. */
static int
find_check(const json_t *checks)
{
    json_t *check;
    size_t i;

    json_array_foreach(checks, i, check)
    {
        const char *name = json_string_value(json_object_get(check, "check"));

        if (name != NULL && strcmp(name, "milter") == 0)
            return (int)i;
    }
    return -1;
}

static void
begin(struct scan *s, struct slice content)
{
    const char *from = call_value(s->call, "from") ?: "";

    milter_header_init(&s->header);
    if (!milter_header_feed(&s->header, content))
        milter_header_end(&s->header);
    s->body.p = content.p + s->header.field_bytes + s->header.separator_bytes;
    s->body.n = content.n - s->header.field_bytes - s->header.separator_bytes;
    for (size_t i = 0; i < ARRAY_SIZE(s->bodies); i++)
        buf_init(&s->bodies[i], 0);
    s->coming = &s->bodies[0];
    s->question = (struct milter_question){
        .hostname = s->call->config->hostname,
        .ref = "simulated",
        .client_name = "",
        .helo = call_value(s->call, "helo") ?: "",
        .tls_version = "",
        .tls_cipher = "",
        .sender = strcmp(from, "<>") == 0 ? "" : from,
        .recipient = recipient,
        .recipient_ctx = s,
        .recipient_count = 1,
        .header = &s->header,
    };
    if (inet_endpoint_parse(slice_of(call_value(s->call, "ip")), 25, &s->question.client) < 0)
        s->question.client = (struct inet_endpoint){.family = 4};
}

static void
end(struct scan *s)
{
    if (s->is_marked || s->is_unsure)
        json_array_append_new(json_object_get(s->answer, "marks"), json_string("milter"));
    if (s->is_held && !s->is_over) {
        json_object_set_new(s->answer, "verdict", json_string("hold"));
        json_object_set(s->answer, "reply", json_object_get(s->answer, "queued"));
    }
    milter_header_fini(&s->header);
    for (size_t i = 0; i < ARRAY_SIZE(s->bodies); i++)
        buf_fini(&s->bodies[i]);
    loop_free(&s->loop);
}

void
simulate_scan(const struct call *call, struct slice content, json_t *answer)
{
    const struct config_words *milters = &call->config->milters;
    json_t *checks = json_object_get(answer, "checks");
    int at = find_check(checks);
    struct scan s = {.call = call, .answer = answer};

    if (milters->count == 0 || at < 0)
        return;
    s.action = json_string_value(json_object_get(json_array_get(checks, (size_t)at), "action"));
    s.results = json_array();
    s.loop = loop_new();
    begin(&s, content);
    for (size_t i = 0; i < milters->count && !s.is_over; i++)
        ask(&s, milters->items[i], content.n);
    end(&s);
    json_array_remove(checks, (size_t)at);
    json_array_extend(checks, s.results);
    json_decref(s.results);
}
