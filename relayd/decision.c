/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tables of DESIGN section 5, cell for cell; the tests walk every one.  No cell turns silence
 * of a backend into a refusal, except where the domain's owner asked for it.
 *
 * Text that a backend said is passed on without the backend's own names and addresses: customers
 * hide behind the gate.
 */
#include "relayd/decision.h"

/* --- At RCPT. */
enum cell {
    LIVE,        /* 250, live, learned if the domain is picky */
    LIVE_LEARN,  /* 250, live, learned: seen again, or a negative purged */
    LIVE_SILENT, /* 250, live; nothing is learned */
    PASSED,
    PASSED_LEARN, /* learned if it speaks of the mailbox */
    PASSED_KNOWN, /* the same; 451 while recovering */
    LATER_KNOWN,  /* passed, or ours by the setting live-4xx */
    OURS,
    WHEN_DOWN, /* by the domain's setting */
    REJECT,
    DEFER,
};

/* Columns as enum decision_known: valid, accept-all, not known, invalid, invalid stale. */
static const enum cell at_rcpt[][DECISION_KNOWN_COUNT] = {
    [SMTP_CLASS_OK] = {LIVE_LEARN, LIVE_SILENT, LIVE, LIVE_LEARN, LIVE_LEARN},
    [SMTP_CLASS_REFUSED] = {PASSED_KNOWN, PASSED, PASSED_LEARN, PASSED, PASSED},
    [SMTP_CLASS_LATER] = {LATER_KNOWN, PASSED, PASSED, PASSED, PASSED},
    [SMTP_CLASS_AWAY] = {OURS, OURS, WHEN_DOWN, REJECT, DEFER},
    [SMTP_CLASS_UNKNOWN] = {DEFER, DEFER, DEFER, DEFER, DEFER}, /* cannot be before the dot */
};

enum decision_known
decision_known_of(enum state_recipient state)
{
    static const enum decision_known known[] = {
        [STATE_RECIPIENT_UNKNOWN] = DECISION_KNOWN_NOT,
        [STATE_RECIPIENT_VALID] = DECISION_KNOWN_VALID,
        [STATE_RECIPIENT_INVALID] = DECISION_KNOWN_INVALID,
        [STATE_RECIPIENT_INVALID_STALE] = DECISION_KNOWN_INVALID_STALE,
        [STATE_RECIPIENT_ACCEPT_ALL] = DECISION_KNOWN_ACCEPT_ALL,
    };

    CHECK((unsigned)state < ARRAY_SIZE(known));
    return known[state];
}

/* 5.1.x is the mailbox, but 5.1.7 and 5.1.8 are the sender (RFC 3463 3.2), which servers like to
 * refuse at RCPT. */
bool
decision_speaks_of_mailbox(const struct decision_rcpt_input *input)
{
    const struct smtp_reply *reply = input->reply;

    if (reply == NULL || input->reply_is_to_mail)
        return false;
    if (reply->enhanced.class == 0)
        return reply->code == 550 || reply->code == 551 || reply->code == 553;
    return reply->enhanced.class == 5 && reply->enhanced.subject == 1 &&
           reply->enhanced.detail != 7 && reply->enhanced.detail != 8;
}

static struct decision_rcpt
say(enum decision_rcpt_action action, enum smtp_verdict verdict)
{
    return (struct decision_rcpt){.action = action, .verdict = verdict};
}

static struct decision_rcpt
accept_live(bool learn)
{
    struct decision_rcpt d = say(DECISION_RCPT_LIVE, SMTP_VERDICT_RECIPIENT_OK);

    d.learn_valid = learn;
    return d;
}

static struct decision_rcpt
accept_ours(void)
{
    return say(DECISION_RCPT_OURS, SMTP_VERDICT_RECIPIENT_OK);
}

static struct decision_rcpt
pass(const struct decision_rcpt_input *input, bool learn)
{
    struct decision_rcpt d = say(DECISION_RCPT_PASS, SMTP_VERDICT_LOCAL_PROBLEM);

    d.learn_invalid = learn && decision_speaks_of_mailbox(input);
    return d;
}

static struct decision_rcpt
by_when_down(const struct decision_rcpt_input *input)
{
    switch (input->when_down) {
    case REGISTRY_WHEN_DOWN_ACCEPT:
        return accept_ours();
    case REGISTRY_WHEN_DOWN_REJECT:
        return say(DECISION_RCPT_REJECT, SMTP_VERDICT_NOT_CONFIRMED);
    case REGISTRY_WHEN_DOWN_DEFER:
        break;
    }
    return say(DECISION_RCPT_DEFER, SMTP_VERDICT_BACKEND_LATER);
}

static struct decision_rcpt
act(enum cell cell, const struct decision_rcpt_input *input)
{
    switch (cell) {
    case LIVE:
        return accept_live(input->is_picky);
    case LIVE_LEARN:
        return accept_live(true);
    case LIVE_SILENT:
        return accept_live(false);
    case PASSED:
        return pass(input, false);
    case PASSED_KNOWN:
        if (input->backend == DECISION_BACKEND_RECOVERING)
            return say(DECISION_RCPT_DEFER, SMTP_VERDICT_RECOVERING);
        return pass(input, true);
    case PASSED_LEARN:
        return pass(input, true);
    case LATER_KNOWN:
        return input->live_4xx ? accept_ours() : pass(input, false);
    case OURS:
        return accept_ours();
    case WHEN_DOWN:
        return by_when_down(input);
    case REJECT:
        return say(DECISION_RCPT_REJECT, SMTP_VERDICT_USER_UNKNOWN);
    case DEFER:
        break;
    }
    return say(DECISION_RCPT_DEFER, SMTP_VERDICT_BACKEND_LATER);
}

struct decision_rcpt
decision_at_rcpt(const struct decision_rcpt_input *input)
{
    bool is_down = input->backend == DECISION_BACKEND_DOWN;
    enum smtp_class class = is_down ? SMTP_CLASS_AWAY : input->class;

    CHECK((unsigned)class < ARRAY_SIZE(at_rcpt));
    CHECK((unsigned)input->known < DECISION_KNOWN_COUNT);
    if (class == SMTP_CLASS_REFUSED && input->blames_us)
        return say(DECISION_RCPT_DEFER, SMTP_VERDICT_BLAMES_US);
    return act(at_rcpt[class][input->known], input);
}

/* --- At the dot. */
/* 4xx is always safe, since the sender comes back. */
#define CANNOT_BE                                     \
    {                                                 \
        DECISION_DOT_FAIL, SMTP_VERDICT_LOCAL_PROBLEM \
    }
#define FAILED                                       \
    {                                                \
        DECISION_DOT_FAIL, SMTP_VERDICT_SPOOL_FAILED \
    }
#define SILENT(action)                     \
    {                                      \
        action, SMTP_VERDICT_LOCAL_PROBLEM \
    }
#define TAKEN(action)                  \
    {                                  \
        action, SMTP_VERDICT_DELIVERED \
    }

/* clang-format off */
/* Columns as enum decision_side: only live, only ours, mixed before its record is prepared, mixed.
 * With only ours no backend is asked, so only `away` can be; before the record is prepared no dot
 * is sent, so the end cannot be unknown, or good. */
static const struct decision_dot at_dot[DECISION_EVENT_COUNT][DECISION_SIDE_COUNT] = {
    [DECISION_EVENT_OK] =
        {TAKEN(DECISION_DOT_DELIVERED), CANNOT_BE, CANNOT_BE, TAKEN(DECISION_DOT_CONFIRM)},
    [DECISION_EVENT_REFUSED] =
        {SILENT(DECISION_DOT_PASS), CANNOT_BE, SILENT(DECISION_DOT_PASS), SILENT(DECISION_DOT_CANCEL)},
    [DECISION_EVENT_LATER] =
        {SILENT(DECISION_DOT_PASS), CANNOT_BE, SILENT(DECISION_DOT_PASS), SILENT(DECISION_DOT_CANCEL)},
    [DECISION_EVENT_AWAY] =
        {SILENT(DECISION_DOT_COMMIT), SILENT(DECISION_DOT_COMMIT), SILENT(DECISION_DOT_COMMIT),
         SILENT(DECISION_DOT_CONFIRM_ALL)},
    [DECISION_EVENT_UNKNOWN] =
        {SILENT(DECISION_DOT_COMMIT_UNKNOWN), CANNOT_BE, CANNOT_BE,
         SILENT(DECISION_DOT_CONFIRM_ALL_UNKNOWN)},
    [DECISION_EVENT_COMMIT_FAILED] =
        {FAILED, FAILED, FAILED, FAILED},
    [DECISION_EVENT_GONE_BEFORE] =
        {SILENT(DECISION_DOT_DROP), SILENT(DECISION_DOT_DROP), SILENT(DECISION_DOT_DROP),
         SILENT(DECISION_DOT_CANCEL)},
    [DECISION_EVENT_GONE_AFTER] =
        {SILENT(DECISION_DOT_RECORD), SILENT(DECISION_DOT_RECORD), CANNOT_BE,
         SILENT(DECISION_DOT_RECORD_CONFIRM)},
};
/* clang-format on */

enum decision_event decision_event_of(enum smtp_class class)
{
    static const enum decision_event events[] = {
        [SMTP_CLASS_OK] = DECISION_EVENT_OK,
        [SMTP_CLASS_REFUSED] = DECISION_EVENT_REFUSED,
        [SMTP_CLASS_LATER] = DECISION_EVENT_LATER,
        [SMTP_CLASS_AWAY] = DECISION_EVENT_AWAY,
        [SMTP_CLASS_UNKNOWN] = DECISION_EVENT_UNKNOWN,
    };

    CHECK((unsigned)class < ARRAY_SIZE(events));
    return events[class];
}

struct decision_dot
decision_at_dot(enum decision_side side, enum decision_event event, bool blames_us)
{
    struct decision_dot d;

    CHECK((unsigned)side < DECISION_SIDE_COUNT && (unsigned)event < DECISION_EVENT_COUNT);
    d = at_dot[event][side];
    if (event == DECISION_EVENT_REFUSED && blames_us && d.action == DECISION_DOT_PASS)
        d = (struct decision_dot){DECISION_DOT_FAIL, SMTP_VERDICT_BLAMES_US};
    else if (blames_us && d.action == DECISION_DOT_CANCEL)
        d.verdict = SMTP_VERDICT_BLAMES_US;
    return d;
}

/* --- What the content says of itself. */

enum smtp_verdict
decision_of_content(const struct decision_content *content)
{
    if (content->is_too_big)
        return SMTP_VERDICT_TOO_BIG;
    if (content->own_received >= DECISION_OWN_RECEIVED_MAX)
        return SMTP_VERDICT_BACKEND_LOOP;
    return content->received_count > content->received_max ? SMTP_VERDICT_LOOP : SMTP_VERDICT_OK;
}

/* --- Names in text. */
static bool
is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/* What joins the parts of a name; the colon only in IPv6 addresses, since "name:25" is a name. */
static bool
is_joint(char c, struct slice name)
{
    return c == '.' || c == '_' || (c == ':' && memchr(name.p, ':', name.n) != NULL);
}

static bool
ends_at(struct slice text, size_t at, struct slice name)
{
    if (at == text.n)
        return true;
    if (is_name_char(text.p[at]))
        return false;
    return !(is_joint(text.p[at], name) && at + 1 < text.n && is_name_char(text.p[at + 1]));
}

/* The place where a whole name begins that ends like `name`: back over its further labels, so that
 * "inner.mx.example" goes with "mx.example". */
static size_t
widen(struct slice text, size_t at, struct slice name)
{
    while (at > 0 && (is_name_char(text.p[at - 1]) || is_joint(text.p[at - 1], name)))
        at--;
    return at;
}

/* Finds `name` as a whole, or the end of a longer name, at or behind `from`; never in the domain of
 * a mail address. */
static bool
find_name(struct slice text, size_t from, struct slice name, size_t *start, size_t *end)
{
    for (size_t at = from; at + name.n <= text.n; at++) {
        struct slice here = {text.p + at, text.n - at};

        if (!slice_starts_nocase(here, name) || !ends_at(text, at + name.n, name))
            continue;
        if (at > 0 && is_name_char(text.p[at - 1]))
            continue;
        *start = widen(text, at, name);
        *end = at + name.n;
        if (*start < from || (*start > 0 && text.p[*start - 1] == '@'))
            continue;
        return true;
    }
    return false;
}

/* A bare word ("ESMTP", "localhost") tells nothing about the backend. */
static bool
is_telling(struct slice name)
{
    return name.n > 3 && (memchr(name.p, '.', name.n) || memchr(name.p, ':', name.n));
}

static void
hide(char text[SMTP_REPLY_TEXT_SIZE], struct slice name)
{
    static const struct slice instead = SLICE("destination");
    size_t from = 0, start, end;

    if (!is_telling(name))
        return;
    while (find_name(slice_of(text), from, name, &start, &end)) {
        size_t tail = strlen(text) - end, room = SMTP_REPLY_TEXT_SIZE - 1 - start;
        size_t keep = instead.n < room ? instead.n : room;

        if (tail > room - keep)
            tail = room - keep;
        memmove(text + start + keep, text + end, tail);
        memcpy(text + start, instead.p, keep);
        text[start + keep + tail] = '\0';
        from = start + keep;
    }
}

/* --- Replies that are passed on. */
static uint16_t
code_to_pass(uint16_t code, enum smtp_phase phase)
{
    if (code / 100 == 5)
        return code / 10 == 55 ? code : 550;
    if (code / 10 != 45)
        return 451;
    return code == 452 && phase == SMTP_PHASE_RCPT ? 450 : code;
}

void
decision_pass_reply(const struct decision_passing *passing, struct smtp_reply *out)
{
    char address[INET_ENDPOINT_SIZE];

    *out = *passing->from;
    out->code = code_to_pass(out->code, passing->phase);
    if (out->enhanced.class != out->code / 100)
        out->enhanced = (struct smtp_enhanced){.class = (uint8_t)(out->code / 100)};
    if (passing->backend != NULL)
        hide(out->text, slice_of(inet_address_text(passing->backend, address)));
    if (passing->banner_name != NULL)
        hide(out->text, slice_of(passing->banner_name));
    smtp_reply_add_ref(out, passing->ref);
}

static bool
names(struct slice text, struct slice name)
{
    size_t from = 0, start, end;

    if (!is_telling(name))
        return false;
    for (; find_name(text, from, name, &start, &end); from = end)
        if (end - start == name.n)
            return true;
    return false;
}

bool
decision_blames_us(const struct smtp_reply *reply, const char *const *ours, size_t count)
{
    if (reply->code / 100 != 5)
        return false;
    for (size_t i = 0; i < count; i++)
        if (names(slice_of(reply->text), slice_of(ours[i])))
            return true;
    return false;
}

bool
decision_local_part_is_relay_form(const struct smtp_path *path)
{
    /* U+FF20, U+FE6B, U+FF05, U+FE6A, U+FF01, U+FE57, U+FF0F, U+FF5C */
    static const char *const marks[] = {"@",
                                        "%",
                                        "!",
                                        "/",
                                        "|",
                                        "\xef\xbc\xa0",
                                        "\xef\xb9\xab",
                                        "\xef\xbc\x85",
                                        "\xef\xb9\xaa",
                                        "\xef\xbc\x81",
                                        "\xef\xb9\x97",
                                        "\xef\xbc\x8f",
                                        "\xef\xbd\x9c"};

    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        const char *at = strstr(path->text, marks[i]);

        if (at != NULL && at < path->text + path->local_length)
            return true;
    }
    return false;
}
