/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A sender can be forged: a rule that allows one by name does not lift what SPF says (fail), since
 * otherwise whoever guesses the name is let in.
 */
#include "relayd/screen.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "relayd/sender_verdict.h"
#include "smtp/smtp_path.h"

#define CHECKS_OF_ORIGIN (1u << POLICY_DNSBL | POLICY_CHECKS_OF_SPF)

/* What is longer than its room is cut between characters. */
static void
cut_utf8(char *text)
{
    size_t n = strlen(text), tail = 0;

    while (tail < n && tail < 4 && ((unsigned char)text[n - tail - 1] & 0xc0) == 0x80)
        tail++;
    if (tail < n && smtp_utf8_length((struct slice){text + n - tail - 1, tail + 1}) != tail + 1 &&
        ((unsigned char)text[n - tail - 1] & 0x80))
        text[n - tail - 1] = '\0';
}

static void
say_rule(const struct registry_rule *rule, char why[SCREEN_WHY_SIZE])
{
    size_t n;

    snprintf(why, SCREEN_WHY_SIZE, "%s %.100s",
             rule->action == REGISTRY_RULE_ALLOW ? "allow" : "block", rule->value);
    cut_utf8(why);
    n = strlen(why);
    if (rule->reason[0])
        snprintf(why + n, SCREEN_WHY_SIZE - n, ": %.80s", rule->reason);
    cut_utf8(why);
}

/* Its own error is the whole screen's: a damaged replica is a 451, never a 550. */
static bool
is_damage(int rc, struct screen *s)
{
    if (rc == ERR_OK || rc == ERR_NOT_FOUND)
        return false;
    s->by = SCREEN_BY_NO_REGISTRY;
    return true;
}

/* True: the rule decides. */
static bool
judge_by_rule(struct worker *w, const struct screen_question *q, const struct sender_facts *facts,
              struct screen *s)
{
    struct registry_rule rule;
    int rc = registry_find_rule(w->registry, q->customer->id, sender_facts_client(facts), q->sender,
                                clock_wall_ms(), &rule);

    if (rc < 0)
        return is_damage(rc, s);
    say_rule(&rule, s->why);
    if (rule.action == REGISTRY_RULE_BLOCK)
        s->by = SCREEN_BY_BLOCK;
    else if (rule.kind == REGISTRY_RULE_NETWORK)
        s->by = SCREEN_BY_ALLOW;
    else
        s->exempt = s->allowed = POLICY_ALL_CHECKS & ~policy_check_bit(POLICY_SPF);
    return s->by != SCREEN_BY_POLICY;
}

static void
look_for_filter(struct worker *w, const struct screen_question *q, const struct sender_facts *facts,
                struct screen *s)
{
    struct registry_filter filter;
    int rc =
        registry_find_filter(w->registry, q->customer->id, sender_facts_client(facts), &filter);

    if (rc < 0) {
        if (!is_damage(rc, s) && q->customer->filters_only)
            s->by = SCREEN_BY_FILTERS_ONLY;
        return;
    }
    s->is_filter = true;
    s->exempt |= filter.exempt;
    s->origin_received = filter.origin_received;
    if (s->why[0] == '\0')
        snprintf(s->why, sizeof s->why, "filter %s/%s", q->customer->name, filter.label);
}

static policy_set
policy_for(const struct screen_question *q)
{
    if (q->domain->mode == REGISTRY_MODE_FALLBACK &&
        q->domain->primary_up == REGISTRY_PRIMARY_UP_STRICT)
        return policy_strictest(q->customer->policy);
    return q->customer->policy;
}

unsigned
screen_checks(const struct screen *s)
{
    return policy_checks_of(s->policy) & ~s->exempt;
}

int64_t
screen_fallback_delay_ms(const struct worker *w, const struct registry_domain *domain)
{
    if (domain->mode != REGISTRY_MODE_FALLBACK)
        return 0;
    switch (domain->primary_up) {
    case REGISTRY_PRIMARY_UP_STRICT:
        return w->config->greylist_delay_ms;
    case REGISTRY_PRIMARY_UP_DEFER:
        return w->config->fallback_delay_ms;
    case REGISTRY_PRIMARY_UP_ACCEPT:
        break;
    }
    return 0;
}

/* A first contact is that of a pool of addresses, by the domain for which SPF authorises them: that
 * is looked up whether or not SPF itself counts here, or the key were others' to choose. */
static void
wait_for_pool(const struct worker *w, const struct screen_question *q, struct sender_facts *facts,
              struct screen *s)
{
    bool is_due =
        s->judgement.verdict == POLICY_WAIT
            ? s->judgement.check == POLICY_GREYLIST
            : s->judgement.verdict == POLICY_ACCEPT && screen_fallback_delay_ms(w, q->domain) > 0;
    unsigned spf = policy_check_bit(POLICY_SPF);

    if (is_due && !(s->exempt & spf) && !screen_lifts_greylist(s, facts) &&
        sender_facts_look(facts, spf)->of[POLICY_SPF] == POLICY_FACT_UNKNOWN) {
        s->judgement.verdict = POLICY_WAIT;
        s->judgement.check = POLICY_SPF;
    }
}

void
screen_judge(struct worker *w, const struct screen_question *q, struct sender_facts *facts,
             struct screen *s)
{
    struct policy_facts known;

    *s = (struct screen){.by = SCREEN_BY_POLICY, .policy = policy_for(q)};
    s->judgement.verdict = POLICY_ACCEPT;
    if (judge_by_rule(w, q, facts, s))
        return;
    look_for_filter(w, q, facts, s);
    if (s->by != SCREEN_BY_POLICY)
        return;
    known = *sender_facts_look(facts, screen_checks(s));
    known.of[POLICY_BAN] = q->ban;
    known.of[POLICY_GREYLIST] = q->greylist;
    s->judgement = policy_judge(s->policy, s->exempt, &known);
    wait_for_pool(w, q, facts, s);
}

struct policy_judgement
screen_judge_origin(const struct screen *s, struct sender_facts *origin)
{
    unsigned exempt = (POLICY_ALL_CHECKS & ~CHECKS_OF_ORIGIN) | s->allowed;

    return policy_judge(s->policy, exempt,
                        sender_facts_look(origin, policy_checks_of(s->policy) & ~exempt));
}

const char *
screen_pool(const struct screen *s, const struct sender_facts *facts)
{
    return s->exempt & policy_check_bit(POLICY_SPF) ? "" : sender_facts_authorised_domain(facts);
}

bool
screen_lifts_greylist(const struct screen *s, const struct sender_facts *facts)
{
    return s->by == SCREEN_BY_ALLOW || (s->exempt & policy_check_bit(POLICY_GREYLIST)) ||
           (sender_facts_known(facts)->is_whitelisted &&
            (screen_checks(s) & policy_check_bit(POLICY_DNSBL)));
}

bool
screen_is_refused(const struct screen *s)
{
    return s->by == SCREEN_BY_BLOCK || s->by == SCREEN_BY_FILTERS_ONLY ||
           s->by == SCREEN_BY_NO_REGISTRY ||
           (s->by == SCREEN_BY_POLICY &&
            (s->judgement.verdict == POLICY_REFUSE || s->judgement.verdict == POLICY_TRY_LATER));
}

enum smtp_verdict
screen_verdict(const struct screen *s, const struct sender_facts *facts)
{
    if (s->by == SCREEN_BY_BLOCK)
        return SMTP_VERDICT_SENDER_BLOCKED;
    if (s->by == SCREEN_BY_FILTERS_ONLY)
        return SMTP_VERDICT_FILTERS_ONLY;
    if (s->by == SCREEN_BY_NO_REGISTRY)
        return SMTP_VERDICT_NO_REGISTRY;
    if (s->judgement.check == POLICY_GREYLIST)
        return SMTP_VERDICT_GREYLISTED;
    return sender_verdict_of(&s->judgement, facts);
}

struct smtp_reply
screen_reply(const struct screen *s, const struct sender_facts *facts)
{
    return s->by == SCREEN_BY_POLICY ? sender_verdict_reply(&s->judgement, facts)
                                     : smtp_verdict_reply(screen_verdict(s, facts));
}
