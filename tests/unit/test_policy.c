/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A policy's text and number, every pair of action and fact, and the three things that bend the
 * row.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy.h"

static policy_set
changed(const char *text)
{
    policy_set policy = policy_of_profile(POLICY_PROFILE_STANDARD);
    const char *why;

    cr_assert_eq(policy_change(policy, slice_of(text), &policy, &why), ERR_OK, "%s", text);
    return policy;
}

/* --- Text. */

static const struct {
    const char *change, *want;
} texts[] = {
    {"strict", "strict"},
    {"standard", "standard"},
    {"off", "off"},
    {"spf=mark", "standard,spf=mark"},
    {"strict,spf=mark,dnsbl=off", "strict,dnsbl=off,spf=mark"},
    {"off,ban=reject", "off,ban=reject"},
    {"helo=reject,greylist=defer", "standard,helo=reject,greylist=defer"},
    {"spf=mark,spf=off", "standard,spf=off"},
};

Test(policy, text_goes_round)
{
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        policy_set policy = changed(texts[i].change), again;
        char text[POLICY_TEXT_SIZE];
        const char *why;

        cr_expect_str_eq(policy_text(policy, text), texts[i].want, "%s", texts[i].change);
        cr_expect_eq(policy_change(POLICY_SET_OFF, slice_of(text), &again, &why), ERR_OK);
        cr_expect_eq(again, policy, "%s is stored and read as another", texts[i].want);
        cr_expect(policy_is_valid(policy));
    }
}

static const struct {
    const char *change, *says;
} wrong[] = {
    {"", "is no profile"},
    {"strikt", "is no profile"},
    {"spf=mark,strict", "is no profile"},
    {"spf=mark,", "is no profile"},
    {"spam=reject", "there is no check \"spam\"; use one of ban, ptr-none"},
    {"spf=drop", "spf cannot be \"drop\"; use off, mark, defer, reject"},
    {"spf=forged", "spf cannot be"},
    {"greylist=reject", "greylist cannot be \"reject\"; use off, defer, suspect"},
    {"helo=suspect", "use off, mark, defer, reject, forged"},
    {"spf=", "spf cannot be \"\""},
    {"=mark", "there is no check \"\""},
};

Test(policy, wrong_text_is_explained)
{
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        policy_set policy = 77;
        const char *why;

        cr_expect_eq(policy_change(POLICY_SET_OFF, slice_of(wrong[i].change), &policy, &why),
                     ERR_SYNTAX);
        cr_expect_eq(policy, 77);
        cr_expect(strstr(why, wrong[i].says) != NULL, "%s: %s", wrong[i].change, why);
    }
}

Test(policy, longest_text_fits)
{
    policy_set policy = policy_of_profile(POLICY_PROFILE_STRICT);
    char text[POLICY_TEXT_SIZE];

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        policy = policy_with(policy, (enum policy_check)i,
                             i == POLICY_GREYLIST ? POLICY_SUSPECT : POLICY_DEFER);
    cr_expect_lt(strlen(policy_text(policy, text)), sizeof text - 1);
}

Test(policy, numbers_from_files_are_checked)
{
    cr_expect(policy_is_valid(POLICY_SET_OFF));
    cr_expect_not(policy_is_valid((policy_set)1 << 60));
    cr_expect_not(policy_is_valid(policy_with(POLICY_SET_OFF, POLICY_SPF, POLICY_SUSPECT)));
    cr_expect_not(policy_is_valid((policy_set)15 << (4 * POLICY_HELO)));
}

Test(policy, strictest_leaves_off_what_is_off)
{
    policy_set policy = policy_strictest(changed("standard,dnsbl=off,spf=mark"));

    cr_expect_eq(policy_action_of(policy, POLICY_DNSBL), POLICY_OFF);
    cr_expect_eq(policy_action_of(policy, POLICY_SPF), POLICY_REJECT);
    cr_expect_eq(policy_action_of(policy, POLICY_HELO), POLICY_REJECT);
    cr_expect_eq(policy_strictest(POLICY_SET_OFF), POLICY_SET_OFF);
    policy = policy_strictest(changed(
        "off,spf-soft=reject,spf-temp=reject,helo=forged,ptr-mismatch=defer,greylist=suspect"));
    cr_expect_eq(policy_action_of(policy, POLICY_SPF_SOFT), POLICY_REJECT,
                 "nothing becomes looser");
    cr_expect_eq(policy_action_of(policy, POLICY_SPF_TEMP), POLICY_REJECT);
    cr_expect_eq(policy_action_of(policy, POLICY_HELO), POLICY_REJECT);
    cr_expect_eq(policy_action_of(policy, POLICY_PTR_MISMATCH), POLICY_REJECT);
    cr_expect_eq(policy_action_of(policy, POLICY_GREYLIST), POLICY_SUSPECT);
}

/* --- The judgement: of one check, with all others passed. */

static const struct {
    enum policy_action action;
    enum policy_fact fact;
    enum policy_verdict verdict;
    bool marks;
} pairs[] = {
    {POLICY_OFF, POLICY_FACT_UNKNOWN, POLICY_ACCEPT, false},
    {POLICY_OFF, POLICY_FACT_FAIL, POLICY_ACCEPT, false},
    {POLICY_MARK, POLICY_FACT_UNKNOWN, POLICY_WAIT, false},
    {POLICY_MARK, POLICY_FACT_PASS, POLICY_ACCEPT, false},
    {POLICY_MARK, POLICY_FACT_NONE, POLICY_ACCEPT, false},
    {POLICY_MARK, POLICY_FACT_TEMPORARY, POLICY_ACCEPT, true},
    {POLICY_MARK, POLICY_FACT_FAIL, POLICY_ACCEPT, true},
    {POLICY_MARK, POLICY_FACT_FORGED, POLICY_ACCEPT, true},
    {POLICY_DEFER, POLICY_FACT_UNKNOWN, POLICY_WAIT, false},
    {POLICY_DEFER, POLICY_FACT_PASS, POLICY_ACCEPT, false},
    {POLICY_DEFER, POLICY_FACT_TEMPORARY, POLICY_TRY_LATER, false},
    {POLICY_DEFER, POLICY_FACT_FAIL, POLICY_TRY_LATER, false},
    {POLICY_REJECT, POLICY_FACT_UNKNOWN, POLICY_WAIT, false},
    {POLICY_REJECT, POLICY_FACT_PASS, POLICY_ACCEPT, false},
    {POLICY_REJECT, POLICY_FACT_NONE, POLICY_ACCEPT, false},
    {POLICY_REJECT, POLICY_FACT_TEMPORARY, POLICY_TRY_LATER, false},
    {POLICY_REJECT, POLICY_FACT_FAIL, POLICY_REFUSE, false},
    {POLICY_REJECT, POLICY_FACT_FORGED, POLICY_REFUSE, false},
    {POLICY_REJECT, POLICY_FACT_ODD, POLICY_ACCEPT, true},
    {POLICY_DEFER, POLICY_FACT_ODD, POLICY_ACCEPT, true},
    {POLICY_OFF, POLICY_FACT_ODD, POLICY_ACCEPT, false},
    {POLICY_FORGED, POLICY_FACT_FAIL, POLICY_ACCEPT, true},
    {POLICY_FORGED, POLICY_FACT_TEMPORARY, POLICY_ACCEPT, true},
    {POLICY_FORGED, POLICY_FACT_FORGED, POLICY_REFUSE, false},
};

static struct policy_facts
all_passed(void)
{
    struct policy_facts facts = {.is_authorised = false};

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        facts.of[i] = POLICY_FACT_PASS;
    return facts;
}

static bool
is_excused(enum policy_check check, enum policy_fact fact)
{
    return check == POLICY_DNSBL && fact == POLICY_FACT_TEMPORARY;
}

static void
try_pair(enum policy_check check, size_t i)
{
    struct policy_facts facts = all_passed();
    struct policy_judgement j;
    bool excused = is_excused(check, pairs[i].fact);
    enum policy_verdict want = excused ? POLICY_ACCEPT : pairs[i].verdict;

    facts.of[check] = pairs[i].fact;
    j = policy_judge(policy_with(policy_of_profile(POLICY_PROFILE_STRICT), check, pairs[i].action),
                     0, &facts);
    cr_expect_eq(j.verdict, want, "%s=%s, %s: %d", policy_check_name(check),
                 policy_action_name(pairs[i].action), policy_fact_word(pairs[i].fact), j.verdict);
    if (want != POLICY_ACCEPT)
        cr_expect_eq(j.check, check);
    cr_expect_eq(pairs[i].fact == POLICY_FACT_TEMPORARY ? j.unsure : j.marks,
                 pairs[i].marks && !excused ? policy_check_bit(check) : 0, "%s %s",
                 policy_check_name(check), policy_fact_word(pairs[i].fact));
    cr_expect_eq(j.is_deferred_by_fact,
                 j.verdict == POLICY_TRY_LATER && pairs[i].action == POLICY_REJECT);
    j = policy_judge(policy_with(policy_of_profile(POLICY_PROFILE_STRICT), check, pairs[i].action),
                     policy_check_bit(check), &facts);
    cr_expect_eq(j.verdict, POLICY_ACCEPT, "%s is exempt", policy_check_name(check));
}

Test(policy, P5_every_action_and_fact)
{
    for (unsigned check = 0; check < POLICY_CHECK_COUNT; check++)
        for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
            if (!(POLICY_CHECKS_APART >> check & 1) &&
                policy_check_can((enum policy_check)check, pairs[i].action))
                try_pair((enum policy_check)check, i);
}

Test(policy, P5_no_failed_lookup_refuses_for_good)
{
    struct policy_facts facts = all_passed();

    for (unsigned check = 0; check < POLICY_CHECK_COUNT; check++)
        facts.of[check] = POLICY_FACT_TEMPORARY;
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts).verdict,
                 POLICY_TRY_LATER);
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_OFF), 0, &facts).verdict,
                 POLICY_ACCEPT);
}

Test(policy, first_in_order_decides)
{
    struct policy_facts facts = all_passed();
    struct policy_judgement j;

    facts.of[POLICY_SPF] = facts.of[POLICY_DNSBL] = POLICY_FACT_FAIL;
    j = policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts);
    cr_expect_eq(j.check, POLICY_DNSBL);
    cr_expect_not(j.looked & policy_check_bit(POLICY_SPF));
    facts.of[POLICY_PTR_NONE] = POLICY_FACT_UNKNOWN;
    j = policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts);
    cr_expect_eq(j.verdict, POLICY_WAIT);
    cr_expect_eq(j.check, POLICY_PTR_NONE);
}

Test(policy, authorised_senders_names_are_forgiven)
{
    static const enum policy_check lifted[] = {POLICY_PTR_MISMATCH, POLICY_DIALIN, POLICY_HELO};
    policy_set strict = policy_of_profile(POLICY_PROFILE_STRICT);

    for (size_t i = 0; i < ARRAY_SIZE(lifted); i++) {
        struct policy_facts facts = all_passed();
        struct policy_judgement j;

        facts.of[lifted[i]] = POLICY_FACT_FAIL;
        facts.of[POLICY_SPF] = POLICY_FACT_UNKNOWN;
        j = policy_judge(strict, 0, &facts);
        cr_expect(j.verdict == POLICY_WAIT && j.check == POLICY_SPF, "%zu", i);
        cr_expect_eq(
            policy_judge(policy_with(strict, POLICY_SPF, POLICY_OFF),
                         1u << POLICY_SPF_SOFT | 1u << POLICY_SPF_PERM | 1u << POLICY_SPF_TEMP,
                         &facts)
                .verdict,
            POLICY_REFUSE, "nobody asks SPF");
        facts.of[POLICY_SPF] = POLICY_FACT_PASS;
        cr_expect_eq(policy_judge(strict, 0, &facts).verdict, POLICY_REFUSE);
        facts.is_authorised = true;
        j = policy_judge(strict, 0, &facts);
        cr_expect_eq(j.verdict, POLICY_ACCEPT);
        cr_expect_eq(j.marks, policy_check_bit(lifted[i]));
    }
}

Test(policy, spf_speaks_for_nobody_who_does_not_ask_it)
{
    struct policy_facts facts = all_passed();
    policy_set policy = policy_with(POLICY_SET_OFF, POLICY_HELO, POLICY_REJECT);

    facts.of[POLICY_HELO] = POLICY_FACT_FAIL;
    facts.is_authorised = true; /* another customer has asked */
    cr_expect_eq(policy_judge(policy, 0, &facts).verdict, POLICY_REFUSE);
    policy = policy_with(policy, POLICY_SPF, POLICY_MARK);
    cr_expect_eq(policy_judge(policy, 0, &facts).verdict, POLICY_ACCEPT);
}

Test(policy, forgery_is_not_forgiven)
{
    struct policy_facts facts = all_passed();

    facts.is_authorised = true;
    facts.of[POLICY_HELO] = POLICY_FACT_FORGED;
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts).verdict,
                 POLICY_REFUSE);
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_STANDARD), 0, &facts).verdict,
                 POLICY_REFUSE);
    facts.of[POLICY_HELO] = POLICY_FACT_FAIL;
    facts.of[POLICY_PTR_NONE] = POLICY_FACT_FAIL;
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts).verdict,
                 POLICY_REFUSE, "no name at all");
}

Test(policy, good_lists_go_before_bad_ones)
{
    struct policy_facts facts = all_passed();

    facts.of[POLICY_DNSBL] = POLICY_FACT_FAIL;
    facts.of[POLICY_GREYLIST] = POLICY_FACT_FAIL;
    facts.is_whitelisted = true;
    cr_expect_eq(policy_judge(policy_of_profile(POLICY_PROFILE_STRICT), 0, &facts).verdict,
                 POLICY_ACCEPT);
}

Test(policy, greylist_is_asked_last_and_for_suspects)
{
    policy_set standard = policy_of_profile(POLICY_PROFILE_STANDARD),
               strict = policy_of_profile(POLICY_PROFILE_STRICT);
    struct policy_facts facts = all_passed();
    struct policy_judgement j;

    facts.of[POLICY_GREYLIST] = POLICY_FACT_UNKNOWN;
    cr_expect_eq(policy_judge(standard, 0, &facts).verdict, POLICY_ACCEPT, "no suspect");
    j = policy_judge(strict, 0, &facts);
    cr_expect(j.verdict == POLICY_WAIT && j.check == POLICY_GREYLIST);
    facts.of[POLICY_SPF_TEMP] = POLICY_FACT_UNKNOWN;
    cr_expect_eq(policy_judge(strict, 0, &facts).check, POLICY_SPF_TEMP, "all else first");
    facts.of[POLICY_SPF_TEMP] = POLICY_FACT_PASS;
    facts.of[POLICY_DIALIN] = POLICY_FACT_FAIL;
    j = policy_judge(standard, 0, &facts);
    cr_expect(j.verdict == POLICY_WAIT && j.check == POLICY_GREYLIST, "a marked one is a suspect");
    facts.of[POLICY_GREYLIST] = POLICY_FACT_FAIL;
    cr_expect_eq(policy_judge(standard, 0, &facts).verdict, POLICY_TRY_LATER);
    facts.of[POLICY_GREYLIST] = POLICY_FACT_TEMPORARY;
    j = policy_judge(standard, 0, &facts);
    cr_expect_eq(j.verdict, POLICY_ACCEPT, "a store that fails lets pass");
    cr_expect_eq(j.marks, policy_check_bit(POLICY_DIALIN));
}
