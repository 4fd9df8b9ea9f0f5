/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A filter's own words are passed on where it has some, as a backend's are.
 */
#include "milter/milter_verdict.h"

#include <stdio.h>

/* Our own sentence, with the filter's name and its words in brackets. */
static struct smtp_reply
reply_of(enum smtp_verdict verdict, const char *name, const char *words)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);
    char text[SMTP_REPLY_TEXT_SIZE], enhanced[16];

    snprintf(text, sizeof text, "%.150s (%.31s%s%.150s)", reply.text, name, words[0] ? ": " : "",
             words);
    snprintf(enhanced, sizeof enhanced, "%u.%u.%u", reply.enhanced.class, reply.enhanced.subject,
             reply.enhanced.detail);
    return smtp_reply_make(reply.code, enhanced, text);
}

/* Codes outside 45x and 55x become such. */
static struct smtp_reply
reply_passed_on(const struct smtp_reply *theirs)
{
    bool is_for_good = theirs->code / 100 == 5;
    struct smtp_reply reply = *theirs;

    if (reply.code / 10 != 45 && reply.code / 10 != 55)
        reply.code = is_for_good ? 550 : 451;
    if (reply.enhanced.class == 0)
        reply.enhanced = (struct smtp_enhanced){is_for_good ? 5 : 4, 7, 1};
    return reply;
}

static struct milter_verdict
refuse(enum smtp_verdict verdict, struct smtp_reply reply)
{
    return (struct milter_verdict){MILTER_REFUSED, verdict, reply};
}

static struct milter_verdict
have(enum milter_effect effect)
{
    return (struct milter_verdict){.effect = effect};
}

static struct milter_verdict
of_objection(const char *name, const struct milter_talk *talk, enum milter_wish wish)
{
    bool is_for_good = talk->outcome != MILTER_OUTCOME_LATER;
    enum smtp_verdict verdict =
        is_for_good ? SMTP_VERDICT_MILTER_REFUSED : SMTP_VERDICT_MILTER_LATER;

    if (wish == MILTER_MARK_ONLY)
        return have(MILTER_MARKED);
    if (is_for_good && wish == MILTER_FOR_NOW)
        return refuse(SMTP_VERDICT_MILTER_DEFERRED,
                      reply_of(SMTP_VERDICT_MILTER_DEFERRED, name, talk->reply.text));
    if (talk->reply.code)
        return refuse(verdict, reply_passed_on(&talk->reply));
    return refuse(verdict, reply_of(verdict, name, ""));
}

struct milter_verdict
milter_verdict_of(const struct milter_entry *entry, const struct milter_talk *talk,
                  enum milter_wish wish)
{
    if (talk == NULL || talk->outcome == MILTER_OUTCOME_FAILED)
        return entry->defers && wish != MILTER_MARK_ONLY
                   ? refuse(SMTP_VERDICT_SCANNER_AWAY,
                            reply_of(SMTP_VERDICT_SCANNER_AWAY, entry->name, ""))
                   : have(MILTER_UNSURE);
    if (talk->outcome != MILTER_OUTCOME_ACCEPTED)
        return of_objection(entry->name, talk, wish);
    if (talk->quarantine[0] == '\0')
        return have(MILTER_PASSES);
    return have(wish == MILTER_MARK_ONLY ? MILTER_MARKED : MILTER_HELD);
}
