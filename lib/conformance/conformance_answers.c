/* SPDX-License-Identifier: BSD-2-Clause
 *
 * From the answers to MAIL, RCPT and content to findings.  Pure.
 */
#define _GNU_SOURCE /* strcasestr */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conformance/conformance_judge.h"

#define SLOW_MS 1500
#define SLOW_REFUSAL_MS 2000
#define TARPIT_MS 5000
#define MANY_RECIPIENTS 50

typedef void (*judge_step)(const struct conformance_judge *j, const struct conformance_step *step);

static bool
is_ok(const struct smtp_reply *reply)
{
    return reply->code / 100 == 2;
}

static bool
is_later(const struct smtp_reply *reply)
{
    return reply->code / 100 == 4;
}

/* How many there are of a question; `judge` NULL: only counted. */
static unsigned
each_step(const struct conformance_judge *j, enum conformance_ask ask, judge_step judge)
{
    unsigned count = 0;

    for (unsigned i = 0; i < j->seen->session_count; i++) {
        const struct conformance_talk_script *s = &j->seen->sessions[i];

        for (size_t k = 0; k < s->count; k++)
            if (s->steps[k].ask == ask) {
                count++;
                if (judge)
                    judge(j, &s->steps[k]);
            }
    }
    return count;
}

/* The first one; NULL: there is none. */
static const struct conformance_step *
find_step(const struct conformance_judge *j, enum conformance_ask ask)
{
    for (unsigned i = 0; i < j->seen->session_count; i++)
        for (size_t k = 0; k < j->seen->sessions[i].count; k++)
            if (j->seen->sessions[i].steps[k].ask == ask)
                return &j->seen->sessions[i].steps[k];
    return NULL;
}

/* The last one that has content. */
static const struct conformance_step *
find_content(const struct conformance_judge *j, enum conformance_ask ask)
{
    const struct conformance_step *found = NULL;

    for (unsigned i = 0; i < j->seen->session_count; i++)
        for (size_t k = 0; k < j->seen->sessions[i].count; k++)
            if (j->seen->sessions[i].steps[k].ask == ask &&
                j->seen->sessions[i].steps[k].line == NULL)
                found = &j->seen->sessions[i].steps[k];
    CHECK(found != NULL);
    return found;
}

static void
say_step(const struct conformance_judge *j, enum conformance_id id,
         const struct conformance_step *step)
{
    char text[SMTP_REPLY_LINE_SIZE];

    conformance_say(j, id, "%s: %s", step->about,
                    step->reply.code ? smtp_reply_text(&step->reply, text, sizeof text)
                                     : "not answered");
}

/* Does the text have the word, as a word of its own, in any case? */
static bool
has_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = text; (p = strcasestr(p, word)) != NULL; p++)
        if ((p == text || !isalnum((unsigned char)p[-1])) && !isalnum((unsigned char)p[n]))
            return true;
    return false;
}

static bool
has_enhanced(const struct smtp_reply *reply, unsigned subject, unsigned detail)
{
    return reply->enhanced.class != 0 && reply->enhanced.subject == subject &&
           reply->enhanced.detail == detail;
}

/* --- Senders. */

static void
judge_sender(const struct conformance_judge *j, const struct conformance_step *s)
{
    if (s->reply.code != 0)
        say_step(j, is_ok(&s->reply) ? CONFORMANCE_SENDER_TAKEN : CONFORMANCE_SENDER_REFUSED, s);
}

static void
judge_null_sender(const struct conformance_judge *j)
{
    const struct conformance_step *mail = find_step(j, CONFORMANCE_ASK_NULL_SENDER),
                                  *rcpt = find_step(j, CONFORMANCE_ASK_NULL_RCPT),
                                  *same = find_step(j, CONFORMANCE_ASK_KNOWN);

    if (mail == NULL || mail->reply.code == 0)
        return;
    /* A recipient that no sender reaches says nothing of this one. */
    if (!is_ok(&mail->reply))
        say_step(j, CONFORMANCE_NULL_SENDER_REFUSED, mail);
    else if (rcpt && rcpt->reply.code && !is_ok(&rcpt->reply) && same && is_ok(&same->reply))
        say_step(j, CONFORMANCE_NULL_SENDER_REFUSED, rcpt);
    else
        conformance_say(j, CONFORMANCE_NULL_SENDER_TAKEN, "%s", "");
}

/* --- Recipients. */

static bool
is_greylisting(const struct smtp_reply *reply)
{
    return (reply->code == 450 || reply->code == 451) &&
           (strcasestr(reply->text, "grey") || strcasestr(reply->text, "gray") ||
            has_enhanced(reply, 7, 1) || strcasestr(reply->text, "try again") ||
            strcasestr(reply->text, "come back"));
}

static void
judge_known(const struct conformance_judge *j, const struct conformance_step *s)
{
    say_step(j,
             s->reply.code == 0          ? CONFORMANCE_KNOWN_UNANSWERED
             : is_ok(&s->reply)          ? CONFORMANCE_KNOWN_TAKEN
             : is_greylisting(&s->reply) ? CONFORMANCE_KNOWN_GREYLISTED
             : is_later(&s->reply)       ? CONFORMANCE_KNOWN_DEFERRED
                                         : CONFORMANCE_KNOWN_REFUSED,
             s);
}

static void
judge_stranger(const struct conformance_judge *j, const struct conformance_step *s)
{
    say_step(j,
             s->reply.code == 0    ? CONFORMANCE_STRANGER_UNASKED
             : is_ok(&s->reply)    ? CONFORMANCE_STRANGER_TAKEN
             : is_later(&s->reply) ? CONFORMANCE_STRANGER_DEFERRED
                                   : CONFORMANCE_STRANGER_REFUSED,
             s);
}

static void
judge_postmaster(const struct conformance_judge *j, const struct conformance_step *s)
{
    if (s->reply.code != 0)
        say_step(
            j, is_ok(&s->reply) ? CONFORMANCE_POSTMASTER_TAKEN : CONFORMANCE_POSTMASTER_REFUSED, s);
}

/* --- SPF. */

static bool
speaks_of_spf(const struct smtp_reply *reply)
{
    return has_enhanced(reply, 7, 23) || has_enhanced(reply, 7, 24) ||
           has_word(reply->text, "spf") || strcasestr(reply->text, "sender policy") ||
           strcasestr(reply->text, "openspf") || has_word(reply->text, "dmarc");
}

static void
judge_spf(const struct conformance_judge *j)
{
    const struct conformance_step *mail = find_step(j, CONFORMANCE_ASK_SPF_SENDER),
                                  *rcpt = find_step(j, CONFORMANCE_ASK_SPF_RCPT),
                                  *same = find_step(j, CONFORMANCE_ASK_KNOWN), *last;

    if (mail == NULL)
        return;
    last = rcpt && rcpt->reply.code ? rcpt : mail;
    if (mail->reply.code == 0)
        conformance_say(j, CONFORMANCE_SPF_UNASKED, "%s", mail->about);
    else if (is_ok(&last->reply))
        say_step(j, CONFORMANCE_SPF_NOT_CHECKED, last);
    else if (speaks_of_spf(&last->reply))
        say_step(j, CONFORMANCE_SPF_CHECKED, last);
    else if (last == mail || (same && is_ok(&same->reply)))
        say_step(j, CONFORMANCE_SPF_OWN_REFUSED, last);
    else
        say_step(j, CONFORMANCE_SPF_UNASKED, last); /* that recipient is refused to everybody */
}

/* --- Open relay. */

static unsigned
count_taken(const struct conformance_judge *j, enum conformance_ask ask)
{
    unsigned count = 0;

    for (unsigned i = 0; i < j->seen->session_count; i++)
        for (size_t k = 0; k < j->seen->sessions[i].count; k++)
            count += j->seen->sessions[i].steps[k].ask == ask &&
                     is_ok(&j->seen->sessions[i].steps[k].reply);
    return count;
}

static const struct conformance_step *
find_taken(const struct conformance_judge *j, enum conformance_ask ask)
{
    for (unsigned i = 0; i < j->seen->session_count; i++)
        for (size_t k = 0; k < j->seen->sessions[i].count; k++) {
            const struct conformance_step *s = &j->seen->sessions[i].steps[k];

            if (s->ask == ask && is_ok(&s->reply))
                return s;
        }
    return NULL;
}

/* "Domain not found" of an address under .invalid says nothing of relaying. */
static bool
refuses_the_name(const struct smtp_reply *reply)
{
    return has_enhanced(reply, 1, 2) || has_enhanced(reply, 4, 4) || is_later(reply) ||
           strcasestr(reply->text, "domain not found") || strcasestr(reply->text, "unrouteable") ||
           strcasestr(reply->text, "host not found") || has_word(reply->text, "dns");
}

static void
judge_relay(const struct conformance_judge *j)
{
    const struct conformance_step *plain = find_taken(j, CONFORMANCE_ASK_RELAY),
                                  *form = find_taken(j, CONFORMANCE_ASK_RELAY_FORM),
                                  *dot = find_taken(j, CONFORMANCE_ASK_RELAY_DOT),
                                  *first = find_step(j, CONFORMANCE_ASK_RELAY);
    bool takes_all = count_taken(j, CONFORMANCE_ASK_STRANGER) > 0;

    if (first == NULL)
        return;
    if (dot)
        say_step(j, CONFORMANCE_RELAY_PROVEN, dot);
    else if (plain)
        say_step(j, CONFORMANCE_RELAY_OPEN, plain);
    else if (form && !takes_all)
        say_step(j, CONFORMANCE_RELAY_FORM, form);
    else if (first->reply.code == 0)
        conformance_say(j, CONFORMANCE_RELAY_UNASKED, "%s", first->about);
    else if (form || (!j->seen->has_sink && refuses_the_name(&first->reply)))
        say_step(j, CONFORMANCE_RELAY_UNSURE, form ? form : first);
    else
        say_step(j, CONFORMANCE_RELAY_CLOSED, first);
}

/* --- Time. */

static void
judge_latency(const struct conformance_judge *j)
{
    int64_t slowest = j->seen->first.slowest_ms, refusal = 0;
    const char *what = "greeting and EHLO";
    unsigned refusals = 0;

    for (unsigned i = 0; i < j->seen->session_count; i++)
        for (size_t k = 0; k < j->seen->sessions[i].count; k++) {
            const struct conformance_step *s = &j->seen->sessions[i].steps[k];

            if (s->line == NULL) /* content may be scanned */
                continue;
            refusals += s->reply.code / 100 == 5;
            if (s->reply.code / 100 == 5 && s->ms > refusal)
                refusal = s->ms;
            if (s->reply.code / 100 != 5 && s->ms > slowest) {
                slowest = s->ms;
                what = s->line;
            }
        }
    conformance_say(j,
                    slowest >= TARPIT_MS ? CONFORMANCE_TARPIT
                    : slowest >= SLOW_MS ? CONFORMANCE_SLOW
                                         : CONFORMANCE_FAST,
                    "%" PRId64 " ms for the slowest answer, to %s", slowest, what);
    if (refusals > 0)
        conformance_say(
            j, refusal >= SLOW_REFUSAL_MS ? CONFORMANCE_SLOW_REFUSALS : CONFORMANCE_FAST_REFUSALS,
            "%" PRId64 " ms", refusal);
}

/* --- Many recipients, and a second message. */

static void
judge_many(const struct conformance_judge *j)
{
    unsigned taken = count_taken(j, CONFORMANCE_ASK_MANY);
    const struct conformance_step *first = find_step(j, CONFORMANCE_ASK_MANY);

    if (first == NULL || !is_ok(&first->reply))
        return;
    conformance_say(j, taken >= MANY_RECIPIENTS ? CONFORMANCE_MANY : CONFORMANCE_MANY_FEWER,
                    "%u of %u", taken, MANY_RECIPIENTS);
}

static void
judge_reuse(const struct conformance_judge *j, const struct conformance_step *s)
{
    const struct conformance_step *sender = find_step(j, CONFORMANCE_ASK_SENDER);

    if (sender && is_ok(&sender->reply)) /* else nothing is learned from it */
        say_step(j, is_ok(&s->reply) ? CONFORMANCE_REUSE : CONFORMANCE_NO_REUSE, s);
}

/* --- What was delivered on purpose. */

static void
judge_content(const struct conformance_judge *j, const struct conformance_step *s)
{
    say_step(j,
             s->reply.code == 0    ? CONFORMANCE_CONTENT_UNASKED
             : is_ok(&s->reply)    ? CONFORMANCE_CONTENT_TAKEN
             : is_later(&s->reply) ? CONFORMANCE_CONTENT_DEFERRED
                                   : CONFORMANCE_CONTENT_REFUSED,
             s);
}

/* RCPT, and the content if that was taken. */
static void
judge_probe(const struct conformance_judge *j)
{
    const struct conformance_step *rcpt = find_step(j, CONFORMANCE_ASK_PROBE), *last;

    if (rcpt == NULL)
        return;
    last = rcpt;
    if (is_ok(&rcpt->reply))
        last = find_content(j, CONFORMANCE_ASK_PROBE);
    say_step(j,
             is_ok(&last->reply)           ? CONFORMANCE_PROBE_TAKEN
             : last->reply.code / 100 == 5 ? CONFORMANCE_PROBE_REFUSED
                                           : CONFORMANCE_PROBE_UNASKED,
             last);
}

void
conformance_judge_answers(const struct conformance_judge *j)
{
    each_step(j, CONFORMANCE_ASK_SENDER, judge_sender);
    judge_null_sender(j);
    if (each_step(j, CONFORMANCE_ASK_KNOWN, judge_known) == 0)
        conformance_say(j, CONFORMANCE_KNOWN_UNKNOWN, "%s", "");
    each_step(j, CONFORMANCE_ASK_STRANGER, judge_stranger);
    if (j->seen->domains_left > 0)
        conformance_say(j, CONFORMANCE_STRANGER_LEFT_OUT, "%zu of %zu domains, from %s on",
                        j->seen->domains_left, j->seen->domain_count, j->seen->first_left);
    each_step(j, CONFORMANCE_ASK_POSTMASTER, judge_postmaster);
    judge_latency(j);
    judge_spf(j);
    judge_relay(j);
    judge_many(j);
    each_step(j, CONFORMANCE_ASK_REUSE, judge_reuse);
    each_step(j, CONFORMANCE_ASK_CONTENT, judge_content);
    judge_probe(j);
}
