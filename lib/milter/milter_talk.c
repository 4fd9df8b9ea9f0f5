/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a filter answers: the table of the answers, with where they are allowed, and what becomes of
 * each; and the life of a talk.
 *
 * Invariant: the first outcome stands, and nothing is taken after it.
 */
#include <stdio.h>

#include "milter/milter_talk_private.h"

static const char *const outcome_words[] = {
    [MILTER_OUTCOME_OPEN] = "open",         [MILTER_OUTCOME_ACCEPTED] = "pass",
    [MILTER_OUTCOME_REFUSED] = "reject",    [MILTER_OUTCOME_LATER] = "defer",
    [MILTER_OUTCOME_DISCARDED] = "discard", [MILTER_OUTCOME_FAILED] = "failed",
};

const char *
milter_outcome_word(enum milter_outcome outcome)
{
    return outcome_words[outcome];
}

static void
end(struct milter_talk *t, enum milter_outcome outcome)
{
    if (t->outcome == MILTER_OUTCOME_OPEN)
        t->outcome = outcome;
}

void
milter_talk_fail(struct milter_talk *t, const char *why)
{
    if (t->outcome == MILTER_OUTCOME_OPEN)
        t->why = why;
    end(t, MILTER_OUTCOME_FAILED);
}

/* --- Answers. */

static void
take_negotiation(struct milter_talk *t, struct slice payload)
{
    if (!milter_read_u32(&payload, &t->version) || !milter_read_u32(&payload, &t->actions) ||
        !milter_read_u32(&payload, &t->protocol) || t->version < MILTER_VERSION_MIN ||
        t->version > MILTER_VERSION) {
        milter_talk_fail(t, "it does not speak the milter protocol, version 2 to 6");
        return;
    }
    if (t->version < MILTER_VERSION_DATA)
        t->protocol |= MILTER_NO_DATA;
    t->is_awaited = false;
    milter_talk_next_step(t);
}

static void
take_continue(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    t->is_awaited = false;
    if (t->asked == MILTER_STEP_END_OF_BODY)
        end(t, MILTER_OUTCOME_ACCEPTED);
}

static void
take_reply(struct milter_talk *t, struct slice payload)
{
    if (!milter_read_reply(payload, &t->reply))
        milter_talk_fail(t, "its reply code is none of 4xx and 5xx");
    else
        end(t, t->reply.code / 100 == 5 ? MILTER_OUTCOME_REFUSED : MILTER_OUTCOME_LATER);
}

static void
take_skip(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    if (t->asked == MILTER_STEP_END_OF_BODY) /* it has seen all meanwhile */
        return;
    if (t->asked != MILTER_STEP_BODY) {
        milter_talk_fail(t, "it skips what it was not shown");
        return;
    }
    t->is_awaited = false;
    t->step = MILTER_STEP_END_OF_BODY;
}

static void
take_progress(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    t->progress_count++;
}

static void
add_edit(struct milter_talk *t, enum milter_edit_kind kind, uint32_t index, struct slice payload)
{
    struct slice name, value;

    if (!milter_read_string(&payload, &name) || !milter_read_string(&payload, &value) ||
        !milter_edits_add(&t->edits, kind, index, name, value))
        milter_talk_fail(t, "it gives a header field that is none");
}

static void
take_add(struct milter_talk *t, struct slice payload)
{
    add_edit(t, MILTER_EDIT_ADD, 0, payload);
}

static void
take_indexed(struct milter_talk *t, enum milter_edit_kind kind, struct slice payload)
{
    uint32_t index;

    if (milter_read_u32(&payload, &index))
        add_edit(t, kind, index, payload);
    else
        milter_talk_fail(t, "it gives a header field that is none");
}

static void
take_insert(struct milter_talk *t, struct slice payload)
{
    take_indexed(t, MILTER_EDIT_INSERT, payload);
}

static void
take_change(struct milter_talk *t, struct slice payload)
{
    take_indexed(t, MILTER_EDIT_CHANGE, payload);
}

static void
take_body(struct milter_talk *t, struct slice payload)
{
    if (!t->is_replacing && !t->ops->replace(t->ctx, SLICE("")))
        milter_talk_fail(t, "its new body has no room");
    t->is_replacing = true;
    buf_add_slice(&t->coming, payload);
}

/* False: its receiver cannot take more now. */
static bool
hand_on(struct milter_talk *t)
{
    while (buf_size(&t->coming) > 0 && t->outcome == MILTER_OUTCOME_OPEN) {
        struct slice piece = buf_slice(&t->coming);

        if (!t->ops->wants_more(t->ctx))
            return false;
        if (piece.n > MILTER_TALK_PIECE)
            piece.n = MILTER_TALK_PIECE;
        if (!t->ops->replace(t->ctx, piece))
            milter_talk_fail(t, "its new body has no room");
        buf_consume(&t->coming, piece.n);
    }
    return true;
}

static void
take_quarantine(struct milter_talk *t, struct slice payload)
{
    struct slice text = payload;
    size_t n = 0;

    (void)milter_read_string(&payload, &text);
    for (size_t i = 0; i < text.n && n + 1 < sizeof t->quarantine; i++)
        t->quarantine[n++] = text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?';
    t->quarantine[n] = '\0';
    if (n == 0)
        snprintf(t->quarantine, sizeof t->quarantine, "no reason given");
}

enum place {
    PLACE_ANYWHERE, /* also where nothing is awaited: it is the last word */
    PLACE_AWAITED,
    PLACE_AT_END, /* in answer to the end of the body */
};

static const struct answer_row {
    char answer;
    enum place place;
    uint32_t action; /* that it must have asked for */
    void (*take)(struct milter_talk *t, struct slice payload);
    enum milter_outcome outcome; /* that it is */
} answers[] = {
    {MILTER_CONTINUE, PLACE_AWAITED, .take = take_continue},
    {MILTER_ACCEPT, PLACE_ANYWHERE, .outcome = MILTER_OUTCOME_ACCEPTED},
    {MILTER_REJECT, PLACE_ANYWHERE, .outcome = MILTER_OUTCOME_REFUSED},
    {MILTER_TEMPFAIL, PLACE_ANYWHERE, .outcome = MILTER_OUTCOME_LATER},
    {MILTER_DISCARD, PLACE_ANYWHERE, .outcome = MILTER_OUTCOME_DISCARDED},
    {MILTER_REPLY_CODE, PLACE_ANYWHERE, .take = take_reply},
    {MILTER_PROGRESS, PLACE_AWAITED, .take = take_progress},
    {MILTER_SKIP, PLACE_ANYWHERE, .take = take_skip},
    {MILTER_ADD_HEADER, PLACE_AT_END, MILTER_ACTION_ADD_HEADERS, .take = take_add},
    {MILTER_INSERT_HEADER, PLACE_AT_END, MILTER_ACTION_ADD_HEADERS, .take = take_insert},
    {MILTER_CHANGE_HEADER, PLACE_AT_END, MILTER_ACTION_CHANGE_HEADERS, .take = take_change},
    {MILTER_REPLACE_BODY, PLACE_AT_END, MILTER_ACTION_CHANGE_BODY, .take = take_body},
    {MILTER_QUARANTINE, PLACE_AT_END, MILTER_ACTION_QUARANTINE, .take = take_quarantine},
    /* These were not offered: the envelope stays as it is. */
    {MILTER_ADD_RCPT, PLACE_AT_END, .outcome = MILTER_OUTCOME_OPEN},
    {MILTER_ADD_RCPT_PARAMETERS, PLACE_AT_END, .outcome = MILTER_OUTCOME_OPEN},
    {MILTER_DELETE_RCPT, PLACE_AT_END, .outcome = MILTER_OUTCOME_OPEN},
    {MILTER_CHANGE_FROM, PLACE_AT_END, .outcome = MILTER_OUTCOME_OPEN},
};

static const struct answer_row *
find_answer(char answer)
{
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
        if (answers[i].answer == answer)
            return &answers[i];
    return NULL;
}

static bool
is_in_place(const struct milter_talk *t, const struct answer_row *row)
{
    if (row->action != 0 && !(t->actions & row->action))
        return false;
    return row->place == PLACE_ANYWHERE ||
           (t->is_awaited && (row->place == PLACE_AWAITED || t->asked == MILTER_STEP_END_OF_BODY));
}

static void
take_packet(struct milter_talk *t, const struct milter_packet *packet)
{
    const struct answer_row *row = find_answer(packet->answer);

    if (t->step == MILTER_STEP_NEGOTIATE && packet->answer == MILTER_NEGOTIATE)
        take_negotiation(t, packet->payload);
    else if (t->step == MILTER_STEP_NEGOTIATE)
        milter_talk_fail(t, "it does not speak the milter protocol");
    else if (row == NULL)
        milter_talk_fail(t, "it gives an answer that is none");
    else if (!is_in_place(t, row))
        milter_talk_fail(t, "it gives an answer out of turn");
    else if (row->take)
        row->take(t, packet->payload);
    else
        end(t, row->outcome);
}

/* --- Life. */

void
milter_talk_init(struct milter_talk *t, const struct milter_question *question,
                 const struct milter_talk_ops *ops, void *ctx, struct buf *out)
{
    *t = (struct milter_talk){.question = question, .ops = ops, .ctx = ctx, .out = out};
    buf_init(&t->in, 0);
    buf_init(&t->chunk, 0);
    buf_init(&t->value, 0);
    buf_init(&t->coming, 0);
}

void
milter_talk_fini(struct milter_talk *t)
{
    buf_fini(&t->in);
    buf_fini(&t->chunk);
    buf_fini(&t->value);
    buf_fini(&t->coming);
    milter_edits_clear(&t->edits);
}

void
milter_talk_start(struct milter_talk *t)
{
    size_t begun = milter_packet_begin(t->out, MILTER_NEGOTIATE);

    milter_put_u32(t->out, MILTER_VERSION);
    milter_put_u32(t->out, MILTER_ACTIONS_OFFERED);
    milter_put_u32(t->out, MILTER_STEPS_OFFERED);
    milter_packet_end(t->out, begun);
    t->is_awaited = true;
}

bool
milter_talk_is_full(const struct milter_talk *t)
{
    return t->outcome == MILTER_OUTCOME_OPEN && buf_size(&t->coming) > 0;
}

static void
take_packets(struct milter_talk *t)
{
    struct milter_packet packet;

    while (t->outcome == MILTER_OUTCOME_OPEN && hand_on(t))
        switch (milter_packet_take(&t->in, &packet)) {
        case MILTER_PACKET_WHOLE:
            take_packet(t, &packet);
            milter_talk_go_on(t);
            break;
        case MILTER_PACKET_PART:
            return;
        case MILTER_PACKET_BAD:
            milter_talk_fail(t, "it gives a packet of no length, or of too great a one");
            break;
        }
}

void
milter_talk_feed(struct milter_talk *t, struct slice input)
{
    if (t->outcome != MILTER_OUTCOME_OPEN)
        return;
    buf_add_slice(&t->in, input);
    take_packets(t);
}

void
milter_talk_resume(struct milter_talk *t)
{
    take_packets(t);
    if (t->step != MILTER_STEP_NEGOTIATE)
        milter_talk_go_on(t);
}
