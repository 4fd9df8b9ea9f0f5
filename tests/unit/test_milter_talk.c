/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The dialogue with scripted filters: what they are told, in which order, as they wish; what comes
 * of their answers, in any cut; and filters that misbehave.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "milter/milter_talk.h"

struct stage {
    struct milter_talk talk;
    struct milter_question question;
    struct milter_header header;
    struct buf out, in, body, log;
    const char *content; /* what is left of the body */
    size_t content_left;
    bool is_late; /* the next pull has nothing yet */
    bool is_full; /* no new body now */
};

static enum milter_pull
pull(void *ctx, struct slice *piece)
{
    struct stage *s = ctx;

    if (s->is_late) {
        s->is_late = false;
        return MILTER_PULL_LATER;
    }
    if (s->content_left == 0)
        return MILTER_PULL_END;
    *piece = (struct slice){s->content, s->content_left > 1000 ? 1000 : s->content_left};
    s->content += piece->n;
    s->content_left -= piece->n;
    return MILTER_PULL_PIECE;
}

static bool
replace(void *ctx, struct slice piece)
{
    struct stage *s = ctx;

    buf_add_slice(&s->body, piece);
    return buf_size(&s->body) < 1000;
}

static bool
wants_more(void *ctx)
{
    struct stage *s = ctx;

    return !s->is_full;
}

static const struct milter_talk_ops ops = {pull, replace, wants_more};

static const char *
recipient(const void *ctx, unsigned i)
{
    (void)ctx;
    return i == 0 ? "b@b.example" : "c@c.example";
}

static void
open_stage(struct stage *s, const char *body)
{
    *s = (struct stage){.content = body, .content_left = strlen(body)};
    buf_init(&s->out, 0);
    buf_init(&s->in, 0);
    buf_init(&s->body, 0);
    buf_init(&s->log, 0);
    milter_header_init(&s->header);
    cr_assert(
        milter_header_feed(&s->header, SLICE("From: a@a.example\r\nSubject: x\r\n y\r\n\r\n")));
    s->question = (struct milter_question){
        .hostname = "mx.isp.example",
        .ref = "1-2-3",
        .client = {.family = 4, .addr = {192, 0, 2, 1}, .port = 1234},
        .client_name = "mail.a.example",
        .helo = "helo.a.example",
        .tls_version = "TLSv1.3",
        .tls_cipher = "AES",
        .sender = "a@a.example",
        .recipient = recipient,
        .recipient_count = 2,
        .header = &s->header,
    };
    milter_talk_init(&s->talk, &s->question, &ops, s, &s->out);
    milter_talk_start(&s->talk);
}

static void
close_stage(struct stage *s)
{
    milter_talk_fini(&s->talk);
    milter_header_fini(&s->header);
    buf_fini(&s->out);
    buf_fini(&s->in);
    buf_fini(&s->body);
    buf_fini(&s->log);
}

/* What has been said since: "M<a@a.example>|", macros in braces; zeros are shown as ','. */
static const char *
heard(struct stage *s)
{
    struct milter_packet packet;

    buf_clear(&s->log);
    while (milter_packet_take(&s->out, &packet) == MILTER_PACKET_WHOLE) {
        buf_add(&s->log, &packet.answer, 1);
        for (size_t i = 0; i < packet.payload.n; i++)
            buf_add(&s->log, packet.payload.p[i] ? &packet.payload.p[i] : ",", 1);
        buf_add_text(&s->log, "|");
    }
    cr_assert_eq(buf_size(&s->out), 0);
    return buf_text(&s->log);
}

static void
say(struct stage *s, char answer, struct slice payload)
{
    struct buf b;

    buf_init(&b, 0);
    milter_packet_put(&b, answer, payload);
    milter_talk_feed(&s->talk, buf_slice(&b));
    buf_fini(&b);
}

static void
negotiate(struct stage *s, uint32_t version, uint32_t actions, uint32_t protocol)
{
    struct buf b;

    buf_init(&b, 0);
    milter_put_u32(&b, version);
    milter_put_u32(&b, actions);
    milter_put_u32(&b, protocol);
    say(s, MILTER_NEGOTIATE, buf_slice(&b));
    buf_fini(&b);
}

Test(milter_talk, what_a_filter_is_told_step_by_step)
{
    static const struct {
        const char *step, *heard;
    } steps[] = {
        {"connect", "DCj,mx.isp.example,_,mail.a.example [192.0.2.1],v,Postern,{daemon_name},"
                    "mx.isp.example,{client_addr},192.0.2.1,{client_name},mail.a.example,"
                    "{client_port},1234,|Cmail.a.example,4\x04\xd2"
                    "192.0.2.1,|"},
        {"helo", "DH{tls_version},TLSv1.3,{cipher},AES,|Hhelo.a.example,|"},
        {"mail", "DMi,1-2-3,{mail_addr},a@a.example,{mail_host},a.example,{mail_mailer},smtp,|"
                 "M<a@a.example>,|"},
        {"rcpt", "DR{rcpt_addr},b@b.example,{rcpt_host},b.example,{rcpt_mailer},smtp,|"
                 "R<b@b.example>,|"},
        {"rcpt 2", "DR{rcpt_addr},c@c.example,{rcpt_host},c.example,{rcpt_mailer},smtp,|"
                   "R<c@c.example>,|"},
        {"data", "DTi,1-2-3,|T|"},
        {"header", "LFrom,a@a.example,|"},
        {"header 2", "LSubject,x\n y,|"},
        {"end of header", "DNi,1-2-3,|N|"},
        {"body", "Bbody\r\n|"},
        {"end of body", "DEi,1-2-3,|E|"},
    };
    struct stage s;

    open_stage(&s, "body\r\n");
    cr_expect_eq(buf_size(&s.out), 4 + 1 + 12);
    (void)heard(&s);
    negotiate(&s, 6, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        cr_expect_str_eq(heard(&s), steps[i].heard, "%s: %s", steps[i].step, buf_text(&s.log));
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_OPEN);
        say(&s, MILTER_CONTINUE, SLICE(""));
    }
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_ACCEPTED);
    cr_expect_str_eq(heard(&s), "");
    close_stage(&s);
}

Test(milter_talk, a_filter_that_wants_and_says_little)
{
    static const struct {
        const char *name;
        uint32_t version, protocol;
        const char *heard;
    } cases[] = {
        {"nothing but the end", 6,
         MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_MAIL | MILTER_NO_RCPT | MILTER_NO_BODY |
             MILTER_NO_HEADERS | MILTER_NO_END_OF_HEADER | MILTER_NO_DATA,
         "DEi,1-2-3,|E|"},
        {"mute, without the envelope", 6,
         MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_MAIL | MILTER_NO_RCPT | MILTER_NO_DATA |
             MILTER_MUTE_HEADERS | MILTER_MUTE_END_OF_HEADER | MILTER_MUTE_BODY |
             MILTER_LEADING_SPACE,
         "LFrom, a@a.example,|LSubject, x\n y,|DNi,1-2-3,|N|Bbody\r\n|DEi,1-2-3,|E|"},
        {"of an old version DATA is not known", 2,
         MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_MAIL | MILTER_NO_RCPT | MILTER_NO_BODY |
             MILTER_NO_HEADERS,
         "DNi,1-2-3,|N|"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stage s;

        open_stage(&s, "body\r\n");
        (void)heard(&s);
        negotiate(&s, cases[i].version, 0, cases[i].protocol);
        cr_expect_str_eq(heard(&s), cases[i].heard, "%s: %s", cases[i].name, buf_text(&s.log));
        close_stage(&s);
    }
}

#define MUTE 0xff080u
#define ALL_ACTIONS MILTER_ACTIONS_OFFERED

Test(milter_talk, outcomes)
{
    static const struct {
        const char *name;
        char answer;
        struct slice payload;
        enum milter_outcome outcome;
        const char *reply;
    } cases[] = {
        {"accept", 'a', {"", 0}, MILTER_OUTCOME_ACCEPTED, ""},
        {"continue", 'c', {"", 0}, MILTER_OUTCOME_ACCEPTED, ""},
        {"reject", 'r', {"", 0}, MILTER_OUTCOME_REFUSED, ""},
        {"tempfail", 't', {"", 0}, MILTER_OUTCOME_LATER, ""},
        {"discard", 'd', {"", 0}, MILTER_OUTCOME_DISCARDED, ""},
        {"reply",
         'y',
         {"554 5.7.1 Gtube pattern", 24},
         MILTER_OUTCOME_REFUSED,
         "554 5.7.1 Gtube pattern"},
        {"a reply for now", 'y', {"451 4.7.1 later", 16}, MILTER_OUTCOME_LATER, "451 4.7.1 later"},
        {"a reply without enhanced code", 'y', {"550 no", 7}, MILTER_OUTCOME_REFUSED, "550 no"},
        {"a reply of lines",
         'y',
         {"550-5.7.1 one\r\n550 5.7.1 two", 29},
         MILTER_OUTCOME_REFUSED,
         "550 5.7.1 one two"},
        {"controls in it",
         'y',
         {"550 5.7.1 a\001b\nc", 16},
         MILTER_OUTCOME_REFUSED,
         "550 5.7.1 a?b"},
        {"a class that is not the code's",
         'y',
         {"550 4.7.1 no", 13},
         MILTER_OUTCOME_REFUSED,
         "550 no"},
        {"a reply that accepts", 'y', {"250 ok", 7}, MILTER_OUTCOME_FAILED, ""},
        {"a reply of no code", 'y', {"no", 3}, MILTER_OUTCOME_FAILED, ""},
        {"a reply without its end", 'y', {"550 no", 6}, MILTER_OUTCOME_FAILED, ""},
        {"an answer that is none", 'Z', {"", 0}, MILTER_OUTCOME_FAILED, ""},
        {"shutdown", '4', {"", 0}, MILTER_OUTCOME_FAILED, ""},
        {"connection failed", 'f', {"", 0}, MILTER_OUTCOME_FAILED, ""},
        {"it negotiates again", 'O', {"", 0}, MILTER_OUTCOME_FAILED, ""},
        {"a header field of no name", 'h', {",x", 3}, MILTER_OUTCOME_FAILED, ""},
        {"a header field without its end", 'h', {"A\0x", 3}, MILTER_OUTCOME_FAILED, ""},
        {"an index that is cut", 'm', {"\0\0\0", 3}, MILTER_OUTCOME_FAILED, ""},
        {"progress", 'p', {"", 0}, MILTER_OUTCOME_OPEN, ""},
        {"a recipient", '+', {"<x@x.example>", 14}, MILTER_OUTCOME_OPEN, ""},
        {"a recipient less", '-', {"<x@x.example>", 14}, MILTER_OUTCOME_OPEN, ""},
        {"another sender", 'e', {"<x@x.example>", 14}, MILTER_OUTCOME_OPEN, ""},
        {"quarantine", 'q', {"virus", 6}, MILTER_OUTCOME_OPEN, ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[SMTP_REPLY_LINE_SIZE] = "";
        struct stage s;

        open_stage(&s, "body\r\n");
        negotiate(&s, 6, ALL_ACTIONS, MUTE);
        (void)heard(&s);
        say(&s, cases[i].answer, cases[i].payload);
        cr_expect_eq(s.talk.outcome, cases[i].outcome, "%s: %s", cases[i].name,
                     milter_outcome_word(s.talk.outcome));
        cr_expect_eq(s.talk.outcome == MILTER_OUTCOME_FAILED, s.talk.why != NULL);
        if (s.talk.reply.code)
            smtp_reply_text(&s.talk.reply, text, sizeof text);
        if (s.talk.outcome != MILTER_OUTCOME_FAILED)
            cr_expect(strstr(text, cases[i].reply) == text, "%s: %s", cases[i].name, text);
        close_stage(&s);
    }
}

Test(milter_talk, edits_come_at_the_end_alone_and_as_negotiated)
{
    static const struct {
        char answer;
        struct slice payload;
        uint32_t action;
    } cases[] = {
        {'h', {"X-A\0x", 6}, MILTER_ACTION_ADD_HEADERS},
        {'i', {"\0\0\0\0X-A\0x", 10}, MILTER_ACTION_ADD_HEADERS},
        {'m', {"\0\0\0\1X-A\0x", 10}, MILTER_ACTION_CHANGE_HEADERS},
        {'b', {"new", 3}, MILTER_ACTION_CHANGE_BODY},
        {'q', {"why", 4}, MILTER_ACTION_QUARANTINE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stage s;

        open_stage(&s, "body\r\n");
        negotiate(&s, 6, cases[i].action, MUTE);
        say(&s, cases[i].answer, cases[i].payload);
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_OPEN, "%c: %s", cases[i].answer, s.talk.why);
        say(&s, MILTER_ACCEPT, SLICE(""));
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_ACCEPTED);
        cr_expect(s.talk.edits.count == 1 || s.talk.is_replacing || s.talk.quarantine[0]);
        close_stage(&s);

        open_stage(&s, "body\r\n"); /* it has not said that it does such things */
        negotiate(&s, 6, ALL_ACTIONS & ~cases[i].action, MUTE);
        say(&s, cases[i].answer, cases[i].payload);
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED, "%c", cases[i].answer);
        close_stage(&s);

        open_stage(&s, "body\r\n"); /* too early */
        negotiate(&s, 6, ALL_ACTIONS, 0);
        say(&s, cases[i].answer, cases[i].payload);
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED, "%c", cases[i].answer);
        close_stage(&s);
    }
}

Test(milter_talk, a_new_body_that_has_no_room)
{
    static char large[2000];
    struct stage s;

    open_stage(&s, "body\r\n");
    negotiate(&s, 6, ALL_ACTIONS, MUTE);
    say(&s, MILTER_REPLACE_BODY, (struct slice){large, sizeof large});
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED);
    close_stage(&s);
}

Test(milter_talk, a_new_body_that_has_to_wait)
{
    struct stage s;

    open_stage(&s, "body\r\n");
    negotiate(&s, 6, ALL_ACTIONS, MUTE);
    s.is_full = true;
    say(&s, MILTER_REPLACE_BODY, SLICE("new"));
    cr_expect(milter_talk_is_full(&s.talk));
    say(&s, MILTER_REPLACE_BODY, SLICE("er"));
    say(&s, MILTER_ACCEPT, SLICE(""));
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_OPEN, "its last word is behind the body");
    cr_expect_eq(buf_size(&s.body), 0);
    s.is_full = false;
    milter_talk_resume(&s.talk);
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_ACCEPTED);
    cr_expect_str_eq(buf_text(&s.body), "newer");
    close_stage(&s);
}

Test(milter_talk, the_body_comes_in_chunks_waits_and_can_be_skipped)
{
    static char body[200001];
    struct stage s;

    memset(body, 'x', sizeof body - 1);
    open_stage(&s, body);
    (void)heard(&s);
    negotiate(&s, 6, 0, MUTE & ~MILTER_MUTE_BODY);
    (void)heard(&s);
    cr_expect_lt(s.content_left, 200000 - 65000, "a chunk was sent");
    s.is_late = true;
    say(&s, MILTER_CONTINUE, SLICE(""));
    cr_expect_str_eq(heard(&s), "", "there is nothing yet");
    milter_talk_resume(&s.talk);
    cr_expect_eq(strlen(heard(&s)), 65535 + 2);
    say(&s, MILTER_SKIP, SLICE(""));
    cr_expect_str_eq(heard(&s), "DEi,1-2-3,|E|");
    cr_expect_gt(s.content_left, 0);
    close_stage(&s);

    open_stage(&s, body);
    negotiate(&s, 6, 0, 0);
    say(&s, MILTER_SKIP, SLICE(""));
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED, "there was nothing to skip");
    close_stage(&s);
}

Test(milter_talk, commands_wait_for_a_filter_that_does_not_read)
{
    size_t size = 2 * 1024 * 1024;
    char *body = mem_alloc(size + 1);
    struct stage s;

    memset(body, 'x', size);
    open_stage(&s, body);
    negotiate(&s, 6, 0, MUTE);
    for (int turns = 0; s.content_left > 0; turns++) {
        cr_assert_lt(turns, 20);
        cr_assert_gt(buf_size(&s.out), MILTER_TALK_OUT_MAX);
        cr_assert_lt(buf_size(&s.out), MILTER_TALK_OUT_MAX + 2 * 65536);
        (void)heard(&s);
        milter_talk_resume(&s.talk);
    }
    say(&s, MILTER_ACCEPT, SLICE(""));
    cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_ACCEPTED);
    close_stage(&s);
    free(body);
}

Test(milter_talk, negotiations_that_are_none)
{
    static const struct {
        const char *name;
        char answer;
        struct slice payload;
    } cases[] = {
        {"another answer", 'c', {"", 0}},
        {"cut", 'O', {"\0\0\0\6\0\0\0\0\0\0\0", 11}},
        {"version 1", 'O', {"\0\0\0\1\0\0\0\0\0\0\0\0", 12}},
        {"version 7", 'O', {"\0\0\0\7\0\0\0\0\0\0\0\0", 12}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stage s;

        open_stage(&s, "");
        say(&s, cases[i].answer, cases[i].payload);
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED, "%s", cases[i].name);
        cr_expect(s.talk.version == 0 || s.talk.version > 6 || s.talk.version < 2 ||
                  cases[i].payload.n == 11);
        close_stage(&s);
    }
}

Test(milter_talk, packets_that_are_none)
{
    static const struct slice cases[] = {
        {"\0\0\0\0", 4}, {"\xff\xff\xff\xff", 4}, {"HTTP/1.1 400 Bad Request\r\n", 26}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stage s;

        open_stage(&s, "");
        milter_talk_feed(&s.talk, cases[i]);
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_FAILED, "%zu", i);
        close_stage(&s);
    }
}

Test(milter_talk, answers_in_any_cut)
{
    struct stage whole;
    struct buf answers;
    size_t size;

    buf_init(&answers, 0);
    open_stage(&whole, "body\r\n");
    milter_packet_put(&answers, MILTER_NEGOTIATE,
                      (struct slice){"\0\0\0\6\0\0\0\x33\0\x0f\xf0\x80", 12});
    milter_packet_put(&answers, MILTER_PROGRESS, SLICE(""));
    milter_packet_put(&answers, MILTER_ADD_HEADER, (struct slice){"X-A\0x", 6});
    milter_packet_put(&answers, MILTER_REPLACE_BODY, SLICE("new\r\n"));
    milter_packet_put(&answers, MILTER_QUARANTINE, (struct slice){"virus", 6});
    milter_packet_put(&answers, MILTER_CONTINUE, SLICE(""));
    size = buf_size(&answers);
    for (size_t cut = 0; cut <= size; cut++) {
        struct stage s;
        struct slice all = buf_slice(&answers);

        open_stage(&s, "body\r\n");
        milter_talk_feed(&s.talk, (struct slice){all.p, cut});
        milter_talk_feed(&s.talk, (struct slice){all.p + cut, size - cut});
        cr_expect_eq(s.talk.outcome, MILTER_OUTCOME_ACCEPTED, "at %zu: %s", cut, s.talk.why);
        cr_expect_eq(s.talk.edits.count, 1);
        cr_expect_eq(s.talk.progress_count, 1);
        cr_expect_str_eq(s.talk.quarantine, "virus");
        cr_expect_str_eq(buf_text(&s.body), "new\r\n");
        close_stage(&s);
    }
    close_stage(&whole);
    buf_fini(&answers);
}
