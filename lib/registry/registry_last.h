/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is remembered of the last good replica outside of it, in a small file beside it: which
 * registry it was, how far, and how many domains it served.  If the replica is damaged, the next
 * registry is judged by that, so that two faults at once (a damaged replica, a wrong database) do
 * not make a 550 of a registered domain (P5).
 */
#ifndef REGISTRY_LAST_H
#define REGISTRY_LAST_H

#include "registry/registry_guard.h"

struct registry_last {
    char database_id[40];
    uint64_t version;
    uint64_t served; /* registry_set_served */
};

struct registry_last registry_last_of(const struct registry_set *set);
/* ERR_NOT_FOUND: there is none. ERR_CORRUPT, ERR_VERSION, ERR_IO. */
MUST_USE int registry_last_read(const char *path, struct registry_last *last);
/* Writes path_tmp, syncs it, renames it to `path`, syncs the folder. ERR_IO with errno: what was
 * there before may still be. */
MUST_USE int registry_last_write(const char *path, const char *path_tmp,
                                 const struct registry_last *last);

/* Is this replica that registry's, and not an older state of it?  If not, somebody has put another
 * file in its place; it is as good as damaged. */
bool registry_last_vouches(const struct registry_last *last,
                           const struct registry_version *version);

/* Judges `offer` by what is remembered (NULL: a replica was there, but nothing about it is known;
 * then only an offer that serves no domain is refused).  Stricter than registry_guard_judge, since
 * names and tombstones are not known: every domain that is served no more counts as gone, and none
 * can be carried over. */
void registry_guard_judge_by_last(const struct registry_last *last,
                                  const struct registry_set *offer, bool is_accepted,
                                  struct registry_guard *guard);

#endif
