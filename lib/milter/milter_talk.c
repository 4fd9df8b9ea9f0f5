/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two tables: the steps, with what a filter may want left out or leave unanswered; and the answers,
 * with where they are allowed.
 */
#include "milter/milter_talk.h"

#include <stdio.h>

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

/* --- Macros. */

struct macros {
    struct buf *out;
    size_t begun;
};

static struct macros
begin_macros(struct milter_talk *t, char command)
{
    struct macros m = {t->out, milter_packet_begin(t->out, MILTER_MACROS)};

    buf_add(t->out, &command, 1);
    return m;
}

static void
add_macro(const struct macros *m, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    milter_put_string(m->out, slice_of(name));
    milter_put_string(m->out, slice_of(value));
}

static void
end_macros(const struct macros *m)
{
    milter_packet_end(m->out, m->begun);
}

static const char *
client_name(const struct milter_question *q, char dst[INET_ENDPOINT_SIZE])
{
    if (q->client_name[0])
        return q->client_name;
    return inet_literal_text(&q->client, dst);
}

static const char *
host_of(const char *address)
{
    const char *at = strrchr(address, '@');

    return at ? at + 1 : "";
}

/* --- Steps: each says one thing; true: there is another of its kind. */

static bool
say_connect(struct milter_talk *t)
{
    const struct milter_question *q = t->question;
    char address[INET_ENDPOINT_SIZE], literal[INET_ENDPOINT_SIZE], text[INET_ENDPOINT_SIZE + 300];
    struct macros m = begin_macros(t, MILTER_CONNECT);
    size_t begun;

    inet_address_text(&q->client, address);
    snprintf(text, sizeof text, "%.254s [%s]", q->client_name, address);
    add_macro(&m, "j", q->hostname);
    add_macro(&m, "_", q->client_name[0] ? text : inet_literal_text(&q->client, literal));
    add_macro(&m, "v", "Postern");
    add_macro(&m, "{daemon_name}", q->hostname);
    add_macro(&m, "{client_addr}", address);
    add_macro(&m, "{client_name}", client_name(q, literal));
    snprintf(text, sizeof text, "%u", q->client.port);
    add_macro(&m, "{client_port}", text);
    end_macros(&m);
    begun = milter_packet_begin(t->out, MILTER_CONNECT);
    milter_put_string(t->out, slice_of(client_name(q, literal)));
    buf_add(t->out, q->client.family == 6 ? "6" : "4", 1);
    milter_put_u16(t->out, q->client.port);
    milter_put_string(t->out, slice_of(address));
    milter_packet_end(t->out, begun);
    return false;
}

static bool
say_helo(struct milter_talk *t)
{
    const struct milter_question *q = t->question;
    struct macros m = begin_macros(t, MILTER_HELO);
    size_t begun;

    add_macro(&m, "{tls_version}", q->tls_version);
    add_macro(&m, "{cipher}", q->tls_cipher);
    end_macros(&m);
    begun = milter_packet_begin(t->out, MILTER_HELO);
    milter_put_string(t->out, slice_of(q->helo));
    milter_packet_end(t->out, begun);
    return false;
}

static void
say_path(struct milter_talk *t, char command, const char *address)
{
    size_t begun = milter_packet_begin(t->out, command);

    buf_add_text(t->out, "<");
    buf_add_text(t->out, address);
    milter_put_string(t->out, SLICE(">"));
    milter_packet_end(t->out, begun);
}

static bool
say_mail(struct milter_talk *t)
{
    const struct milter_question *q = t->question;
    struct macros m = begin_macros(t, MILTER_MAIL);

    add_macro(&m, "i", q->ref);
    add_macro(&m, "{mail_addr}", q->sender);
    add_macro(&m, "{mail_host}", host_of(q->sender));
    add_macro(&m, "{mail_mailer}", "smtp");
    end_macros(&m);
    say_path(t, MILTER_MAIL, q->sender);
    return false;
}

static bool
say_rcpt(struct milter_talk *t)
{
    const struct milter_question *q = t->question;
    const char *address = q->recipient(q->recipient_ctx, t->index++);
    struct macros m = begin_macros(t, MILTER_RCPT);

    add_macro(&m, "{rcpt_addr}", address);
    add_macro(&m, "{rcpt_host}", host_of(address));
    add_macro(&m, "{rcpt_mailer}", "smtp");
    end_macros(&m);
    say_path(t, MILTER_RCPT, address);
    return t->index < q->recipient_count;
}

static void
say_ref(struct milter_talk *t, char command)
{
    struct macros m = begin_macros(t, command);

    add_macro(&m, "i", t->question->ref);
    end_macros(&m);
}

static bool
say_data(struct milter_talk *t)
{
    say_ref(t, MILTER_DATA);
    milter_packet_put(t->out, MILTER_DATA, SLICE(""));
    return false;
}

/* The next field that is there, from the index on; NULL: there is none. */
static const struct milter_field *
next_field(struct milter_talk *t)
{
    const struct milter_header *h = t->question->header;

    while (t->index < h->count && h->fields[t->index].is_removed)
        t->index++;
    return t->index < h->count ? &h->fields[t->index] : NULL;
}

static bool
say_header(struct milter_talk *t)
{
    const struct milter_field *field = next_field(t);
    size_t begun = milter_packet_begin(t->out, MILTER_HEADER);

    milter_put_string(t->out, field->name);
    buf_clear(&t->value);
    milter_header_told(field, t->protocol & MILTER_LEADING_SPACE, &t->value);
    milter_put_string(t->out, buf_slice(&t->value));
    milter_packet_end(t->out, begun);
    t->index++;
    return next_field(t) != NULL;
}

static bool
say_end_of_header(struct milter_talk *t)
{
    say_ref(t, MILTER_END_OF_HEADER);
    milter_packet_put(t->out, MILTER_END_OF_HEADER, SLICE(""));
    return false;
}

static bool
say_body(struct milter_talk *t)
{
    struct slice s = buf_slice(&t->chunk);

    if (s.n > MILTER_BODY_CHUNK)
        s.n = MILTER_BODY_CHUNK;
    milter_packet_put(t->out, MILTER_BODY, s);
    buf_consume(&t->chunk, s.n);
    return !t->body_ended || buf_size(&t->chunk) > 0;
}

static bool
say_end_of_body(struct milter_talk *t)
{
    say_ref(t, MILTER_END_OF_BODY);
    milter_packet_put(t->out, MILTER_END_OF_BODY, SLICE(""));
    return false;
}

enum step {
    STEP_NEGOTIATE,
    STEP_CONNECT,
    STEP_HELO,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_HEADER,
    STEP_END_OF_HEADER,
    STEP_BODY,
    STEP_END_OF_BODY,
    STEP_COUNT
};

static const struct step_row {
    uint32_t left_out, mute; /* bits of the protocol */
    bool (*say)(struct milter_talk *t);
} steps[STEP_COUNT] = {
    [STEP_CONNECT] = {MILTER_NO_CONNECT, MILTER_MUTE_CONNECT, say_connect},
    [STEP_HELO] = {MILTER_NO_HELO, MILTER_MUTE_HELO, say_helo},
    [STEP_MAIL] = {MILTER_NO_MAIL, MILTER_MUTE_MAIL, say_mail},
    [STEP_RCPT] = {MILTER_NO_RCPT, MILTER_MUTE_RCPT, say_rcpt},
    [STEP_DATA] = {MILTER_NO_DATA, MILTER_MUTE_DATA, say_data},
    [STEP_HEADER] = {MILTER_NO_HEADERS, MILTER_MUTE_HEADERS, say_header},
    [STEP_END_OF_HEADER] = {MILTER_NO_END_OF_HEADER, MILTER_MUTE_END_OF_HEADER, say_end_of_header},
    [STEP_BODY] = {MILTER_NO_BODY, MILTER_MUTE_BODY, say_body},
    [STEP_END_OF_BODY] = {0, 0, say_end_of_body},
};

/* A chunk as large as it may be, or the last.  False: it is not there yet. */
static bool
fill_chunk(struct milter_talk *t)
{
    struct slice piece;

    while (!t->body_ended && buf_size(&t->chunk) < MILTER_BODY_CHUNK)
        switch (t->ops->pull(t->ctx, &piece)) {
        case MILTER_PULL_PIECE:
            buf_add_slice(&t->chunk, piece);
            break;
        case MILTER_PULL_LATER:
            return false;
        case MILTER_PULL_END:
            t->body_ended = true;
            break;
        }
    return true;
}

static bool
has_something(struct milter_talk *t)
{
    switch (t->step) {
    case STEP_RCPT:
        return t->index < t->question->recipient_count;
    case STEP_HEADER:
        return next_field(t) != NULL;
    case STEP_BODY:
        return buf_size(&t->chunk) > 0;
    default:
        return true;
    }
}

static void
next_step(struct milter_talk *t)
{
    t->step++;
    t->index = 0;
}

static void
go_on(struct milter_talk *t)
{
    while (t->outcome == MILTER_OUTCOME_OPEN && !t->is_awaited && t->step < STEP_COUNT &&
           buf_size(t->out) <= MILTER_TALK_OUT_MAX) {
        const struct step_row *row = &steps[t->step];

        if (t->protocol & row->left_out) {
            next_step(t);
            continue;
        }
        if (t->step == STEP_BODY && !fill_chunk(t))
            return;
        if (!has_something(t)) {
            next_step(t);
            continue;
        }
        t->is_awaited = !(t->protocol & row->mute);
        t->asked = t->step;
        if (!row->say(t))
            next_step(t);
    }
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
    next_step(t);
}

static void
take_continue(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    t->is_awaited = false;
    if (t->asked == STEP_END_OF_BODY)
        end(t, MILTER_OUTCOME_ACCEPTED);
}

static void
take_accept(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    end(t, MILTER_OUTCOME_ACCEPTED);
}

static void
take_reject(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    end(t, MILTER_OUTCOME_REFUSED);
}

static void
take_tempfail(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    end(t, MILTER_OUTCOME_LATER);
}

static void
take_discard(struct milter_talk *t, struct slice payload)
{
    (void)payload;
    end(t, MILTER_OUTCOME_DISCARDED);
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
    if (t->asked == STEP_END_OF_BODY) /* it has seen all meanwhile */
        return;
    if (t->asked != STEP_BODY) {
        milter_talk_fail(t, "it skips what it was not shown");
        return;
    }
    t->is_awaited = false;
    t->step = STEP_END_OF_BODY;
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

/* It was not offered: the envelope stays as it is. */
static void
take_nothing(struct milter_talk *t, struct slice payload)
{
    (void)t;
    (void)payload;
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
} answers[] = {
    {MILTER_CONTINUE, PLACE_AWAITED, 0, take_continue},
    {MILTER_ACCEPT, PLACE_ANYWHERE, 0, take_accept},
    {MILTER_REJECT, PLACE_ANYWHERE, 0, take_reject},
    {MILTER_TEMPFAIL, PLACE_ANYWHERE, 0, take_tempfail},
    {MILTER_DISCARD, PLACE_ANYWHERE, 0, take_discard},
    {MILTER_REPLY_CODE, PLACE_ANYWHERE, 0, take_reply},
    {MILTER_PROGRESS, PLACE_AWAITED, 0, take_progress},
    {MILTER_SKIP, PLACE_ANYWHERE, 0, take_skip},
    {MILTER_ADD_HEADER, PLACE_AT_END, MILTER_ACTION_ADD_HEADERS, take_add},
    {MILTER_INSERT_HEADER, PLACE_AT_END, MILTER_ACTION_ADD_HEADERS, take_insert},
    {MILTER_CHANGE_HEADER, PLACE_AT_END, MILTER_ACTION_CHANGE_HEADERS, take_change},
    {MILTER_REPLACE_BODY, PLACE_AT_END, MILTER_ACTION_CHANGE_BODY, take_body},
    {MILTER_QUARANTINE, PLACE_AT_END, MILTER_ACTION_QUARANTINE, take_quarantine},
    {MILTER_ADD_RCPT, PLACE_AT_END, 0, take_nothing},
    {MILTER_ADD_RCPT_PARAMETERS, PLACE_AT_END, 0, take_nothing},
    {MILTER_DELETE_RCPT, PLACE_AT_END, 0, take_nothing},
    {MILTER_CHANGE_FROM, PLACE_AT_END, 0, take_nothing},
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
           (t->is_awaited && (row->place == PLACE_AWAITED || t->asked == STEP_END_OF_BODY));
}

static void
take_packet(struct milter_talk *t, const struct milter_packet *packet)
{
    const struct answer_row *row = find_answer(packet->answer);

    if (t->step == STEP_NEGOTIATE && packet->answer == MILTER_NEGOTIATE)
        take_negotiation(t, packet->payload);
    else if (t->step == STEP_NEGOTIATE)
        milter_talk_fail(t, "it does not speak the milter protocol");
    else if (row == NULL)
        milter_talk_fail(t, "it gives an answer that is none");
    else if (!is_in_place(t, row))
        milter_talk_fail(t, "it gives an answer out of turn");
    else
        row->take(t, packet->payload);
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
            go_on(t);
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
    if (t->step != STEP_NEGOTIATE)
        go_on(t);
}
