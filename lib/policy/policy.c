/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names, profiles, and the text form of a policy.
 */
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

static const struct check_row {
    const char *name, *help;
    enum policy_action strict, standard;
    unsigned actions;
} checks[] = {
#define POLICY_CHECK(id, name, strict, standard, actions, help) \
    [POLICY_##id] = {name, help, POLICY_##strict, POLICY_##standard, actions},
#include "policy/policy.def"
#undef POLICY_CHECK
};
_Static_assert(ARRAY_SIZE(checks) == POLICY_CHECK_COUNT, "one row each");

static const char *const action_names[] = {
    [POLICY_OFF] = "off",       [POLICY_MARK] = "mark",     [POLICY_DEFER] = "defer",
    [POLICY_REJECT] = "reject", [POLICY_FORGED] = "forged", [POLICY_SUSPECT] = "suspect",
};
_Static_assert(ARRAY_SIZE(action_names) == POLICY_ACTION_COUNT, "one word each");

static const char *const profile_names[] = {
    [POLICY_PROFILE_STRICT] = "strict",
    [POLICY_PROFILE_STANDARD] = "standard",
    [POLICY_PROFILE_OFF] = "off",
};
_Static_assert(ARRAY_SIZE(profile_names) == POLICY_PROFILE_COUNT, "one word each");

static const char *const fact_words[] = {
    [POLICY_FACT_UNKNOWN] = "unknown", [POLICY_FACT_PASS] = "pass",
    [POLICY_FACT_NONE] = "none",       [POLICY_FACT_TEMPORARY] = "temporary",
    [POLICY_FACT_FAIL] = "fail",       [POLICY_FACT_FORGED] = "forged",
    [POLICY_FACT_ODD] = "odd",
};

const char *
policy_check_name(enum policy_check check)
{
    return checks[check].name;
}

const char *
policy_check_help(enum policy_check check)
{
    return checks[check].help;
}

const char *
policy_action_name(enum policy_action action)
{
    return action_names[action];
}

const char *
policy_profile_name(enum policy_profile profile)
{
    return profile_names[profile];
}

const char *
policy_fact_word(enum policy_fact fact)
{
    return fact_words[fact];
}

int
policy_check_of_name(struct slice name, enum policy_check *check)
{
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (slice_equal(name, slice_of(checks[i].name))) {
            *check = (enum policy_check)i;
            return ERR_OK;
        }
    return ERR_NOT_FOUND;
}

bool
policy_check_can(enum policy_check check, enum policy_action action)
{
    return action == POLICY_OFF || (checks[check].actions >> action & 1);
}

/* --- A policy as a number. */

enum policy_action
policy_action_of(policy_set policy, enum policy_check check)
{
    return (enum policy_action)(policy >> (4 * check) & 15);
}

policy_set
policy_with(policy_set policy, enum policy_check check, enum policy_action action)
{
    return (policy & ~((policy_set)15 << (4 * check))) | (policy_set)action << (4 * check);
}

bool
policy_is_valid(policy_set policy)
{
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_action action = policy_action_of(policy, (enum policy_check)i);

        if (action >= POLICY_ACTION_COUNT || !policy_check_can((enum policy_check)i, action))
            return false;
    }
    return (policy >> (4 * POLICY_CHECK_COUNT)) == 0;
}

policy_set
policy_of_profile(enum policy_profile profile)
{
    policy_set policy = POLICY_SET_OFF;

    for (unsigned i = 0; i < POLICY_CHECK_COUNT && profile != POLICY_PROFILE_OFF; i++)
        policy =
            policy_with(policy, (enum policy_check)i,
                        profile == POLICY_PROFILE_STRICT ? checks[i].strict : checks[i].standard);
    return policy;
}

unsigned
policy_checks_of(policy_set policy)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (policy_action_of(policy, (enum policy_check)i) != POLICY_OFF)
            bits |= policy_check_bit((enum policy_check)i);
    return bits;
}

policy_set
policy_strictest(policy_set policy)
{
    static const unsigned ranks[] = {
        [POLICY_OFF] = 0,    [POLICY_MARK] = 1,  [POLICY_SUSPECT] = 1,
        [POLICY_FORGED] = 2, [POLICY_DEFER] = 3, [POLICY_REJECT] = 4,
    };

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_action action = policy_action_of(policy, (enum policy_check)i);

        if (action != POLICY_OFF && i != POLICY_GREYLIST && ranks[checks[i].strict] > ranks[action])
            policy = policy_with(policy, (enum policy_check)i, checks[i].strict);
    }
    return policy;
}

/* --- Text. */

static unsigned
difference_of(policy_set policy, enum policy_profile profile)
{
    policy_set other = policy_of_profile(profile);
    unsigned count = 0;

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        count += policy_action_of(policy, (enum policy_check)i) !=
                 policy_action_of(other, (enum policy_check)i);
    return count;
}

enum policy_profile
policy_nearest_profile(policy_set policy)
{
    enum policy_profile nearest = POLICY_PROFILE_STRICT;

    for (unsigned i = 1; i < POLICY_PROFILE_COUNT; i++)
        if (difference_of(policy, (enum policy_profile)i) < difference_of(policy, nearest))
            nearest = (enum policy_profile)i;
    return nearest;
}

const char *
policy_text(policy_set policy, char dst[POLICY_TEXT_SIZE])
{
    enum policy_profile profile = policy_nearest_profile(policy);
    policy_set base = policy_of_profile(profile);
    size_t n = (size_t)snprintf(dst, POLICY_TEXT_SIZE, "%s", profile_names[profile]);

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_action action = policy_action_of(policy, (enum policy_check)i);

        if (action != policy_action_of(base, (enum policy_check)i) && n < POLICY_TEXT_SIZE)
            n += (size_t)snprintf(dst + n, POLICY_TEXT_SIZE - n, ",%s=%s", checks[i].name,
                                  action_names[action]);
    }
    return dst;
}

static char complaint[600];

static void
list_checks(size_t n)
{
    for (unsigned i = 0; i < POLICY_CHECK_COUNT && n < sizeof complaint; i++)
        n += (size_t)snprintf(complaint + n, sizeof complaint - n, "%s%s", i ? ", " : "",
                              checks[i].name);
}

static void
complain_of_word(struct slice word)
{
    list_checks((size_t)snprintf(
        complaint, sizeof complaint,
        "\"%.*s\" is no profile and no CHECK=ACTION; use strict, standard, off (at the "
        "beginning), or an action for one of ",
        (int)(word.n < 40 ? word.n : 40), word.p));
}

static void
complain_of_check(struct slice name)
{
    list_checks((size_t)snprintf(complaint, sizeof complaint,
                                 "there is no check \"%.*s\"; use one of ",
                                 (int)(name.n < 40 ? name.n : 40), name.p));
}

static void
complain_of_action(enum policy_check check, struct slice word)
{
    size_t n = (size_t)snprintf(complaint, sizeof complaint, "%s cannot be \"%.*s\"; use ",
                                checks[check].name, (int)(word.n < 40 ? word.n : 40), word.p);
    const char *gap = "";

    for (unsigned i = 0; i < POLICY_ACTION_COUNT && n < sizeof complaint; i++)
        if (policy_check_can(check, (enum policy_action)i)) {
            n +=
                (size_t)snprintf(complaint + n, sizeof complaint - n, "%s%s", gap, action_names[i]);
            gap = ", ";
        }
}

static int
change_check(policy_set *policy, struct slice name, struct slice word)
{
    enum policy_check check;

    if (policy_check_of_name(name, &check) < 0) {
        complain_of_check(name);
        return ERR_SYNTAX;
    }
    for (unsigned i = 0; i < POLICY_ACTION_COUNT; i++)
        if (slice_equal(word, slice_of(action_names[i])) &&
            policy_check_can(check, (enum policy_action)i)) {
            *policy = policy_with(*policy, check, (enum policy_action)i);
            return ERR_OK;
        }
    complain_of_action(check, word);
    return ERR_SYNTAX;
}

static int
change_word(policy_set *policy, struct slice word, bool is_first)
{
    const char *equals = memchr(word.p, '=', word.n);

    if (equals != NULL)
        return change_check(policy, (struct slice){word.p, (size_t)(equals - word.p)},
                            (struct slice){equals + 1, word.n - (size_t)(equals - word.p) - 1});
    for (unsigned i = 0; is_first && i < POLICY_PROFILE_COUNT; i++)
        if (slice_equal(word, slice_of(profile_names[i]))) {
            *policy = policy_of_profile((enum policy_profile)i);
            return ERR_OK;
        }
    complain_of_word(word);
    return ERR_SYNTAX;
}

int
policy_change(policy_set policy, struct slice text, policy_set *changed, const char **why)
{
    bool is_first = true;
    size_t at = 0;
    int rc = ERR_OK;

    *why = complaint;
    do {
        const char *comma = memchr(text.p + at, ',', text.n - at);
        size_t end = comma ? (size_t)(comma - text.p) : text.n;

        rc = change_word(&policy, (struct slice){text.p + at, end - at}, is_first);
        is_first = false;
        at = end + 1;
    } while (rc == ERR_OK && at <= text.n);
    if (rc == ERR_OK)
        *changed = policy;
    return rc;
}
