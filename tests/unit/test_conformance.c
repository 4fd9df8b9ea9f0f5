/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The judgement of a customer's server: what was seen, and what must be found.  The scripts.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "conformance/conformance_form.h"
#include "conformance/conformance_script.h"

#define DAY_MS 86400000LL
#define NOW_MS (20000 * DAY_MS)

/* --- Connections. */

struct found {
    char words[2000]; /* "check=finding ..." */
};

static void
on_finding(void *ctx, const struct conformance_finding *finding)
{
    struct found *f = ctx;
    const struct finding_row *row = &conformance_rows[finding->id];
    size_t n = strlen(f->words);

    snprintf(f->words + n, sizeof f->words - n, "%s=%s ", row->check, row->word);
}

static bool
has(const struct found *f, const char *word)
{
    char padded[100];

    snprintf(padded, sizeof padded, "%s ", word);
    return strncmp(f->words, padded, strlen(padded)) == 0 ||
           (snprintf(padded, sizeof padded, " %s ", word), strstr(f->words, padded) != NULL);
}

static struct smtp_reply
reply(const char *text)
{
    struct smtp_reply r;

    cr_assert_eq(smtp_reply_from_text(slice_of(text), &r), ERR_OK);
    return r;
}

/* One that is connected to, greets and says EHLO, without any extension. */
static struct conformance_seen
plain(void)
{
    struct conformance_seen seen = {
        .hostname = "relay.example", .wall_ms = NOW_MS, .timeout_ms = 15000, .tls = TLS_POLICY_MAY};

    seen.size_needed_bytes = 20 << 20;
    seen.first.connected = seen.first.ready = true;
    seen.first.banner = reply("220 mail.example ESMTP");
    seen.first.ehlo = reply("250 mail.example");
    return seen;
}

struct connection_case {
    const char *name;
    void (*change)(struct conformance_seen *seen);
    const char *found, *not_found;
};

#define CHANGE(name, ...)                              \
    static void name(struct conformance_seen *s)       \
    {                                                  \
        struct conformance_talk_result *r = &s->first; \
        (void)r;                                       \
        __VA_ARGS__                                    \
    }

CHANGE(nothing, )
CHANGE(unconnected, r->connected = false;)
CHANGE(silent, r->banner.code = 0; r->timed_out = true;)
CHANGE(hangs_up, r->banner.code = 0;)
CHANGE(garbage, r->banner.code = 0; r->is_garbage = true;)
CHANGE(turned_away, r->banner = reply("421 4.7.0 busy");)
CHANGE(ourselves, r->banner = reply("220 Relay.Example ESMTP");)
CHANGE(ours_and_more, r->banner = reply("220 relay.example.net ESMTP");)
CHANGE(helo_only, r->ehlo = reply("502 5.5.1 no"); r->helo = reply("250 hello");)
CHANGE(no_ehlo, r->ehlo = reply("550 5.7.1 no"); r->helo = reply("550 5.7.1 no");)
CHANGE(size_exact, r->caps.has_size = true; r->caps.size_max_bytes = 20 << 20;)
CHANGE(size_less, r->caps.has_size = true; r->caps.size_max_bytes = (20 << 20) - 1;)
CHANGE(size_open, r->caps.has_size = true;)
CHANGE(size_unlimited, r->caps.has_size = true; r->caps.size_max_bytes = 1 << 30;
       s->size_needed_bytes = UINT64_MAX;)
CHANGE(needed, s->tls = TLS_POLICY_ENCRYPT;)
CHANGE(unused, s->tls = TLS_POLICY_NONE; r->tls_offered = true;)
CHANGE(broken, r->tls_offered = true; r->tls_tried = true;)
CHANGE(fails, r->tls_offered = true; r->tls_tried = true; s->tls = TLS_POLICY_VERIFY;)
static void
set_certificate(struct conformance_seen *s, enum tls_policy tls, int64_t days, const char *trouble)
{
    s->tls = tls;
    s->first.tls_offered = s->first.tls_tried = s->first.tls_works = true;
    s->first.certificate.is_seen = true;
    s->first.certificate.end_ms = NOW_MS + days * DAY_MS;
    snprintf(s->first.certificate.trouble, sizeof s->first.certificate.trouble, "%s", trouble);
}
CHANGE(good_seal, set_certificate(s, TLS_POLICY_VERIFY, 90, "");)
CHANGE(ends_soon, set_certificate(s, TLS_POLICY_VERIFY, 13, "");)
CHANGE(expired, set_certificate(s, TLS_POLICY_ENCRYPT, -1, "certificate has expired");)
CHANGE(expired_verify, set_certificate(s, TLS_POLICY_VERIFY, -1, "certificate has expired");)
CHANGE(own_seal, set_certificate(s, TLS_POLICY_MAY, 90, "self-signed certificate");)
CHANGE(injected, set_certificate(s, TLS_POLICY_MAY, 90, ""); r->injected_bytes = 7;)
CHANGE(odd, snprintf(r->odd, sizeof r->odd, "x");)

static const struct connection_case connection_cases[] = {
    {"plain", nothing,
     "connect=connects greeting=greets ehlo=esmtp size=unsaid tls=not-offered protocol=sound",
     "certificate"},
    {"unconnected", unconnected, "connect=no-connection", "greeting"},
    {"silent", silent, "greeting=silent", "ehlo"},
    {"hangs up", hangs_up, "greeting=hangs-up", "ehlo"},
    {"garbage", garbage, "protocol=no-smtp", "ehlo"},
    {"turned away", turned_away, "greeting=turns-away", "ehlo"},
    {"ourselves", ourselves, "greeting=is-us", "ehlo"},
    {"a longer name than ours", ours_and_more, "greeting=greets", "is-us"},
    {"HELO", helo_only, "ehlo=helo-only tls=not-offered", "size"},
    {"neither", no_ehlo, "ehlo=refused", "tls"},
    {"size exact", size_exact, "size=enough", "small"},
    {"size less", size_less, "size=small", "enough"},
    {"size open", size_open, "size=enough", "small"},
    {"no limit of ours", size_unlimited, "size=enough", "small"},
    {"TLS needed", needed, "tls=needed", "certificate"},
    {"TLS unused", unused, "tls=unused", "certificate"},
    {"TLS broken", broken, "tls=broken", "certificate"},
    {"TLS fails", fails, "tls=fails", "certificate"},
    {"good certificate", good_seal, "tls=works certificate=good", "ends-soon"},
    {"ends soon", ends_soon, "certificate=ends-soon", "good"},
    {"expired, any will do", expired, "certificate=expired", "refused"},
    {"expired, verified", expired_verify, "certificate=refused", "expired"},
    {"self-signed, any will do", own_seal, "certificate=untrusted", "refused"},
    {"injected", injected, "tls=injected", "broken"},
    {"odd", odd, "protocol=odd", "sound"},
};

static void
expect(const char *name, const struct conformance_seen *seen, const char *words,
       const char *not_found)
{
    struct found f = {""};
    struct slice rest = slice_of(words);

    conformance_judge(seen, on_finding, &f);
    while (rest.n > 0) {
        char word[60];

        slice_to_text(slice_split(&rest, ' '), word, sizeof word);
        cr_expect(has(&f, word), "%s: no %s in %s", name, word, f.words);
    }
    cr_expect(not_found[0] == '\0' || strstr(f.words, not_found) == NULL, "%s: %s in %s", name,
              not_found, f.words);
}

Test(conformance, connections_are_judged)
{
    for (size_t i = 0; i < ARRAY_SIZE(connection_cases); i++) {
        const struct connection_case *c = &connection_cases[i];
        struct conformance_seen seen = plain();

        c->change(&seen);
        expect(c->name, &seen, c->found, c->not_found);
    }
}

/* --- Answers. */

struct answer {
    enum conformance_ask ask;
    const char *text; /* NULL: none */
    int64_t ms;
};

static const struct {
    const char *name;
    struct answer answers[5];
    const char *found, *not_found;
} answer_cases[] = {
#define A(ask, ...)                        \
    {                                      \
        CONFORMANCE_ASK_##ask, __VA_ARGS__ \
    }
    {"nobody is known",
     {A(SENDER, "250 ok", 0)},
     "sender=taken known-recipient=not-asked latency=fast",
     "unknown-recipient"},
    {"known", {A(KNOWN, "250 2.1.5 ok", 0)}, "known-recipient=taken", "greylisted"},
    {"greylisted by its code",
     {A(KNOWN, "451 4.7.1 no", 0)},
     "known-recipient=greylisted",
     "deferred"},
    {"greylisted by its word",
     {A(KNOWN, "450 4.2.0 <a@b>: Recipient address rejected: Greylisted", 0)},
     "known-recipient=greylisted",
     "deferred"},
    {"deferred", {A(KNOWN, "452 4.2.2 full", 0)}, "known-recipient=deferred", "greylisted"},
    {"refused", {A(KNOWN, "550 5.1.1 no", 0)}, "known-recipient=refused", "taken"},
    {"unanswered", {A(KNOWN, NULL, 0)}, "known-recipient=unanswered", "refused"},
    {"strangers",
     {A(STRANGER, "550 5.1.1 no", 0), A(STRANGER, "250 ok", 0), A(STRANGER, "450 4.1.1 later", 0)},
     "unknown-recipient=refused unknown-recipient=taken unknown-recipient=deferred",
     "unknown-recipient=not-asked"},
    {"null sender", {A(NULL_SENDER, "250 ok", 0)}, "null-sender=taken", "refused"},
    {"null sender at RCPT",
     {A(NULL_SENDER, "250 ok", 0), A(NULL_RCPT, "550 no", 0), A(KNOWN, "250 ok", 0)},
     "null-sender=refused",
     ""},
    {"a recipient nobody reaches",
     {A(NULL_SENDER, "250 ok", 0), A(NULL_RCPT, "550 no", 0), A(KNOWN, "550 no", 0)},
     "null-sender=taken",
     ""},
    {"SPF by its code", {A(SPF_SENDER, "550 5.7.23 no", 0)}, "spf=checked", ""},
    {"SPF by its word",
     {A(SPF_SENDER, "250 ok", 0), A(SPF_RCPT, "550 5.7.1 SPF fail", 0)},
     "spf=checked",
     ""},
    {"spfx is no SPF", {A(SPF_SENDER, "550 5.7.1 spfx", 0)}, "spf=own-domain", ""},
    {"not SPF", {A(SPF_SENDER, "250 ok", 0), A(SPF_RCPT, "250 ok", 0)}, "spf=not-checked", ""},
    {"the recipient, not SPF",
     {A(SPF_SENDER, "250 ok", 0), A(SPF_RCPT, "550 no user", 0), A(KNOWN, "550 no user", 0)},
     "spf=not-asked",
     ""},
    {"closed", {A(RELAY, "554 5.7.1 no", 0)}, "relay=closed", ""},
    {"open", {A(RELAY, "554 5.7.1 no", 0), A(RELAY, "250 ok", 0)}, "relay=open", ""},
    {"open by a form", {A(RELAY, "554 no", 0), A(RELAY_FORM, "250 ok", 0)}, "relay=open-form", ""},
    {"takes all",
     {A(RELAY, "554 no", 0), A(RELAY_FORM, "250 ok", 0), A(STRANGER, "250 ok", 0)},
     "relay=unsure",
     ""},
    {"the domain", {A(RELAY, "550 5.1.2 no such domain", 0)}, "relay=unsure", ""},
    {"later", {A(RELAY, "450 4.1.2 try again", 0)}, "relay=unsure", ""},
    {"proven", {A(RELAY, "250 ok", 0), A(RELAY_DOT, "250 queued", 0)}, "relay=proven", ""},
    {"relay unasked", {A(RELAY, NULL, 0)}, "relay=not-asked", ""},
    {"slow", {A(KNOWN, "250 ok", 1500)}, "latency=slow", "tarpit"},
    {"tarpit", {A(KNOWN, "250 ok", 5000)}, "latency=tarpit", "slow"},
    {"slow to refuse",
     {A(STRANGER, "550 no", 5000)},
     "latency=fast refusal-latency=slow",
     "tarpit"},
    {"fewer", {A(MANY, "250 ok", 0), A(MANY, "452 4.5.3 no", 0)}, "recipients=fewer", ""},
    {"reuse", {A(SENDER, "250 ok", 0), A(REUSE, "250 ok", 0)}, "reuse=works", ""},
    {"no reuse", {A(SENDER, "250 ok", 0), A(REUSE, NULL, 0)}, "reuse=fails", ""},
    {"content",
     {A(CONTENT, "250 ok", 0), A(CONTENT, "554 5.7.1 virus", 0), A(CONTENT, "451 later", 0)},
     "content=taken content=refused content=deferred",
     ""},
#undef A
};

Test(conformance, answers_are_judged)
{
    for (size_t i = 0; i < ARRAY_SIZE(answer_cases); i++) {
        struct conformance_seen seen = plain();
        struct conformance_step steps[5] = {0};
        char line[] = "RCPT", about[] = "x";

        seen.session_count = 1;
        seen.sessions[0] = (struct conformance_talk_script){.steps = steps};
        for (size_t k = 0; k < 5 && answer_cases[i].answers[k].ask; k++) {
            const struct answer *a = &answer_cases[i].answers[k];

            steps[k] =
                (struct conformance_step){.ask = a->ask, .about = about, .line = line, .ms = a->ms};
            if (a->text)
                steps[k].reply = reply(a->text);
            seen.sessions[0].count++;
        }
        expect(answer_cases[i].name, &seen, answer_cases[i].found, answer_cases[i].not_found);
    }
}

Test(conformance, every_row_is_whole)
{
    for (unsigned id = 0; id < CONFORMANCE_ID_COUNT; id++) {
        const struct finding_row *row = &conformance_rows[id];

        cr_expect(row->text[0] != '\0' && row->text[strlen(row->text) - 1] == '.', "%s", row->word);
        cr_expect((row->verdict == FINDING_PASS) == (row->remedy[0] == '\0'), "%s: %s", row->check,
                  row->word);
    }
}

Test(conformance, odd_forms_are_seen_in_any_cut)
{
    static const struct {
        const char *answers;
        bool is_odd;
    } cases[] = {
        {"250 ok\r\n", false},
        {"250\r\n250 ok\r\n", false},
        {"250-a\r\n250-b\r\n250 c\r\n550 no\r\n", false},
        {"250-a\r\n251 b\r\n", true},
        {"250 ok\n", true},
        {"250ok\r\n", true},
        {"250 ok\r\n\n", true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t cut = 0; cut <= strlen(cases[i].answers); cut++) {
            struct conformance_form form = {0};
            struct slice all = slice_of(cases[i].answers);
            const char *first = conformance_form_take(&form, (struct slice){all.p, cut}),
                       *second =
                           conformance_form_take(&form, (struct slice){all.p + cut, all.n - cut});

            cr_expect_eq(first != NULL || second != NULL, cases[i].is_odd, "%zu cut at %zu", i,
                         cut);
        }
}

/* --- Scripts. */

static unsigned
count_line(const struct conformance_talk_script *s, const char *verb)
{
    unsigned count = 0;

    for (size_t i = 0; i < s->count; i++)
        count += s->steps[i].line && strncmp(s->steps[i].line, verb, strlen(verb)) == 0;
    return count;
}

static void
check_script(const struct conformance_seen *seen, bool delivers)
{
    for (unsigned i = 0; i < seen->session_count; i++) {
        const struct conformance_talk_script *s = &seen->sessions[i];
        unsigned errors = count_line(s, "RCPT TO:<postern") + count_line(s, "RCPT TO:<relay");

        cr_expect(s->count > 0 && errors <= 10, "session %u: %u", i, errors);
        cr_expect(delivers || count_line(s, "DATA") == 0, "session %u", i);
        cr_expect(s->delivers || count_line(s, "MAIL") == count_line(s, "RSET"), "session %u", i);
        for (size_t k = 0; k < s->count; k++)
            cr_expect(s->steps[k].line == NULL || strpbrk(s->steps[k].line, "\r\n") == NULL);
    }
}

Test(conformance, nothing_is_delivered_that_was_not_asked_for)
{
    static const char *const domains[] = {"a.example", ".b.example", "c.example"};
    static const char *const rcpts[] = {"x@a.example"};
    struct conformance_question q = {.tls_name = "",
                                     .hostname = "relay.example",
                                     .sender = "postmaster@relay.example",
                                     .domains = domains,
                                     .rcpts = rcpts,
                                     .token = "abcdefghijklmnopqrst"};

    cr_assert_eq(inet_endpoint_parse(SLICE("192.0.2.1:25"), 25, &q.endpoint), ERR_OK);
    for (q.domain_count = 0; q.domain_count <= ARRAY_SIZE(domains); q.domain_count++)
        for (q.rcpt_count = 0; q.rcpt_count <= 1; q.rcpt_count++) {
            struct conformance_seen seen = plain();
            unsigned parallel;

            conformance_script_make(&q, &seen, &parallel);
            cr_expect(parallel >= 3 && parallel < seen.session_count);
            check_script(&seen, false);
            conformance_script_fini(&seen);
        }
}

Test(conformance, what_was_asked_for_is_delivered)
{
    static const char *const rcpts[] = {"x@a.example"};
    struct conformance_question q = {.tls_name = "",
                                     .hostname = "relay.example",
                                     .sender = "postmaster@relay.example",
                                     .rcpts = rcpts,
                                     .rcpt_count = 1,
                                     .deliver_to = rcpts[0],
                                     .content = true,
                                     .probe_from = "postmaster+t@relay.example",
                                     .sink = "sink@isp.example",
                                     .token = "abcdefghijklmnopqrst"};
    struct conformance_seen seen = plain();
    unsigned parallel, deliveries = 0;

    cr_assert_eq(inet_endpoint_parse(SLICE("192.0.2.1:25"), 25, &q.endpoint), ERR_OK);
    conformance_script_make(&q, &seen, &parallel);
    check_script(&seen, true);
    for (unsigned i = 0; i < seen.session_count; i++)
        deliveries += seen.sessions[i].delivers;
    cr_expect_eq(deliveries, 3, "%u", deliveries);
    conformance_script_fini(&seen);
}
