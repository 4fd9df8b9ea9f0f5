/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a sending server does with our answer (RFC 5321 4.5.4.1, 6.1): it tries again, or returns
 * the message.  It cannot return what has no sender, or one that takes no mail.
 */
#include "admin/story_outcome.h"

#include <string.h>

#include "base/parse.h"

/* Of the words that are not of a refusal for good or for now as any. */
static const struct {
    const char *verdict, *text;
} outcomes[] = {
    {"delivered", "Delivered: the customer's own server has taken the message. What becomes of it "
                  "now, is in that server's log."},
    {"spooled", "Taken and kept here, since the customer's own server could not take it at that "
                "time; it is delivered when that server is back."},
    {"too-many-recipients", "This recipient was put off, not refused: the sending server sends the "
                            "message again to the rest, usually within minutes."},
    {"other-destination", "This recipient was put off, not refused: the sending server sends the "
                          "message again to the rest, usually within minutes."},
    {"too-many-messages", "Put off, not refused: the sending server connects again and goes on, "
                          "usually within minutes."},
};

static const char *
outcome_of_word(const json_t *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
        if (story_event_has_verdict(event, outcomes[i].verdict))
            return outcomes[i].text;
    return NULL;
}

/* Why it cannot be returned; NULL: it can. */
static const char *
why_lost(const json_t *event)
{
    const json_t *sender = story_event_check(event, "sender");

    if (event_words_text(event, "from")[0] == '\0')
        return "because it has no sender: it is itself a bounce or notice";
    if (story_event_has_verdict(event, "sender-no-domain") ||
        story_event_has_verdict(event, "sender-null-mx") ||
        strcmp(event_words_text(sender, "result"), "fail") == 0)
        return "because the sender's address takes no mail: who wrote it may hear nothing";
    return NULL;
}

static void
add_end(struct buf *b, const json_t *event, const char *lost)
{
    if (lost)
        buf_printf(b, "cannot return the message, %s.", lost);
    else
        buf_printf(b, "returns the message%s.",
                   story_event_class(event) == '5' ? " to its sender" : "");
}

static void
add_refusal(struct buf *b, const json_t *event)
{
    buf_printf(b, "%s; the sending server ",
               story_event_is(event, "message") ? "The message was refused for all its recipients"
                                                : "This recipient was refused");
    add_end(b, event, why_lost(event));
    buf_add_text(b, " Sending it again helps only once the cause below is removed.");
}

static void
add_delay(struct buf *b, const json_t *event)
{
    const char *what =
        story_event_is(event, "message") ? "The message was put off" : "This recipient was put off";

    if (story_event_has_verdict(event, "policy-later")) {
        buf_printf(b,
                   "%s, and will be at every attempt, until the sending server gives up (two to "
                   "five days) and ",
                   what);
        add_end(b, event, why_lost(event));
        buf_add_text(b, " Waiting does not help.");
        return;
    }
    buf_printf(b,
               "%s, not refused: the sending server keeps the message and tries again, usually "
               "within minutes to an hour. If it never succeeds, it gives up after two to five "
               "days and ",
               what);
    add_end(b, event, why_lost(event));
}

/* Delivered to some of its recipients, and kept for the others. */
static bool
is_mixed(const json_t *event)
{
    return story_event_has_verdict(event, "delivered") && event_words_number(event, "kept") > 0;
}

void
story_outcome_add(struct buf *b, const json_t *event)
{
    const char *text = outcome_of_word(event);

    if (is_mixed(event))
        buf_printf(b,
                   "Delivered to some recipients: the customer's own server has taken the message "
                   "for them. Kept here for %lld, since that server could not take it for them at "
                   "that time; what has become of that stands at the end.",
                   (long long)event_words_number(event, "kept"));
    else if (text)
        buf_add_text(b, text);
    else if (story_event_class(event) == '2')
        buf_add_text(b, "Taken.");
    else if (story_event_class(event) == '5')
        add_refusal(b, event);
    else if (story_event_class(event) == '4')
        add_delay(b, event);
}
