/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl trace: what has become of mail, by sender, recipient, address and so on; the newest
 * first.  An event is two lines on most terminals, since two addresses and a reference do not fit
 * into 80 columns, and a cut address is none.
 */
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/event_source.h"
#include "admin/event_words.h"
#include "admin/missing.h"
#include "base/clock.h"
#include "smtp/smtp_reply.h"

/* --- An event for people. */

/* Of mail that was kept; what is answered at once may have the same word. */
static const struct {
    const char *verdict, *word;
} ends[] = {
    {"delivered", "delivered later"}, {"refused", "refused later"}, {"expired", "expired"},
    {"returned", "returned"},         {"removed", "removed"},
};

/* What happened, in a word. */
static const char *
word_of(const json_t *event)
{
    const char *kind = event_words_text(event, "event");

    for (size_t i = 0; strcmp(kind, "ended") == 0 && i < ARRAY_SIZE(ends); i++)
        if (strcmp(event_words_text(event, "verdict"), ends[i].verdict) == 0)
            return ends[i].word;
    if (event_words_text(event, "verdict")[0])
        return event_words_text(event, "verdict");
    return strcmp(kind, "connection") == 0 ? "(connection)" : kind;
}

static void
add_recipients(const json_t *event, struct buf *text)
{
    json_t *rcpt = json_object_get(event, "rcpt"), *one;
    size_t i;

    if (json_is_string(rcpt))
        event_words_peer(text, json_string_value(rcpt));
    json_array_foreach(rcpt, i, one)
    {
        buf_add_text(text, i ? ", " : "");
        event_words_peer(text, json_string_value(one));
    }
}

static void
add_counted(const json_t *event, struct buf *text)
{
    const char *word, *gap = "";
    json_t *count;

    json_object_foreach(json_object_get(event, "verdicts"), word, count)
    {
        buf_printf(text, "%s%lld %s", gap, (long long)json_integer_value(count), word);
        gap = ", ";
    }
}

static void
add_connection(const json_t *event, struct buf *text)
{
    buf_add_text(text, "HELO ");
    event_words_peer(text,
                     event_words_text(event, "helo")[0] ? event_words_text(event, "helo") : "none");
    buf_printf(text, ", %lld messages, ended: %s", (long long)event_words_number(event, "messages"),
               event_words_text(event, "end"));
}

/* Empty: there is nothing more to say. */
static void
add_what(const json_t *event, struct buf *text)
{
    const char *kind = event_words_text(event, "event");

    if (json_object_get(event, "rcpt") != NULL) {
        buf_add_text(text, "<");
        event_words_peer(text, event_words_text(event, "from"));
        buf_add_text(text, "> to ");
        add_recipients(event, text);
    } else if (strcmp(kind, "refusals") == 0)
        add_counted(event, text);
    else if (strcmp(kind, "connection") == 0)
        add_connection(event, text);
    else if (event_words_text(event, "why")[0])
        buf_printf(text, "%s", event_words_text(event, "why"));
}

/* That of the reply: one verdict may be 4xx or 5xx.  What has ended need not have one of SMTP. */
static void
print_code(struct printer *p, const json_t *event)
{
    const char *reply = event_words_text(event, "reply");
    bool has_code = strspn(reply, "0123456789") == 3;
    char code[4];

    snprintf(code, sizeof code, "%s", has_code ? reply : "");
    printer_text(p, code);
}

static void
print_event(struct printer *p, const json_t *event)
{
    char when[EVENT_WORDS_TIME_SIZE];
    struct buf what;

    buf_init(&what, 0);
    add_what(event, &what);
    printer_text(p, event_words_time(event, when));
    printer_text(p, event_words_text(event, "ref"));
    print_code(p, event);
    printer_word(p, word_of(event));
    printer_text(p, event_words_text(event, "client"));
    printer_text(p, buf_text(&what));
    buf_fini(&what);
}

static void
print_table(const struct call *call, const json_t *events)
{
    static const struct printer_column columns[] = {
        {"at", "WHEN", PRINTER_LEFT},       {"ref", "ID", PRINTER_LEFT},
        {"code", "CODE", PRINTER_LEFT},     {"verdict", "VERDICT", PRINTER_LEFT},
        {"client", "CLIENT", PRINTER_LEFT}, {"what", "", PRINTER_WRAP | PRINTER_BELOW},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    json_t *event;
    size_t i;

    json_array_foreach(events, i, event)
    {
        print_event(p, event);
    }
    printer_finish(&p);
}

static void
print_events(const struct call *call, const json_t *events)
{
    json_t *event;
    size_t i;

    if (!call->printing.json) {
        print_table(call, events);
        return;
    }
    json_array_foreach(events, i, event)
    {
        event_words_print_json(call->printing.out, event);
    }
}

/* --- The verb. */

static bool
is_verdict(const char *word)
{
    enum smtp_verdict verdict = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (strcmp(word, ends[i].verdict) == 0)
            return true;
    return strcmp(word, "refused") == 0 || strcmp(word, "spooled") == 0 ||
           strcmp(word, "other") == 0 || smtp_verdict_find(word, 0, &verdict) == ERR_OK;
}

static enum command_status
check_verdict(const struct call *call)
{
    const char *word = call_value(call, "verdict");
    struct command_guess guess = {0};

    if (word == NULL || is_verdict(word))
        return COMMAND_DONE;
    command_guess_offer(&guess, word, "refused");
    command_guess_offer(&guess, word, "spooled");
    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++)
        command_guess_offer(&guess, word, smtp_verdict_word((enum smtp_verdict)v));
    return call_usage("--verdict: \"%s\" is unknown; %s%s", word,
                      guess.best ? "did you mean "
                                 : "postern-replies(7) lists all, and refused "
                                   "and spooled are the backend's and the spool's",
                      guess.best ? guess.best : "");
}

static void
say_covered(struct event_source *source, const struct event_search *search, size_t count)
{
    struct buf text;

    buf_init(&text, 0);
    event_source_covered(source, &text);
    if (count == 0) {
        call_complain("no event matches in %s", buf_text(&text));
        missing_say(source->call, MISSING_CUSTOMER, search->customer);
        missing_say(source->call, MISSING_DOMAIN, search->domain);
    } else
        call_complain("from %s", buf_text(&text));
    if (count > 0 && source->call->printing.width > 0)
        call_complain("the story of one: relayctl explain ID");
    if (count == search->limit)
        call_complain(
            "these are the newest %zu; for more: --limit, or --until with the time of the "
            "last one",
            count);
    if (count == 0 && (search->sender || search->recipient || search->client.family) &&
        source->has_database && source->call->config->event_privacy_ms > 0)
        call_complain("addresses in events older than event-privacy are shortened, and are not "
                      "found by the whole address");
    buf_fini(&text);
}

enum command_status
trace(struct call *call)
{
    enum command_status status = check_verdict(call);
    json_t *events = json_array();
    struct event_search search = {0};
    struct event_source source;

    if (status == COMMAND_DONE)
        status = event_search_read(call, &search);
    if (status == COMMAND_DONE) {
        event_source_open(call, &source);
        status = event_source_find(&source, &search, events);
        if (status == COMMAND_DONE) {
            print_events(call, events);
            say_covered(&source, &search, json_array_size(events));
        }
        if (status == COMMAND_DONE && json_array_size(events) == 0)
            status = COMMAND_NOTHING;
        event_source_close(&source);
    }
    event_search_fini(&search);
    json_decref(events);
    return status;
}
