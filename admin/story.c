/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each event of the reference is some labelled paragraphs; an explanation that was given once is
 * not repeated.  Fields that are not there, as in an old event whose names are gone, are left out.
 */
#include "admin/story.h"

#include <stdlib.h>
#include <string.h>

#include "admin/event_words.h"
#include "admin/paragraph.h"
#include "admin/replies.h"
#include "admin/story_kept.h"
#include "base/clock.h"
#include "base/parse.h"
#include "policy/policy.h"

#define EXPLAINED_MAX 32

struct telling {
    const struct call *call;
    FILE *out;
    const json_t *events;
    enum smtp_verdict explained[EXPLAINED_MAX];
    unsigned explained_count;
};

static const char *
text_of(const json_t *event, const char *key)
{
    return event_words_text(event, key);
}

static bool
is_kind(const json_t *event, const char *kind)
{
    return strcmp(text_of(event, "event"), kind) == 0;
}

static bool
is_verdict(const json_t *event, const char *word)
{
    return strcmp(text_of(event, "verdict"), word) == 0;
}

/* The first digit of what was answered. */
static char
class_of(const json_t *event)
{
    return text_of(event, "reply")[0];
}

/* `label`: text of a peer; nothing if there is none. */
static void
print_peer(const struct telling *t, const char *label, const char *text)
{
    struct buf b;

    if (text[0] == '\0')
        return;
    buf_init(&b, 0);
    event_words_peer(&b, text);
    paragraph_print(t->out, label, buf_text(&b));
    buf_fini(&b);
}

/* --- Who. */

/* What a check of the client's name has found; "" if none was made. */
static const char *
ptr_result(const json_t *event, const char *wanted)
{
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        if (strcmp(text_of(check, "check"), wanted) == 0)
            return text_of(check, "result");
    }
    return "";
}

static void
add_client(const json_t *event, struct buf *b)
{
    buf_printf(b, "%s", text_of(event, "client"));
    if (text_of(event, "ptr")[0]) {
        buf_add_text(b, " (");
        event_words_peer(b, text_of(event, "ptr"));
        buf_add_text(b, ")");
    } else
        buf_add_text(b, strcmp(ptr_result(event, "ptr-none"), "fail") == 0
                            ? " (without a name in DNS)"
                            : " (name not looked up)");
    if (text_of(event, "helo")[0]) {
        buf_add_text(b, ", which called itself \"");
        event_words_peer(b, text_of(event, "helo"));
        buf_add_text(b, "\"");
    }
}

/* By the word of relayd/session_event.c. */
static const char *
end_of(const json_t *connection)
{
    static const struct {
        const char *word, *text;
    } ends[] = {
        {"quit", "ended with QUIT"},
        {"closed", "was closed by the client without QUIT"},
        {"lost", "was lost"},
        {"timeout", "was closed here, since the client was silent for too long"},
        {"slow", "was closed here, since the client was too slow"},
        {"idle", "was closed here, since the client did nothing"},
        {"stopped", "was closed here, since the relay was stopped"},
        {"limit", "was closed here by a limit"},
        {"tls-failed", "ended when TLS failed"},
        {"refused", "was closed here with a refusal"},
    };
    const char *word = text_of(connection, "end");

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (strcmp(word, ends[i].word) == 0)
            return ends[i].text;
    return word;
}

static void
add_connection(const json_t *connection, struct buf *b)
{
    char ms[PARSE_TEXT_SIZE];
    int64_t lasted_ms = event_words_number(connection, "ms");

    if (lasted_ms > 10000)
        lasted_ms = lasted_ms / 1000 * 1000;
    buf_printf(b, " The connection lasted %s and %s.", format_duration(lasted_ms, ms),
               end_of(connection));
    if (text_of(connection, "via")[0])
        buf_printf(b, " It came through the proxy %s.", text_of(connection, "via"));
    if (text_of(connection, "tls_error")[0]) {
        buf_add_text(b, " TLS failed: ");
        event_words_peer(b, text_of(connection, "tls_error"));
        buf_add_text(b, ".");
    }
}

static void
print_who(const struct telling *t, const json_t *event, const json_t *connection)
{
    bool is_named = text_of(event, "helo")[0] || text_of(event, "tls")[0];
    struct buf b;

    if (text_of(event, "client")[0] == '\0')
        return;
    buf_init(&b, 0);
    add_client(event, &b);
    if (text_of(event, "tls")[0])
        buf_printf(&b, ", over %s.", text_of(event, "tls"));
    else
        buf_add_text(&b, is_named ? ", without TLS." : ".");
    if (connection)
        add_connection(connection, &b);
    paragraph_print(t->out, "Client", buf_text(&b));
    buf_fini(&b);
}

/* --- What was asked. */

static void
add_address(struct buf *b, const char *address)
{
    buf_add_text(b, "<");
    event_words_peer(b, address);
    buf_add_text(b, ">");
}

static void
add_recipients(struct buf *b, const json_t *event)
{
    json_t *rcpt = json_object_get(event, "rcpt"), *one;
    size_t i;

    if (json_is_string(rcpt) && json_string_length(rcpt) == 0)
        buf_add_text(b, "<postmaster> without a domain");
    else if (json_is_string(rcpt))
        add_address(b, json_string_value(rcpt));
    json_array_foreach(rcpt, i, one)
    {
        buf_add_text(b, i ? ", " : "");
        add_address(b, json_string_value(one));
    }
}

static void
add_whose(struct buf *b, const json_t *event)
{
    if (text_of(event, "customer")[0])
        buf_printf(b, ", of the customer %s", text_of(event, "customer"));
    else if (is_verdict(event, "relay-denied"))
        buf_add_text(b, ", of no customer of ours");
}

static void
add_content(struct buf *b, const json_t *event)
{
    if (text_of(event, "message_id")[0]) {
        buf_add_text(b, " Message-ID ");
        event_words_peer(b, text_of(event, "message_id"));
        buf_add_text(b, ".");
    }
    if (event_words_number(event, "size") > 0)
        buf_printf(b, " %lld octets of content.", (long long)event_words_number(event, "size"));
}

static void
print_asked(const struct telling *t, const json_t *event)
{
    struct buf b;

    buf_init(&b, 0);
    if (text_of(event, "from")[0])
        add_address(&b, text_of(event, "from"));
    else
        buf_add_text(&b, "<> (the null sender: a bounce or notice)");
    paragraph_print(t->out, "From", buf_text(&b));
    buf_clear(&b);
    add_recipients(&b, event);
    add_whose(&b, event);
    buf_add_text(&b, ".");
    add_content(&b, event);
    paragraph_print(t->out, "To", buf_text(&b));
    buf_fini(&b);
}

/* --- What was looked at, and who decided. */

/* Whom a filter had it from: the checks are of that address. */
static void
print_origin(const struct telling *t, const json_t *event)
{
    const char *origin = text_of(event, "origin_client");

    if (strcmp(origin, "unknown") == 0)
        paragraph_print(t->out, "Origin",
                        "the filter's Received line names no client, so that "
                        "there is nothing to judge.");
    else if (origin[0])
        paragraph_printf(t->out, "Origin", "%s, says the filter's Received line: that is judged.",
                         origin);
}

/* policy_fact_word in plain words. */
static const struct {
    const char *word, *text;
} results[] = {
    {"pass", "clear"},          {"fail", "hit"},
    {"forged", "forged"},       {"odd", "odd"},
    {"none", "not applicable"}, {"temporary", "no answer from DNS"},
    {"unknown", "not known"},
};

static const char *
result_text(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(results); i++)
        if (strcmp(word, results[i].word) == 0)
            return results[i].text;
    return word;
}

static void
add_check(struct buf *b, const json_t *check)
{
    const char *result = text_of(check, "result");

    buf_printf(b, "%s: %s", text_of(check, "check"), result_text(result));
    if (text_of(check, "input")[0] && strcmp(result, "pass") != 0) {
        buf_add_text(b, " (");
        event_words_peer(b, text_of(check, "input"));
        buf_add_text(b, ")");
    }
}

static void
print_checks(const struct telling *t, const json_t *event)
{
    json_t *checks = json_object_get(event, "checks"), *check;
    struct buf b;
    size_t i;

    buf_init(&b, 0);
    json_array_foreach(checks, i, check)
    {
        buf_add_text(&b, i ? "; " : "");
        add_check(&b, check);
    }
    if (json_array_size(checks) > 0)
        paragraph_print(t->out, "Checks", buf_text(&b));
    buf_fini(&b);
}

/* What a result of SPF that is no pass has meant for the verdict. */
static const char *
weight_of_spf(const json_t *event)
{
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        if (strncmp(text_of(check, "check"), "spf", 3) == 0)
            return "";
    }
    return text_of(event, "decided_by")[0] ? "; not reached: the check that decided comes before it"
                                           : "; this customer's policy does not judge by it";
}

static void
print_spf(const struct telling *t, const json_t *event, const char *key, const char *whose)
{
    char reason_key[32];
    struct buf b;

    if (text_of(event, key)[0] == '\0' || strcmp(text_of(event, key), "none") == 0)
        return;
    snprintf(reason_key, sizeof reason_key, "%s_reason", key);
    buf_init(&b, 0);
    buf_printf(&b, "%s for %s", text_of(event, key), whose);
    if (text_of(event, reason_key)[0]) {
        buf_add_text(&b, ": ");
        event_words_peer(&b, text_of(event, reason_key));
    }
    if (strcmp(text_of(event, key), "pass") != 0)
        buf_add_text(&b, weight_of_spf(event));
    paragraph_print(t->out, "SPF", buf_text(&b));
    buf_fini(&b);
}

static void
print_by_check(const struct telling *t, const json_t *event)
{
    enum policy_check check;
    const char *name = text_of(event, "decided_by");

    if (policy_check_of_name(slice_of(name), &check) == ERR_OK)
        paragraph_printf(t->out, "Decided by", "the check %s of the policy of %s: %s.", name,
                         text_of(event, "customer")[0] ? text_of(event, "customer")
                                                       : "the customer",
                         policy_check_help(check));
    else
        print_peer(t, "Decided by", name);
}

static void
print_backend(const struct telling *t, const json_t *event, const char *label, const char *said)
{
    struct buf b;

    buf_init(&b, 0);
    buf_printf(&b, "the customer's own server");
    if (text_of(event, "backend")[0]) {
        buf_add_text(&b, ", ");
        event_words_peer(&b, text_of(event, "backend"));
    }
    if (text_of(event, "backend_tls")[0])
        buf_printf(&b, " over %s", text_of(event, "backend_tls"));
    if (text_of(event, "backend_reply")[0]) {
        buf_printf(&b, "%s", said);
        event_words_peer(&b, text_of(event, "backend_reply"));
    }
    paragraph_print(t->out, label, buf_text(&b));
    buf_fini(&b);
}

static void
print_decided(const struct telling *t, const json_t *event)
{
    print_peer(t, "Rule", text_of(event, "rule"));
    if (text_of(event, "decided_by")[0])
        print_by_check(t, event);
    else if (is_verdict(event, "refused") || is_verdict(event, "delivered"))
        print_backend(t, event, "Decided by", ", which said: ");
    else if (text_of(event, "backend_reply")[0])
        print_backend(t, event, "Server", ", which had said: ");
}

static void
print_answered(const struct telling *t, const json_t *event)
{
    char when[EVENT_WORDS_TIME_SIZE];

    if (text_of(event, "reply")[0])
        paragraph_printf(t->out, "Answered", "%s, at %s: %s.", text_of(event, "reply"),
                         event_words_time(event, when), text_of(event, "verdict"));
}

/* --- What follows. */

static const char *
outcome_of(const json_t *event)
{
    if (is_verdict(event, "delivered"))
        return "Delivered: the customer's own server has taken the message. What becomes of it "
               "now, is in that server's log.";
    if (is_verdict(event, "spooled"))
        return "Taken and kept here, since the customer's own server could not take it at that "
               "time; it is delivered when that server is back.";
    if (class_of(event) == '2')
        return "Taken.";
    if (class_of(event) == '5')
        return is_kind(event, "message")
                   ? "Refused, and nothing of it was kept: the sending server returns it to its "
                     "sender. A new message is judged anew."
                   : "Refused: the sending server returns it to its sender. A new message is "
                     "judged anew.";
    if (class_of(event) == '4')
        return is_kind(event, "message")
                   ? "Put off: the sending server keeps the message and tries again by itself, "
                     "commonly for some days."
                   : "This recipient was put off: the sending server tries it again by itself, "
                     "commonly for some days.";
    return "";
}

static bool
was_explained(struct telling *t, enum smtp_verdict verdict)
{
    for (unsigned i = 0; i < t->explained_count; i++)
        if (t->explained[i] == verdict)
            return true;
    if (t->explained_count < EXPLAINED_MAX)
        t->explained[t->explained_count++] = verdict;
    return false;
}

/* Of the reply's code, since some words are of several replies. */
static bool
find_verdict(const json_t *event, enum smtp_verdict *verdict)
{
    uint16_t code = (uint16_t)strtoul(text_of(event, "reply"), NULL, 10);

    *verdict = 0;
    if (smtp_verdict_find(text_of(event, "verdict"), code, verdict) == ERR_OK)
        return true;
    *verdict = 0;
    return smtp_verdict_find(text_of(event, "verdict"), 0, verdict) == ERR_OK;
}

/* What the backend decided is in no table of ours. */
static const struct {
    char class;
    const char *why, *remedies[SMTP_REMEDY_COUNT];
} by_backend[] = {
    {'5',
     "The customer's own server has refused it, in the words above; we passed its answer on.",
     {"Do what that answer asks for: correct the address, or the message.",
      "Your server's log says why, at that time; change the rule there if the refusal was "
      "wrong.",
      "Nothing: the customer's server decides. relayctl backend list --customer CUSTOMER has its "
      "name; relayctl backend test with that and --rcpt RECIPIENT asks it again."}},
    {'4',
     "The customer's own server has put it off, in the words above; we passed its answer on.",
     {"Nothing: your mail server keeps the message and tries again by itself.",
      "Your server's log says why, at that time; exempt this relay from greylisting and limits "
      "there.",
      "relayctl customer set CUSTOMER --live-4xx keep takes such mail and tries it again from "
      "here; what is refused later goes back to its sender as a bounce, where that is safe."}},
};

static void
explain_backend(const struct telling *t, const json_t *event, const struct replies_case *about)
{
    for (size_t i = 0; i < ARRAY_SIZE(by_backend); i++) {
        if (by_backend[i].class != class_of(event))
            continue;
        paragraph_print(t->out, "Why", by_backend[i].why);
        for (int r = 0; r < SMTP_REMEDY_COUNT; r++)
            replies_print_remedy(t->out, (enum smtp_remedy)r, by_backend[i].remedies[r], about);
    }
}

/* The first recipient's; of a client behind a filter, whom the filter had it from. */
static struct replies_case
case_of(const json_t *event)
{
    const char *origin = text_of(event, "origin_client");
    const json_t *rcpt = json_object_get(event, "rcpt");
    const char *recipient = json_string_value(json_is_array(rcpt) ? json_array_get(rcpt, 0) : rcpt);
    const char *at = recipient ? strrchr(recipient, '@') : NULL;

    return (struct replies_case){
        .customer = text_of(event, "customer"),
        .address = origin[0] && strcmp(origin, "unknown") != 0 ? origin : text_of(event, "client"),
        .sender = text_of(event, "from"),
        .recipient = recipient,
        .domain = text_of(event, "domain")[0] ? text_of(event, "domain") : (at ? at + 1 : NULL),
        .check = text_of(event, "decided_by"),
    };
}

static void
explain(struct telling *t, const json_t *event)
{
    struct replies_case about = case_of(event);
    enum smtp_verdict verdict;

    if (is_verdict(event, "refused"))
        explain_backend(t, event, &about);
    else if (class_of(event) != '2' && find_verdict(event, &verdict) && !was_explained(t, verdict))
        replies_print_help(t->out, verdict, &about);
}

/* --- The whole. */

/* As the event before it, but for the recipient: said in one line. */
static bool
is_same_as(const json_t *event, const json_t *before)
{
    static const char *const keys[] = {"event", "verdict", "from", "customer", "backend_reply"};

    if (before == NULL || !is_kind(event, "recipient-refused"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(text_of(event, keys[i]), text_of(before, keys[i])) != 0)
            return false;
    return true;
}

static void
print_again(const struct telling *t, const json_t *event)
{
    struct buf b;

    buf_init(&b, 0);
    add_recipients(&b, event);
    buf_printf(&b, ", likewise: %s", text_of(event, "reply"));
    paragraph_print(t->out, "To", buf_text(&b));
    buf_fini(&b);
}

static void
print_event(struct telling *t, const json_t *event)
{
    print_asked(t, event);
    print_origin(t, event);
    print_checks(t, event);
    print_spf(t, event, "spf", "the sender's domain");
    print_spf(t, event, "spf_helo", "the name in HELO");
    print_decided(t, event);
    print_answered(t, event);
    paragraph_print(t->out, "Outcome", outcome_of(event));
    explain(t, event);
}

static void
print_events(struct telling *t)
{
    json_t *event, *before = NULL;
    size_t i;

    json_array_foreach(t->events, i, event)
    {
        bool is_same = is_same_as(event, before);

        if (i > 0 && !is_same)
            fputc('\n', t->out);
        if (is_same)
            print_again(t, event);
        else
            print_event(t, event);
        before = event;
    }
}

static void
print_head(const struct call *call, const struct story *s)
{
    char id[REF_SIZE], when[CLOCK_LOCAL_SIZE];

    fprintf(call->printing.out, "%s, begun at %s on node %u\n\n", ref_text(s->ref, id),
            clock_local(ref_minute_wall_ms(s->ref), when), s->ref.node);
}

const json_t *
story_message(const struct story *s)
{
    const json_t *found = NULL;
    json_t *event;
    size_t i;

    json_array_foreach(s->events, i, event)
    {
        if (is_kind(event, "message"))
            found = event;
    }
    return found;
}

void
story_print(const struct call *call, const struct story *s)
{
    struct telling t = {.call = call, .out = call->printing.out, .events = s->events};
    const json_t *first = json_array_get(s->events, 0);

    print_head(call, s);
    if (first)
        print_who(&t, first, s->connection);
    print_events(&t);
    if (json_is_true(json_object_get(first, "shortened")))
        paragraph_print(t.out, "Note",
                        "This event is older than event-privacy: addresses and "
                        "names have been shortened, and texts left out.");
    if (s->kept)
        story_kept_print(call, s->kept);
}

/* --- JSON. */

static json_t *
remedy_as_json(const json_t *event, enum smtp_verdict verdict, enum smtp_remedy who)
{
    const struct replies_case about = case_of(event);
    struct buf text;
    json_t *value;

    buf_init(&text, 0);
    replies_fill(&text, smtp_verdict_remedy(verdict, who), &about);
    value = printer_json_text(buf_text(&text));
    buf_fini(&text);
    return value;
}

static json_t *
explanation_as_json(const json_t *event)
{
    enum smtp_verdict verdict;

    if (class_of(event) == '2' || !find_verdict(event, &verdict))
        return NULL;
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "verdict", smtp_verdict_word(verdict), "why",
                     smtp_verdict_help(verdict), "sender",
                     remedy_as_json(event, verdict, SMTP_REMEDY_SENDER), "customer",
                     remedy_as_json(event, verdict, SMTP_REMEDY_CUSTOMER), "operator",
                     remedy_as_json(event, verdict, SMTP_REMEDY_OPERATOR));
}

static json_t *
explanations_as_json(const struct story *s)
{
    json_t *all = json_object(), *event, *one;
    size_t i;

    json_array_foreach(s->events, i, event)
    {
        one = explanation_as_json(event);
        if (one)
            json_object_set_new(all, text_of(event, "verdict"), one);
    }
    return all;
}

void
story_print_json(const struct call *call, const struct story *s)
{
    char id[REF_SIZE], at[CLOCK_RFC3339_SIZE];
    json_t *object = json_pack(
        "{s:s, s:i, s:s, s:s, s:O, s:o, s:o, s:o}", "id", ref_text(s->ref, id), "node",
        (int)s->ref.node, "begun_at", clock_rfc3339(ref_minute_wall_ms(s->ref), at), "source",
        s->source, "events", s->events, "connection",
        s->connection ? json_incref(s->connection) : json_null(), "kept",
        s->kept ? json_incref(s->kept) : json_null(), "explanations", explanations_as_json(s));

    event_words_print_json(call->printing.out, object);
    json_decref(object);
}
