/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is said to a filter: the table of the steps, with what it may want left out or leave
 * unanswered, and a small function for each.  A step is over when it has nothing more to say; which
 * is the next is known here, and when it may be said.
 *
 * Invariant: nothing is said while an answer is awaited, or after the outcome.
 */
#include <stdio.h>

#include "milter/milter_talk_private.h"

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

static const struct step_row {
    uint32_t left_out, mute; /* bits of the protocol */
    bool (*say)(struct milter_talk *t);
} steps[MILTER_STEP_COUNT] = {
    [MILTER_STEP_CONNECT] = {MILTER_NO_CONNECT, MILTER_MUTE_CONNECT, say_connect},
    [MILTER_STEP_HELO] = {MILTER_NO_HELO, MILTER_MUTE_HELO, say_helo},
    [MILTER_STEP_MAIL] = {MILTER_NO_MAIL, MILTER_MUTE_MAIL, say_mail},
    [MILTER_STEP_RCPT] = {MILTER_NO_RCPT, MILTER_MUTE_RCPT, say_rcpt},
    [MILTER_STEP_DATA] = {MILTER_NO_DATA, MILTER_MUTE_DATA, say_data},
    [MILTER_STEP_HEADER] = {MILTER_NO_HEADERS, MILTER_MUTE_HEADERS, say_header},
    [MILTER_STEP_END_OF_HEADER] = {MILTER_NO_END_OF_HEADER, MILTER_MUTE_END_OF_HEADER,
                                   say_end_of_header},
    [MILTER_STEP_BODY] = {MILTER_NO_BODY, MILTER_MUTE_BODY, say_body},
    [MILTER_STEP_END_OF_BODY] = {0, 0, say_end_of_body},
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
    case MILTER_STEP_RCPT:
        return t->index < t->question->recipient_count;
    case MILTER_STEP_HEADER:
        return next_field(t) != NULL;
    case MILTER_STEP_BODY:
        return buf_size(&t->chunk) > 0;
    default:
        return true;
    }
}

void
milter_talk_next_step(struct milter_talk *t)
{
    t->step++;
    t->index = 0;
}

void
milter_talk_go_on(struct milter_talk *t)
{
    while (t->outcome == MILTER_OUTCOME_OPEN && !t->is_awaited && t->step < MILTER_STEP_COUNT &&
           buf_size(t->out) <= MILTER_TALK_OUT_MAX) {
        const struct step_row *row = &steps[t->step];

        if (t->protocol & row->left_out) {
            milter_talk_next_step(t);
            continue;
        }
        if (t->step == MILTER_STEP_BODY && !fill_chunk(t))
            return;
        if (!has_something(t)) {
            milter_talk_next_step(t);
            continue;
        }
        t->is_awaited = !(t->protocol & row->mute);
        t->asked = t->step;
        if (!row->say(t))
            milter_talk_next_step(t);
    }
}
