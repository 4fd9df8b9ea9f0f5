/* SPDX-License-Identifier: BSD-2-Clause
 *
 * "The replica never shrinks by surprise" (DESIGN section 2), as a pure function: the last good set
 * of domains and the one that the database offers go in, a verdict and the domains to carry over
 * come out.  Nothing is read, written or logged here.
 */
#ifndef REGISTRY_GUARD_H
#define REGISTRY_GUARD_H

#include "registry/registry.h"

#define REGISTRY_GUARD_DOMAINS 5                          /* so many may go at any time ... */
#define REGISTRY_GUARD_PERCENT 1                          /* ... or this share of them */
#define REGISTRY_GUARD_MISSING_MS (24 * 60 * 60 * 1000LL) /* 451 for so long */

/* Sorted by name (registry_set_sort). Owned by its maker; registry_set_fini frees it. */
struct registry_set {
    char database_id[40];
    uint64_t version;
    struct registry_domain *domains;
    size_t count, room;
};
void registry_set_fini(struct registry_set *set);
void registry_set_add(struct registry_set *set, const struct registry_domain *domain);
void registry_set_sort(struct registry_set *set);
/* Of a replica, sorted. ERR_CORRUPT. */
MUST_USE int registry_set_of(const struct registry *registry, struct registry_set *set);
/* How many of its domains are served: neither removed nor missing with an operator's consent. */
size_t registry_set_served(const struct registry_set *set);

enum registry_guard_verdict {
    REGISTRY_GUARD_ACCEPT,
    REGISTRY_GUARD_OTHER_DATABASE,
    REGISTRY_GUARD_LOWER_VERSION,
    REGISTRY_GUARD_SHRUNK,
    REGISTRY_GUARD_EMPTY, /* of registry_guard_judge_by_last only (registry_last.h) */
};

struct registry_guard {
    enum registry_guard_verdict verdict;
    size_t gone;         /* domains gone without a tombstone, not accepted by an operator yet */
    size_t of;           /* domains that the last good set serves */
    size_t carried;      /* added to the offered set as missing */
    int64_t next_due_ms; /* when the first of the missing is to be dropped; 0: none is missing */
};

/* Judges `offer` against `last` (NULL: there is none, everything is accepted).  Both are sorted.
 *
 * If the verdict is to accept, or the operator has accepted this offer (`is_accepted`: the verdict
 * is then always to accept), the domains that `last` serves and `offer` lacks are added to `offer`
 * with missing_since_ms, for a day from when they were first missed; `offer` is sorted again. Those
 * that went in small numbers count together while they are missing, so that a registry does not
 * melt away five domains at a time; an operator's acceptance ends the count. */
void registry_guard_judge(const struct registry_set *last, struct registry_set *offer,
                          bool is_accepted, int64_t wall_ms, struct registry_guard *guard);

/* Whether an offer may follow what had this id and version, with so many gone as `guard` says. */
enum registry_guard_verdict registry_guard_compare(const char *database_id, uint64_t version,
                                                   const struct registry_set *offer,
                                                   const struct registry_guard *guard);

/* "6 of 120 domains are gone without having been removed"; for logs and relayctl. */
#define REGISTRY_GUARD_TEXT_SIZE 160
const char *registry_guard_text(const struct registry_guard *guard, const struct registry_set *last,
                                const struct registry_set *offer,
                                char dst[REGISTRY_GUARD_TEXT_SIZE]);

#endif
