/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer's sender policy as a value: one action for each check, and the judgement of a client's
 * facts by it (DESIGN section 7). Pure: who gathers the facts, and waits for them, is relayd.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdint.h>

#include "base/buf.h"

enum policy_check {
#define POLICY_CHECK(id, name, strict, standard, actions, help) POLICY_##id,
#include "policy/policy.def"
#undef POLICY_CHECK
    POLICY_CHECK_COUNT
};

/* The numbers are in replica files. */
enum policy_action {
    POLICY_OFF,
    POLICY_MARK, /* a header line says so */
    POLICY_DEFER,
    POLICY_REJECT,
    POLICY_FORGED,  /* helo: a name that is ours, our address, a bare address or localhost is
                       refused, any other is marked */
    POLICY_SUSPECT, /* greylist: only who failed another check, marked or not, waits */
    POLICY_ACTION_COUNT
};

#define POLICY_CAN(action) (1u << POLICY_##action)
static inline unsigned
policy_check_bit(enum policy_check check)
{
    return 1u << check;
}
#define POLICY_CHECKS_OF_SPF \
    (1u << POLICY_SPF | 1u << POLICY_SPF_SOFT | 1u << POLICY_SPF_PERM | 1u << POLICY_SPF_TEMP)
/* Decided elsewhere than in the row: greylisting is asked for last, scanners behind the content. */
#define POLICY_CHECKS_APART (1u << POLICY_GREYLIST | 1u << POLICY_MILTER)
#define POLICY_ALL_CHECKS ((1u << POLICY_CHECK_COUNT) - 1)

const char *policy_check_name(enum policy_check check);
const char *policy_check_help(enum policy_check check);
/* ERR_NOT_FOUND */
MUST_USE int policy_check_of_name(struct slice name, enum policy_check *check);
const char *policy_action_name(enum policy_action action);
bool policy_check_can(enum policy_check check, enum policy_action action);

/* --- A policy: an action a check, four bits each. */
typedef uint64_t policy_set;
#define POLICY_SET_OFF ((policy_set)0)
_Static_assert(POLICY_CHECK_COUNT <= 16, "four bits each");

enum policy_profile {
    POLICY_PROFILE_STRICT,
    POLICY_PROFILE_STANDARD,
    POLICY_PROFILE_OFF,
    POLICY_PROFILE_COUNT
};

policy_set policy_of_profile(enum policy_profile profile);
const char *policy_profile_name(enum policy_profile profile);
enum policy_action policy_action_of(policy_set policy, enum policy_check check);
policy_set policy_with(policy_set policy, enum policy_check check, enum policy_action action);
/* Is every action one that its check can have? Of a number from a file. */
bool policy_is_valid(policy_set policy);
/* The checks that are not off, as bits. */
unsigned policy_checks_of(policy_set policy);
/* In fallback mode with primary-up strict: of every check that is not off the stricter of its
 * action and that of the profile strict (DESIGN section 5).  Greylisting is as it was: in that mode
 * it depends on whether the primary is up, which is not known here. */
policy_set policy_strictest(policy_set policy);

/* "strict", "spf=mark", "strict,spf=mark,dnsbl=off": a profile, if there is one, resets all; what
 * follows changes one check each.  ERR_SYNTAX: *why is a sentence that says what is wrong and what
 * to write, valid until the next call. */
MUST_USE int policy_change(policy_set policy, struct slice text, policy_set *changed,
                           const char **why);
/* As it is stored and shown: the profile that differs least, and the differences. */
#define POLICY_TEXT_SIZE 256
const char *policy_text(policy_set policy, char dst[POLICY_TEXT_SIZE]);
enum policy_profile policy_nearest_profile(policy_set policy);

/* --- Facts: what is known of one client and sender, for each check. */
enum policy_fact {
    POLICY_FACT_UNKNOWN, /* it is being looked up, or has not been asked for */
    POLICY_FACT_PASS,
    POLICY_FACT_NONE,      /* nothing to judge */
    POLICY_FACT_TEMPORARY, /* a look-up failed */
    POLICY_FACT_FAIL,
    POLICY_FACT_FORGED, /* helo */
    POLICY_FACT_ODD,    /* marked, whatever the action, unless it is off */
};
const char *policy_fact_word(enum policy_fact fact);

struct policy_facts {
    enum policy_fact of[POLICY_CHECK_COUNT];
    /* SPF pass of MAIL FROM, owed to something that says something (P4). Decided together with the
     * facts of SPF. */
    bool is_authorised;
    bool is_whitelisted; /* on a list of the setting dnswl; decided together with the fact of dnsbl
                          */
};

enum policy_verdict {
    POLICY_WAIT,     /* for the fact of `check` */
    POLICY_ACCEPT,   /* with `marks` */
    POLICY_REFUSE,   /* for good, because of `check` */
    POLICY_TRY_LATER /* for now, because of `check` */
};

struct policy_judgement {
    enum policy_verdict verdict;
    enum policy_check check;
    unsigned marks;           /* bits of the checks that are marked as failed, up to the decision */
    unsigned unsure;          /* likewise, since a look-up failed */
    unsigned looked;          /* bits of the checks whose facts were looked at */
    bool is_deferred_by_fact; /* TRY_LATER since a look-up failed, not by the policy's word */
};

/* The first check in order that decides.  `exempt`: bits of checks that are not made of this
 * client. The fact of greylist is asked for (WAIT) only when nothing else is left to know, since
 * asking is being seen. */
struct policy_judgement policy_judge(policy_set policy, unsigned exempt,
                                     const struct policy_facts *facts);

#endif
