/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every cell of the two tables of DESIGN section 5, and what happens to the replies of a backend.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "relayd/decision.h"

static const struct smtp_reply no_mailbox = {
    .code = 550, .enhanced = {5, 1, 1}, .text = "No such user"};

static const char *
word_of(struct decision_rcpt d)
{
    static char text[64];
    static const char *const actions[] = {
        [DECISION_RCPT_LIVE] = "live",     [DECISION_RCPT_OURS] = "ours",
        [DECISION_RCPT_PASS] = "pass",     [DECISION_RCPT_DEFER] = "defer",
        [DECISION_RCPT_REJECT] = "reject",
    };
    bool has_verdict = d.action == DECISION_RCPT_DEFER || d.action == DECISION_RCPT_REJECT;

    snprintf(text, sizeof text, "%s%s%s%s%s", actions[d.action], has_verdict ? " " : "",
             has_verdict ? smtp_verdict_word(d.verdict) : "", d.learn_valid ? " +valid" : "",
             d.learn_invalid ? " +invalid" : "");
    return text;
}

/* Columns: known valid, accept-all domain, unknown, known invalid, known invalid and stale. */
static const struct {
    const char *name;
    struct decision_rcpt_input input;
    const char *want[DECISION_KNOWN_COUNT];
} rcpt_rows[] = {
    {"ok", {.class = SMTP_CLASS_OK}, {"live +valid", "live", "live", "live +valid", "live +valid"}},
    {"ok, the domain is picky",
     {.class = SMTP_CLASS_OK, .is_picky = true},
     {"live +valid", "live", "live +valid", "live +valid", "live +valid"}},
    {"refused",
     {.class = SMTP_CLASS_REFUSED},
     {"pass +invalid", "pass", "pass +invalid", "pass", "pass"}},
    {"refused while recovering",
     {.class = SMTP_CLASS_REFUSED, .backend = DECISION_BACKEND_RECOVERING},
     {"defer recovering", "pass", "pass +invalid", "pass", "pass"}},
    {"refused at MAIL",
     {.class = SMTP_CLASS_REFUSED, .reply_is_to_mail = true},
     {"pass", "pass", "pass", "pass", "pass"}},
    {"refused because of us",
     {.class = SMTP_CLASS_REFUSED, .blames_us = true},
     {"defer backend-blames-us", "defer backend-blames-us", "defer backend-blames-us",
      "defer backend-blames-us", "defer backend-blames-us"}},
    {"later", {.class = SMTP_CLASS_LATER}, {"pass", "pass", "pass", "pass", "pass"}},
    {"later with live-4xx",
     {.class = SMTP_CLASS_LATER, .live_4xx = true},
     {"ours", "pass", "pass", "pass", "pass"}},
    {"away",
     {.class = SMTP_CLASS_AWAY},
     {"ours", "ours", "ours", "reject user-unknown", "defer backend-away"}},
    {"away, when-down defer",
     {.class = SMTP_CLASS_AWAY, .when_down = REGISTRY_WHEN_DOWN_DEFER},
     {"ours", "ours", "defer backend-away", "reject user-unknown", "defer backend-away"}},
    {"away, when-down reject",
     {.class = SMTP_CLASS_AWAY, .when_down = REGISTRY_WHEN_DOWN_REJECT},
     {"ours", "ours", "reject not-confirmed", "reject user-unknown", "defer backend-away"}},
    {"down: the class is ignored",
     {.class = SMTP_CLASS_OK, .backend = DECISION_BACKEND_DOWN},
     {"ours", "ours", "ours", "reject user-unknown", "defer backend-away"}},
    {"unknown cannot be, and is deferred",
     {.class = SMTP_CLASS_UNKNOWN},
     {"defer backend-away", "defer backend-away", "defer backend-away", "defer backend-away",
      "defer backend-away"}},
};

Test(decision, every_cell_at_RCPT)
{
    for (size_t i = 0; i < ARRAY_SIZE(rcpt_rows); i++)
        for (int known = 0; known < DECISION_KNOWN_COUNT; known++) {
            struct decision_rcpt_input input = rcpt_rows[i].input;
            const char *got;

            input.known = (enum decision_known)known;
            input.reply = input.class == SMTP_CLASS_AWAY ? NULL : &no_mailbox;
            got = word_of(decision_at_rcpt(&input));
            cr_expect_str_eq(got, rcpt_rows[i].want[known], "%s, known %d: %s", rcpt_rows[i].name,
                             known, got);
        }
}

/* P3 and P1 over all that can be given: a 250 needs a backend that said ok, or our own keeping of a
 * recipient that is not known invalid; a verdict's code fits its action. */
Test(decision, P1_no_250_without_reason_at_RCPT)
{
    for (unsigned bits = 0; bits < 1u << 10; bits++) {
        struct decision_rcpt_input input = {
            .backend = (enum decision_backend)(bits % 3),
            .class = (enum smtp_class)((bits >> 2) % 5),
            .known = (enum decision_known)((bits >> 5) % DECISION_KNOWN_COUNT),
            .when_down = (enum registry_when_down)((bits >> 8) % 3),
            .reply = &no_mailbox,
        };
        struct decision_rcpt d = decision_at_rcpt(&input);
        bool said_ok = input.backend != DECISION_BACKEND_DOWN && input.class == SMTP_CLASS_OK;
        unsigned first = smtp_verdict_reply(d.verdict).code / 100;

        if (d.action == DECISION_RCPT_LIVE)
            cr_assert(said_ok && first == 2);
        if (d.action == DECISION_RCPT_OURS)
            cr_assert(first == 2 && !said_ok && input.known < DECISION_KNOWN_INVALID);
        if (d.action == DECISION_RCPT_DEFER)
            cr_assert_eq(first, 4);
        if (d.action == DECISION_RCPT_REJECT)
            cr_assert_eq(first, 5);
    }
}

static const struct {
    const char *reply;
    bool learned;
} teaching[] = {
    {"550 5.1.1 x", true},  {"550 5.1.0 x", true},  {"550 5.1.10 x", true}, {"550 x", true},
    {"551 x", true},        {"553 x", true},        {"552 x", false},       {"554 x", false},
    {"554 5.1.1 x", true},  {"550 5.7.1 x", false}, {"550 5.2.1 x", false}, {"550 5.1.8 x", false},
    {"550 5.1.7 x", false}, {"550 5.0.0 x", false},
};

Test(decision, only_refusals_of_the_mailbox_teach)
{
    for (size_t i = 0; i < ARRAY_SIZE(teaching); i++) {
        struct smtp_reply reply;
        struct decision_rcpt_input input = {
            .class = SMTP_CLASS_REFUSED, .known = DECISION_KNOWN_NOT, .reply = &reply};

        cr_assert_eq(smtp_reply_from_text(slice_of(teaching[i].reply), &reply), ERR_OK);
        cr_expect_eq(decision_at_rcpt(&input).learn_invalid, teaching[i].learned, "%s",
                     teaching[i].reply);
    }
}

/* Columns: only live, only ours, mixed and not prepared yet, mixed. 452: FAIL with spool-failed,
 * 451: FAIL with local-problem. */
static const char *const dot_rows[DECISION_EVENT_COUNT][DECISION_SIDE_COUNT] = {
    [DECISION_EVENT_OK] = {"250 delivered", "451", "451", "250 delivered, confirm"},
    [DECISION_EVENT_REFUSED] = {"pass", "451", "pass", "cancel, pass"},
    [DECISION_EVENT_LATER] = {"pass", "451", "pass", "cancel, pass"},
    [DECISION_EVENT_AWAY] = {"commit", "commit", "commit", "confirm all"},
    [DECISION_EVENT_UNKNOWN] = {"commit, unknown", "451", "451", "confirm all, unknown"},
    [DECISION_EVENT_COMMIT_FAILED] = {"452", "452", "452", "452"},
    [DECISION_EVENT_GONE_BEFORE] = {"drop", "drop", "drop", "cancel, pass"},
    [DECISION_EVENT_GONE_AFTER] = {"record", "record", "451", "record, confirm"},
};

static const char *
dot_word(struct decision_dot d)
{
    static char text[32];
    static const char *const actions[] = {
        [DECISION_DOT_DELIVERED] = " delivered",
        [DECISION_DOT_CONFIRM] = " delivered, confirm",
        [DECISION_DOT_PASS] = "pass",
        [DECISION_DOT_CANCEL] = "cancel, pass",
        [DECISION_DOT_COMMIT] = "commit",
        [DECISION_DOT_COMMIT_UNKNOWN] = "commit, unknown",
        [DECISION_DOT_CONFIRM_ALL] = "confirm all",
        [DECISION_DOT_CONFIRM_ALL_UNKNOWN] = "confirm all, unknown",
        [DECISION_DOT_FAIL] = "",
        [DECISION_DOT_DROP] = "drop",
        [DECISION_DOT_RECORD] = "record",
        [DECISION_DOT_RECORD_CONFIRM] = "record, confirm",
    };

    if (d.action != DECISION_DOT_DELIVERED && d.action != DECISION_DOT_CONFIRM &&
        d.action != DECISION_DOT_FAIL)
        return actions[d.action];
    snprintf(text, sizeof text, "%u%s", smtp_verdict_reply(d.verdict).code, actions[d.action]);
    return text;
}

Test(decision, P1_every_cell_at_the_dot)
{
    for (int event = 0; event < DECISION_EVENT_COUNT; event++)
        for (int side = 0; side < DECISION_SIDE_COUNT; side++) {
            struct decision_dot d =
                decision_at_dot((enum decision_side)side, (enum decision_event)event, false);

            cr_expect_str_eq(dot_word(d), dot_rows[event][side], "event %d, side %d: %s", event,
                             side, dot_word(d));
        }
}

Test(decision, a_backend_that_blames_us_is_deferred_at_the_dot)
{
    struct decision_dot d = decision_at_dot(DECISION_ONLY_LIVE, DECISION_EVENT_REFUSED, true);

    cr_expect_eq(d.action, DECISION_DOT_FAIL);
    cr_expect_eq(d.verdict, SMTP_VERDICT_BLAMES_US);
    d = decision_at_dot(DECISION_MIXED, DECISION_EVENT_REFUSED, true);
    cr_expect(d.action == DECISION_DOT_CANCEL && d.verdict == SMTP_VERDICT_BLAMES_US);
    d = decision_at_dot(DECISION_ONLY_LIVE, DECISION_EVENT_OK, true);
    cr_expect_eq(d.action, DECISION_DOT_DELIVERED);
}

#define REF " [P001-4KX3T-0B7Q2CF]"

static const struct {
    const char *name;
    enum smtp_phase phase;
    const char *from, *want;
} passes[] = {
    {"as it is", SMTP_PHASE_RCPT, "550 5.1.1 No", "550 5.1.1 No" REF},
    {"no enhanced code", SMTP_PHASE_RCPT, "550 No", "550 5.0.0 No" REF},
    {"no enhanced code, 4xx", SMTP_PHASE_DOT, "450 No", "450 4.0.0 No" REF},
    {"no text", SMTP_PHASE_RCPT, "550 5.1.1", "550 5.1.1 [P001-4KX3T-0B7Q2CF]"},
    {"452 at RCPT", SMTP_PHASE_RCPT, "452 4.2.2 Full", "450 4.2.2 Full" REF},
    {"452 at the dot", SMTP_PHASE_DOT, "452 4.2.2 Full", "452 4.2.2 Full" REF},
    {"strange 5xx", SMTP_PHASE_DOT, "571 5.7.1 No", "550 5.7.1 No" REF},
    {"strange 4xx", SMTP_PHASE_DOT, "432 4.7.12 No", "451 4.7.12 No" REF},
    {"very strange", SMTP_PHASE_DOT, "250 2.0.0 No", "451 4.0.0 No" REF},
    {"its address", SMTP_PHASE_DOT, "550 host 192.0.2.10 said",
     "550 5.0.0 host destination said" REF},
    {"its address in brackets", SMTP_PHASE_DOT, "550 mx[192.0.2.10]:25 said",
     "550 5.0.0 mx[destination]:25 said" REF},
    {"its address with a port", SMTP_PHASE_DOT, "550 192.0.2.10:25",
     "550 5.0.0 destination:25" REF},
    {"a longer address is another", SMTP_PHASE_DOT, "550 192.0.2.101", "550 5.0.0 192.0.2.101" REF},
    {"its name", SMTP_PHASE_DOT, "550 MX.acme.example: no", "550 5.0.0 destination: no" REF},
    {"its name ends the sentence", SMTP_PHASE_DOT, "550 by mx.acme.example.",
     "550 5.0.0 by destination." REF},
    {"a name below its name", SMTP_PHASE_DOT, "550 inner.mx.acme.example",
     "550 5.0.0 destination" REF},
    {"a name that goes on", SMTP_PHASE_DOT, "550 mx.acme.example.org",
     "550 5.0.0 mx.acme.example.org" REF},
    {"an address at its name stays", SMTP_PHASE_DOT, "550 <a@mx.acme.example> no",
     "550 5.0.0 <a@mx.acme.example> no" REF},
    {"twice", SMTP_PHASE_DOT, "550 mx.acme.example mx.acme.example 192.0.2.10",
     "550 5.0.0 destination destination destination" REF},
};

Test(decision, P6_replies_are_passed_without_the_backends_names)
{
    struct inet_endpoint backend;
    struct ref ref;

    cr_assert_eq(inet_endpoint_parse(SLICE("192.0.2.10:25"), 0, &backend), ERR_OK);
    cr_assert_eq(ref_parse(SLICE("P001-4KX3T-0B7Q2CF"), &ref), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(passes); i++) {
        struct smtp_reply from, out;
        char text[SMTP_REPLY_LINE_SIZE];

        cr_assert_eq(smtp_reply_from_text(slice_of(passes[i].from), &from), ERR_OK);
        decision_pass_reply(&(struct decision_passing){.from = &from,
                                                       .phase = passes[i].phase,
                                                       .backend = &backend,
                                                       .banner_name = "mx.acme.example",
                                                       .ref = ref},
                            &out);
        cr_expect_str_eq(smtp_reply_text(&out, text, sizeof text), passes[i].want, "%s: %s",
                         passes[i].name, text);
    }
}

Test(decision, a_text_full_of_names_stays_within_its_bound)
{
    struct smtp_reply from = {.code = 550}, out;
    struct ref ref = ref_make(1, 1795000000000, 1, 1), found;

    for (size_t i = 0; i + 5 < sizeof from.text; i += 5)
        memcpy(from.text + i, "a.bc ", 5);
    decision_pass_reply(
        &(struct decision_passing){
            .from = &from, .phase = SMTP_PHASE_DOT, .banner_name = "a.bc", .ref = ref},
        &out);
    cr_expect_null(strstr(out.text, "a.bc"));
    cr_expect_lt(strlen(out.text), sizeof out.text);
    cr_expect_eq(ref_find(slice_of(out.text), &found), ERR_OK);
}

static const struct {
    const char *name, *reply;
    bool blames;
} blames[] = {
    {"our address", "550 5.7.1 203.0.113.5 is listed", true},
    {"in brackets", "554 5.7.1 Client host [203.0.113.5] blocked", true},
    {"in a link", "550 5.7.23 see http://spf.example/?ip=203.0.113.5&x", true},
    {"our name", "550 Relay.Example is not permitted", true},
    {"IPv6", "550 2001:DB8::5 has no PTR", true},
    {"the second of two", "550 x.relay.example and relay.example", true},
    {"another address", "550 203.0.113.50 is listed", false},
    {"a name that goes on", "550 relay.example.org", false},
    {"a longer IPv6 address", "550 2001:db8::5:1", false},
    {"an address of ours", "550 ask postmaster@relay.example", false},
    {"4xx is no refusal", "450 203.0.113.5 is listed", false},
    {"nothing", "550", false},
};

Test(decision, a_refusal_that_names_us_is_seen)
{
    static const char *const ours[] = {"203.0.113.5", "2001:db8::5", "relay.example", "relay"};

    for (size_t i = 0; i < ARRAY_SIZE(blames); i++) {
        struct smtp_reply reply;

        cr_assert_eq(smtp_reply_from_text(slice_of(blames[i].reply), &reply), ERR_OK);
        cr_expect_eq(decision_blames_us(&reply, ours, ARRAY_SIZE(ours)), blames[i].blames, "%s",
                     blames[i].name);
    }
}

static const struct {
    const char *text;
    uint16_t local_length;
    bool is_relay_form;
} locals[] = {
    {"user@acme.example", 4, false},
    {"user%other@acme.example", 10, true},
    {"other!user@acme.example", 10, true},
    {"\"user@other\"@acme.example", 12, true},
    {"dir/file@acme.example", 8, true},
    {"a|b@acme.example", 3, true},
    {"\"a b\"@acme.example", 5, false},
    {"a\xef\xbc\xa0@acme.example", 4, true}, /* U+FF20, the fullwidth @ */
    {"a\xef\xbd\x9c@acme.example", 4, true}, /* U+FF5C, the fullwidth | */
    {"a\xef\xbd\x9b@acme.example", 4, false},
    {"a@\xef\xbc\xa0.example", 1, false},
    {"a+b@acme.example", 3, false},
    {"postmaster", 10, false},
    {"", 0, false},
};

Test(decision, P3_relay_forms_are_seen)
{
    for (size_t i = 0; i < ARRAY_SIZE(locals); i++) {
        struct smtp_path path = {.local_length = locals[i].local_length};

        snprintf(path.text, sizeof path.text, "%s", locals[i].text);
        cr_expect_eq(decision_local_part_is_relay_form(&path), locals[i].is_relay_form, "%s",
                     locals[i].text);
    }
}
