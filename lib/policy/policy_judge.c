/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The row of checks is walked in its order; the first that refuses or defers ends it.  Three things
 * bend the row: what SPF has authorised by a record that says something is not held against its
 * client's names (they are marked instead), a client on a list of good ones is neither refused for
 * bad ones nor greylisted, and greylisting can be for those alone that failed something.
 */
#include "policy/policy.h"

/* What an authorised client is forgiven. */
#define LIFTED (1u << POLICY_PTR_MISMATCH | 1u << POLICY_DIALIN | 1u << POLICY_HELO)

struct walk {
    policy_set policy;
    unsigned exempt, checks;
    const struct policy_facts *facts;
    struct policy_judgement judgement;
    bool is_suspect;
};

static bool
ends_with(struct walk *w, enum policy_verdict verdict, enum policy_check check)
{
    w->judgement.verdict = verdict;
    w->judgement.check = check;
    return true;
}

static bool
is_failed(enum policy_fact fact)
{
    return fact == POLICY_FACT_FAIL || fact == POLICY_FACT_FORGED;
}

static bool
is_whitelisted(const struct walk *w)
{
    return w->facts->is_whitelisted && (w->checks & policy_check_bit(POLICY_DNSBL));
}

/* For a customer who does not ask SPF it does not speak, whoever else has asked. */
static bool
is_authorised(const struct walk *w)
{
    return w->facts->is_authorised && (w->checks & POLICY_CHECKS_OF_SPF);
}

/* Before a lifted check decides against a client, SPF must have spoken, if it is to speak at all.
 */
static bool
waits_for_spf(const struct walk *w, enum policy_check check)
{
    return (LIFTED >> check & 1) && (w->checks & POLICY_CHECKS_OF_SPF) &&
           w->facts->of[POLICY_SPF] == POLICY_FACT_UNKNOWN;
}

static enum policy_action
action_against(const struct walk *w, enum policy_check check, enum policy_fact fact)
{
    enum policy_action action = policy_action_of(w->policy, check);

    if (action == POLICY_FORGED)
        return fact == POLICY_FACT_FORGED ? POLICY_REJECT : POLICY_MARK;
    if ((LIFTED >> check & 1) && fact != POLICY_FACT_FORGED && is_authorised(w))
        return POLICY_MARK;
    return action;
}

/* A list that says nothing lists nobody. */
static bool
is_excused(enum policy_check check, enum policy_fact fact)
{
    return check == POLICY_DNSBL && fact == POLICY_FACT_TEMPORARY;
}

/* True: it decides. */
static bool
look_at(struct walk *w, enum policy_check check)
{
    enum policy_fact fact = w->facts->of[check];
    enum policy_action action;

    if (fact == POLICY_FACT_UNKNOWN)
        return ends_with(w, POLICY_WAIT, check);
    w->judgement.looked |= policy_check_bit(check);
    if (fact == POLICY_FACT_PASS || fact == POLICY_FACT_NONE || is_excused(check, fact))
        return false;
    if (check == POLICY_DNSBL && is_whitelisted(w))
        return false;
    w->is_suspect = w->is_suspect || is_failed(fact);
    action = fact == POLICY_FACT_ODD ? POLICY_MARK : action_against(w, check, fact);
    if (action == POLICY_MARK) {
        *(fact == POLICY_FACT_TEMPORARY ? &w->judgement.unsure : &w->judgement.marks) |=
            policy_check_bit(check);
        return false;
    }
    if (waits_for_spf(w, check) && fact != POLICY_FACT_FORGED)
        return ends_with(w, POLICY_WAIT, POLICY_SPF);
    w->judgement.is_deferred_by_fact = action == POLICY_REJECT && fact == POLICY_FACT_TEMPORARY;
    return ends_with(w,
                     action == POLICY_REJECT && fact != POLICY_FACT_TEMPORARY ? POLICY_REFUSE
                                                                              : POLICY_TRY_LATER,
                     check);
}

static bool
look_at_greylist(struct walk *w)
{
    enum policy_action action = policy_action_of(w->policy, POLICY_GREYLIST);

    if (!(w->checks & policy_check_bit(POLICY_GREYLIST)) || is_whitelisted(w) ||
        (action == POLICY_SUSPECT && !w->is_suspect))
        return false;
    if (w->facts->of[POLICY_GREYLIST] == POLICY_FACT_UNKNOWN)
        return ends_with(w, POLICY_WAIT, POLICY_GREYLIST);
    w->judgement.looked |= policy_check_bit(POLICY_GREYLIST);
    return w->facts->of[POLICY_GREYLIST] == POLICY_FACT_FAIL &&
           ends_with(w, POLICY_TRY_LATER, POLICY_GREYLIST);
}

struct policy_judgement
policy_judge(policy_set policy, unsigned exempt, const struct policy_facts *facts)
{
    struct walk w = {.policy = policy,
                     .exempt = exempt,
                     .checks = policy_checks_of(policy) & ~exempt,
                     .facts = facts};

    w.judgement.verdict = POLICY_ACCEPT;
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_check check = (enum policy_check)i;

        if (!(w.checks & ~POLICY_CHECKS_APART & policy_check_bit(check)))
            continue;
        if (look_at(&w, check))
            return w.judgement;
    }
    (void)look_at_greylist(&w);
    return w.judgement;
}
