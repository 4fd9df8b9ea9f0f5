/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A row an act: what it does to a message, and when it can not.  Nothing here looks at routes or
 * attempts; that is the keeper's.
 */
#define _GNU_SOURCE 1

#include "order/order.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

/* --- Whether. */

static enum order_result
unfit(const char **why, const char *text)
{
    *why = text;
    return ORDER_UNFIT;
}

static enum order_result
already(const char **why, const char *text)
{
    *why = text;
    return ORDER_ALREADY;
}

static enum order_result
judge_retry(const struct spool_message *m, const struct order *o, const char **why)
{
    (void)o;
    if (m->held)
        return unfit(why, "it is held: release it");
    if (m->damaged)
        return unfit(why, "its stored body is damaged");
    if (m->prepared)
        return unfit(why, "its sender has no answer yet");
    if (spool_message_awaits_all(m))
        return unfit(why, "its backend may still answer");
    return ORDER_DONE;
}

static enum order_result
judge_hold(const struct spool_message *m, const struct order *o, const char **why)
{
    if (m->held && strcmp(spool_message_hold_reason(m), o->reason) == 0)
        return already(why, "it is held already");
    return ORDER_DONE;
}

static enum order_result
judge_release(const struct spool_message *m, const struct order *o, const char **why)
{
    (void)o;
    if (m->damaged)
        return unfit(why, "its stored body is damaged");
    return m->held ? ORDER_DONE : already(why, "it is not held");
}

static enum order_result
judge_extend(const struct spool_message *m, const struct order *o, const char **why)
{
    return m->expires_at_ms < o->until_ms ? ORDER_DONE
                                          : already(why, "it is kept for that long already");
}

static enum order_result
judge_redirect(const struct spool_message *m, const struct order *o, const char **why)
{
    if (o->backend != 0 && m->customer_id != o->customer_id)
        return unfit(why, "it is another customer's");
    if (spool_message_redirect(m) == o->backend)
        return already(why, o->backend ? "it goes there already" : "it is not redirected");
    return ORDER_DONE;
}

static enum order_result
judge_end(const struct spool_message *m, const struct order *o, const char **why)
{
    (void)o;
    return m->prepared ? unfit(why, "its sender has no answer yet") : ORDER_DONE;
}

static enum order_result
judge_look(const struct spool_message *m, const struct order *o, const char **why)
{
    (void)m;
    (void)o;
    (void)why;
    return ORDER_DONE;
}

/* --- Doing it. */

static void
do_retry(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
         const struct order *o)
{
    (void)o;
    (void)note;
    if (spool_message_next_attempt_at_ms(m) != 0)
        spool_store_due(s, m);
}

static void
do_hold(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
        const struct order *o)
{
    (void)note;
    spool_store_hold(s, m, o->reason);
}

static void
do_release(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
           const struct order *o)
{
    (void)note;
    (void)o;
    spool_store_hold(s, m, NULL);
}

static void
do_extend(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
          const struct order *o)
{
    (void)note;
    spool_store_extend(s, m, o->until_ms);
}

/* What was learned of the old destination says nothing of the new one. */
static void
do_redirect(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
            const struct order *o)
{
    (void)note;
    spool_store_redirect(s, m, o->backend);
    if (spool_message_next_attempt_at_ms(m) != 0)
        spool_store_due(s, m);
}

static void
do_end(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
       const struct order *o)
{
    enum spool_end end = o->act == SPOOL_ACT_RETURN ? SPOOL_END_RETURNED : SPOOL_END_REMOVED;
    char text[ORDER_END_SIZE];

    order_end_text(o, note->who, text);
    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_is_open(m, i))
            spool_store_ended(s, m, i, end, note->at_ms, text);
}

static void
do_nothing(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
           const struct order *o)
{
    (void)s;
    (void)m;
    (void)note;
    (void)o;
}

/* --- The table. */

static const struct act {
    struct order_kind kind;
    enum order_result (*judge)(const struct spool_message *m, const struct order *o,
                               const char **why);
    void (*carry_out)(struct spool_store *s, struct spool_message *m, const struct spool_note *note,
                      const struct order *o);
} acts[] = {
    {{SPOOL_ACT_RETRY, "retry", "retried", .changes = true}, judge_retry, do_retry},
    {{SPOOL_ACT_HOLD, "hold", "held", .changes = true, .needs_reason = true}, judge_hold, do_hold},
    {{SPOOL_ACT_RELEASE, "release", "released", .changes = true}, judge_release, do_release},
    {{SPOOL_ACT_EXTEND, "extend", "extended", .changes = true}, judge_extend, do_extend},
    {{SPOOL_ACT_REDIRECT, "redirect", "redirected", .changes = true, .needs_reason = true,
      .is_undisturbed = true},
     judge_redirect,
     do_redirect},
    {{SPOOL_ACT_REMOVE, "remove", "removed", .changes = true, .needs_reason = true,
      .is_undisturbed = true},
     judge_end,
     do_end},
    {{SPOOL_ACT_RETURN, "return", "returned", .changes = true, .needs_reason = true,
      .is_undisturbed = true},
     judge_end,
     do_end},
    {{SPOOL_ACT_VIEW, "view", "viewed", .needs_reason = true}, judge_look, do_nothing},
    {{SPOOL_ACT_EXPORT, "export", "exported", .needs_reason = true}, judge_look, do_nothing},
};

static const struct act *
find(enum spool_act act)
{
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        if (acts[i].kind.act == act)
            return &acts[i];
    return NULL;
}

const struct order_kind *
order_kind(enum spool_act act)
{
    const struct act *found = find(act);

    return found ? &found->kind : NULL;
}

const struct order_kind *
order_kind_of_word(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        if (strcmp(acts[i].kind.word, word) == 0)
            return &acts[i].kind;
    return NULL;
}

const char *
order_result_word(enum order_result result)
{
    static const char *const words[] = {
        [ORDER_DONE] = "done",   [ORDER_ALREADY] = "already", [ORDER_ENDED] = "ended",
        [ORDER_UNFIT] = "unfit", [ORDER_BUSY] = "busy",       [ORDER_MISSING] = "missing",
    };

    return (unsigned)result < ARRAY_SIZE(words) ? words[result] : "?";
}

enum order_result
order_judge(const struct spool_message *m, const struct order *o, const char **why)
{
    const struct act *act = find(o->act);

    *why = "";
    if (act->kind.changes && m->open_count == 0) {
        *why = "it has ended";
        return ORDER_ENDED;
    }
    return act->judge(m, o, why);
}

enum order_result
order_carry_out(struct spool_store *s, struct spool_message *m, const struct order *o,
                const char *who, int64_t now_ms, const char **why)
{
    struct spool_note note = {o->act, now_ms, who, o->reason, o->detail};
    enum order_result result = order_judge(m, o, why);

    if (result != ORDER_DONE)
        return result;
    spool_store_note(s, m, &note);
    find(o->act)->carry_out(s, m, &note, o);
    return result;
}

void
order_note(struct spool_store *s, struct spool_message *m, const struct order *o, const char *who,
           int64_t now_ms)
{
    struct spool_note note = {o->act, now_ms, who, o->reason, o->detail};

    spool_store_note(s, m, &note);
}

const char *
order_end_text(const struct order *o, const char *who, char dst[ORDER_END_SIZE])
{
    snprintf(dst, ORDER_END_SIZE, "%s by %s: %s", find(o->act)->kind.done, who, o->reason);
    return dst;
}

#define END_TELLS 500 /* octets of the text that a return's recipients have before the notice */

static bool
has_ended_it(const struct spool_message *m, const struct order *o, const char *who)
{
    enum spool_end end = o->act == SPOOL_ACT_RETURN ? SPOOL_END_RETURNED : SPOOL_END_REMOVED;
    char text[ORDER_END_SIZE];

    if (o->act != SPOOL_ACT_RETURN && o->act != SPOOL_ACT_REMOVE)
        return false;
    order_end_text(o, who, text);
    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_end(m, i) == end &&
            strncmp(spool_message_reply(m, i), text, strnlen(text, END_TELLS)) == 0)
            return true;
    return false;
}

bool
order_is_so(const struct spool_message *m, const struct order *o, const char *who)
{
    const char *why;
    enum order_result result = order_judge(m, o, &why);

    return result == ORDER_ALREADY || (result == ORDER_ENDED && has_ended_it(m, o, who));
}

const char *
order_who(uid_t uid, char dst[ORDER_WHO_SIZE])
{
    FILE *users = fopen("/etc/passwd", "re");
    const struct passwd *user = NULL;

    while (users && (user = fgetpwent(users)) != NULL && user->pw_uid != uid)
        ;
    if (user)
        snprintf(dst, ORDER_WHO_SIZE, "%s", user->pw_name);
    else
        snprintf(dst, ORDER_WHO_SIZE, "uid %lu", (unsigned long)uid);
    if (users)
        fclose(users);
    return dst;
}
