/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A kind is a list of paragraphs; a paragraph is a text of the table, or a small function where it
 * depends.  No sentence of a language is in this file: they are in customer_notice.def.
 */
#include "notice/customer_notice.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "notice/notice_mime.h"

enum text {
#define TEXT(id, en, de, nl, da) TEXT_##id,
#include "notice/customer_notice.def"
#undef TEXT
    TEXT_COUNT
};

static const char *const texts[TEXT_COUNT][NOTICE_LANGUAGES] = {
#define TEXT(id, en, de, nl, da) [TEXT_##id] = {en, de, nl, da},
#include "notice/customer_notice.def"
#undef TEXT
};

#define VALUES_MAX 24
#define ADDRESS_MOST 254
#define RECIPIENTS_MOST 1000
#define REASON_MOST 400

struct writer {
    const struct customer_notice *n;
    struct buf body; /* UTF-8, lines end with LF */
    struct notice_value values[VALUES_MAX];
    unsigned value_count;
    char since[NOTICE_WHEN_SIZE], back[NOTICE_WHEN_SIZE], first[NOTICE_WHEN_SIZE],
        away[NOTICE_WHEN_SIZE], bytes[NOTICE_WHEN_SIZE];
};

const char *
customer_notice_word(enum customer_notice_kind kind)
{
    static const char *const words[] = {
        [CUSTOMER_NOTICE_NONE] = "none",          [CUSTOMER_NOTICE_DOWN] = "down",
        [CUSTOMER_NOTICE_BACK] = "back",          [CUSTOMER_NOTICE_WARN_48] = "warning-48",
        [CUSTOMER_NOTICE_WARN_12] = "warning-12", [CUSTOMER_NOTICE_DIGEST] = "digest",
    };

    return words[kind];
}

/* --- Values of the gaps. */

static void
add_value(struct writer *w, const char *name, const char *text, uint64_t number)
{
    CHECK(w->value_count + 1 < VALUES_MAX); /* the last is the end */
    w->values[w->value_count++] = (struct notice_value){name, text, number};
}

static const char *
why_text(const struct customer_notice *n)
{
    static const enum text whys[CUSTOMER_NOTICE_WHY_COUNT] = {
        [CUSTOMER_NOTICE_WHY_UNKNOWN] = TEXT_WHY_UNKNOWN,
        [CUSTOMER_NOTICE_WHY_CONNECT] = TEXT_WHY_CONNECT,
        [CUSTOMER_NOTICE_WHY_TIMEOUT] = TEXT_WHY_TIMEOUT,
        [CUSTOMER_NOTICE_WHY_GREETING] = TEXT_WHY_GREETING,
        [CUSTOMER_NOTICE_WHY_LOST] = TEXT_WHY_LOST,
        [CUSTOMER_NOTICE_WHY_TLS] = TEXT_WHY_TLS,
        [CUSTOMER_NOTICE_WHY_BROKEN] = TEXT_WHY_BROKEN,
        [CUSTOMER_NOTICE_WHY_REFUSES] = TEXT_WHY_REFUSES,
        [CUSTOMER_NOTICE_WHY_NAME] = TEXT_WHY_NAME,
    };

    return texts[whys[n->why]][n->language];
}

static void
fill_values(struct writer *w)
{
    const struct customer_notice *n = w->n;

    add_value(w, "customer", n->customer, 0);
    add_value(w, "hostname", n->hostname, 0);
    add_value(w, "postmaster", n->postmaster, 0);
    add_value(w, "servers", n->servers, 0);
    add_value(w, "reason", why_text(n), 0);
    add_value(w, "since", notice_when(n->language, n->since_ms, w->since), 0);
    add_value(w, "back", notice_when(n->language, n->back_at_ms, w->back), 0);
    add_value(w, "away", notice_span(n->language, n->back_at_ms - n->since_ms, w->away), 0);
    add_value(w, "first", notice_when(n->language, n->first_expires_at_ms, w->first), 0);
    add_value(w, "bytes", notice_size(n->language, n->bytes, w->bytes), 0);
    add_value(w, "messages", NULL, n->messages);
    add_value(w, "firsts", NULL, n->first_messages);
    add_value(w, "unheard", NULL, n->unheard);
    add_value(w, "delivered", NULL, n->delivered);
    add_value(w, "failed", NULL,
              n->kind == CUSTOMER_NOTICE_DIGEST ? n->failure_count + n->more : n->failed);
    add_value(w, "more", NULL, n->more);
    add_value(w, "hours", NULL, n->kind == CUSTOMER_NOTICE_WARN_12 ? 12 : 48);
}

/* --- Paragraphs. */

static const char *
text_of(const struct writer *w, enum text text)
{
    return texts[text][w->n->language];
}

static void
fill(const struct writer *w, enum text text, struct buf *out)
{
    notice_fill(out, w->n->language, text_of(w, text), w->values);
}

static void
say(struct writer *w, enum text text)
{
    struct buf filled;

    buf_init(&filled, 0);
    fill(w, text, &filled);
    notice_wrap(&w->body, buf_slice(&filled));
    buf_fini(&filled);
}

static void
end_paragraph(struct writer *w)
{
    buf_add_text(&w->body, "\n");
}

static void
say_alone(struct writer *w, enum text text)
{
    say(w, text);
    end_paragraph(w);
}

static void
say_outage(struct writer *w)
{
    say(w, TEXT_DOWN_SINCE);
    say_alone(w, TEXT_REASON);
}

static bool
is_down(const struct customer_notice *n)
{
    return n->since_ms != 0 && n->back_at_ms == 0;
}

static bool
refuses(const struct customer_notice *n)
{
    return is_down(n) && n->why == CUSTOMER_NOTICE_WHY_REFUSES;
}

static void
say_remedies(struct writer *w)
{
    say_alone(w, TEXT_ADVICE);
    if (refuses(w->n))
        say(w, TEXT_ADVICE_RECIPIENTS);
    else if (is_down(w->n)) {
        say(w, TEXT_ADVICE_START);
        say(w, TEXT_ADVICE_CHECK);
    }
    if (w->n->kind != CUSTOMER_NOTICE_DOWN)
        say(w, TEXT_WARN_MORE_TIME);
    end_paragraph(w);
}

static void
say_commands(struct writer *w)
{
    const struct customer_notice *n = w->n;

    say_alone(w, TEXT_COMMANDS);
    if (n->backend[0] != '\0')
        buf_printf(&w->body, "    relayctl backend test %s\n", n->backend);
    if (refuses(n) && n->backend[0] != '\0')
        buf_printf(&w->body, "    relayctl backend release %s\n", n->backend);
    buf_printf(&w->body, "    relayctl spool list --customer %s\n", n->customer);
    if (n->kind != CUSTOMER_NOTICE_DOWN)
        buf_printf(&w->body,
                   "    relayctl spool retry --customer %s\n"
                   "    relayctl spool extend --customer %s --until +2d\n",
                   n->customer, n->customer);
    end_paragraph(w);
}

static void
write_down(struct writer *w)
{
    say_outage(w);
    say_alone(w, TEXT_DOWN_KEPT);
    if (w->n->first_expires_at_ms != 0)
        say_alone(w, TEXT_DOWN_UNTIL);
    say_remedies(w);
    say_commands(w);
}

static void
write_back(struct writer *w)
{
    say_alone(w, TEXT_BACK_SINCE);
    say(w, TEXT_BACK_DELIVERED);
    say(w, w->n->failed > 0 ? TEXT_BACK_FAILED : TEXT_BACK_NONE_FAILED);
    if (w->n->messages > 0)
        say(w, TEXT_BACK_REMAINING);
    end_paragraph(w);
}

static void
write_warning(struct writer *w)
{
    say(w, TEXT_WARN_FIRST);
    if (w->n->first_messages < w->n->messages)
        say(w, TEXT_WARN_REST);
    end_paragraph(w);
    if (is_down(w->n))
        say_outage(w);
    else
        say_alone(w, w->n->is_up ? TEXT_WARN_UP : TEXT_WARN_UNKNOWN);
    say_alone(w, w->n->unheard > 0 ? TEXT_WARN_UNHEARD : TEXT_WARN_ALL_HEAR);
    say_remedies(w);
    say_commands(w);
}

static enum text
end_text(enum spool_end end)
{
    switch (end) {
    case SPOOL_END_REFUSED:
        return TEXT_ENDED_REFUSED;
    case SPOOL_END_RETURNED:
        return TEXT_ENDED_RETURNED;
    case SPOOL_END_REMOVED:
        return TEXT_ENDED_REMOVED;
    case SPOOL_END_NONE:
    case SPOOL_END_DELIVERED:
    case SPOOL_END_EXPIRED:
    case SPOOL_END_CANCELLED:
        break;
    }
    return TEXT_ENDED_EXPIRED;
}

static void
add_fact(struct writer *w, enum text label, const char *text, size_t most)
{
    buf_printf(&w->body, "    %s: ", text_of(w, label));
    notice_mime_clean(&w->body, slice_of(text), most);
    buf_add_text(&w->body, "\n");
}

static void
write_failure(struct writer *w, const struct customer_failure *f)
{
    char at[CLOCK_LOCAL_SIZE];

    buf_printf(&w->body, "%s, %s, %s\n", f->ref, clock_local(f->at_ms, at),
               text_of(w, end_text(f->end)));
    add_fact(w, TEXT_LINE_FROM, f->sender[0] ? f->sender : text_of(w, TEXT_LINE_NULL),
             ADDRESS_MOST);
    add_fact(w, TEXT_LINE_TO, f->recipients, RECIPIENTS_MOST);
    add_fact(w, TEXT_LINE_REASON, f->reason, REASON_MOST);
    buf_printf(&w->body, "    %s\n",
               text_of(w, f->is_sender_told ? TEXT_LINE_TOLD : TEXT_LINE_UNTOLD));
}

static void
write_digest(struct writer *w)
{
    const struct customer_notice *n = w->n;

    say_alone(w, TEXT_DIGEST_INTRO);
    for (size_t i = 0; i < n->failure_count; i++)
        write_failure(w, &n->failures[i]);
    if (n->more > 0)
        say(w, TEXT_DIGEST_MORE);
    end_paragraph(w);
    say_alone(w, TEXT_COMMANDS);
    buf_add_text(&w->body, "    relayctl spool show ID\n\n");
}

static const struct kind {
    enum text subject;
    void (*write)(struct writer *w);
} kinds[] = {
    [CUSTOMER_NOTICE_DOWN] = {TEXT_DOWN_SUBJECT, write_down},
    [CUSTOMER_NOTICE_BACK] = {TEXT_BACK_SUBJECT, write_back},
    [CUSTOMER_NOTICE_WARN_48] = {TEXT_WARN_SUBJECT, write_warning},
    [CUSTOMER_NOTICE_WARN_12] = {TEXT_WARN_SUBJECT, write_warning},
    [CUSTOMER_NOTICE_DIGEST] = {TEXT_DIGEST_SUBJECT, write_digest},
};

/* --- All of it. */

/* RFC 5322 3.6, RFC 3834 5; a person who answers reaches one. */
static void
write_header(const struct writer *w, struct buf *out)
{
    const struct customer_notice *n = w->n;
    char date[CLOCK_RFC5322_SIZE];
    struct buf subject;

    buf_printf(out,
               "From: Mail gateway <%s>\r\n"
               "To: <%s>\r\n"
               "Reply-To: <%s>\r\n",
               n->from, n->to, n->postmaster);
    buf_init(&subject, 0);
    fill(w, kinds[n->kind].subject, &subject);
    buf_add_text(out, "Subject: ");
    notice_mime_subject(out, buf_slice(&subject));
    buf_fini(&subject);
    buf_printf(out,
               "\r\nDate: %s\r\n"
               "Message-ID: <%016" PRIx64 "%016" PRIx64 "@%s>\r\n"
               "Auto-Submitted: auto-generated\r\n"
               "Content-Language: %s\r\n"
               "MIME-Version: 1.0\r\n"
               "Content-Type: text/plain; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
               clock_rfc5322(n->now_ms, date), n->random[0], n->random[1], n->hostname,
               notice_language_word(n->language));
}

void
customer_notice_write(const struct customer_notice *notice, struct buf *out)
{
    struct writer w = {.n = notice};

    buf_init(&w.body, 0);
    fill_values(&w);
    write_header(&w, out);
    kinds[notice->kind].write(&w);
    say_alone(&w, TEXT_ASK);
    buf_add_text(&w.body, "-- \n");
    say(&w, TEXT_FOOT);
    notice_mime_quoted(out, buf_slice(&w.body));
    buf_fini(&w.body);
}
