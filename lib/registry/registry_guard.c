/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shrink guard: two sorted lists of domains walked together, once to count what is gone and
 * once to carry it over.  A domain that the last set held as removed or that the offer holds at all
 * is not gone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "registry/registry_guard.h"

void
registry_set_fini(struct registry_set *set)
{
    free(set->domains);
    *set = (struct registry_set){0};
}

void
registry_set_add(struct registry_set *set, const struct registry_domain *domain)
{
    if (set->count == set->room) {
        set->room = set->room ? 2 * set->room : 64;
        set->domains = mem_realloc(set->domains, set->room * sizeof *set->domains);
    }
    set->domains[set->count++] = *domain;
}

static int
by_name(const void *a, const void *b)
{
    const struct registry_domain *x = a, *y = b;

    return strcmp(x->name, y->name);
}

void
registry_set_sort(struct registry_set *set)
{
    if (set->count > 1)
        qsort(set->domains, set->count, sizeof *set->domains, by_name);
}

static void
on_domain(void *ctx, const struct registry_domain *domain)
{
    registry_set_add(ctx, domain);
}

int
registry_set_of(const struct registry *registry, struct registry_set *set)
{
    const struct registry_version *version = registry_get_version(registry);
    int rc;

    *set = (struct registry_set){.version = version->version};
    memcpy(set->database_id, version->database_id, sizeof set->database_id);
    rc = registry_each_domain(registry, on_domain, set);
    if (rc != ERR_OK)
        registry_set_fini(set);
    registry_set_sort(set);
    return rc;
}

struct walk {
    struct registry_guard *guard;
    struct registry_set *offer;
    bool is_accepted;
    int64_t wall_ms;
};

/* Calls `each` with every domain that `last` serves and the offer, as it is now, lacks. */
static void
each_gone(const struct registry_set *last, struct walk *walk,
          void (*each)(struct walk *walk, const struct registry_domain *gone))
{
    size_t offered = walk->offer->count;

    for (size_t i = 0, k = 0; i < last->count; i++) {
        const struct registry_domain *domain = &last->domains[i];

        while (k < offered && strcmp(walk->offer->domains[k].name, domain->name) < 0)
            k++;
        if (!domain->removed &&
            (k == offered || strcmp(walk->offer->domains[k].name, domain->name) != 0))
            each(walk, domain);
    }
}

static void
count_gone(struct walk *walk, const struct registry_domain *gone)
{
    walk->guard->gone += !gone->missing_accepted;
}

static void
carry_over(struct walk *walk, const struct registry_domain *gone)
{
    struct registry_domain missing = *gone;
    int64_t due_ms;

    /* A clock that was set back must not keep a domain for ever. */
    if (missing.missing_since_ms <= 0 || missing.missing_since_ms > walk->wall_ms)
        missing.missing_since_ms = walk->wall_ms;
    due_ms = missing.missing_since_ms + REGISTRY_GUARD_MISSING_MS;
    if (due_ms <= walk->wall_ms)
        return;
    missing.missing_accepted |= walk->is_accepted;
    registry_set_add(walk->offer, &missing);
    walk->guard->carried++;
    if (walk->guard->next_due_ms == 0 || due_ms < walk->guard->next_due_ms)
        walk->guard->next_due_ms = due_ms;
}

size_t
registry_set_served(const struct registry_set *set)
{
    size_t served = 0;

    for (size_t i = 0; i < set->count; i++)
        served += !set->domains[i].removed && !set->domains[i].missing_accepted;
    return served;
}

static bool
is_shrunk(const struct registry_guard *guard)
{
    return guard->gone > REGISTRY_GUARD_DOMAINS &&
           guard->gone * 100 > guard->of * REGISTRY_GUARD_PERCENT;
}

enum registry_guard_verdict
registry_guard_compare(const char *database_id, uint64_t version, const struct registry_set *offer,
                       const struct registry_guard *guard)
{
    if (strcmp(database_id, offer->database_id) != 0)
        return REGISTRY_GUARD_OTHER_DATABASE;
    if (offer->version < version)
        return REGISTRY_GUARD_LOWER_VERSION;
    return is_shrunk(guard) ? REGISTRY_GUARD_SHRUNK : REGISTRY_GUARD_ACCEPT;
}

void
registry_guard_judge(const struct registry_set *last, struct registry_set *offer, bool is_accepted,
                     int64_t wall_ms, struct registry_guard *guard)
{
    struct walk walk = {guard, offer, is_accepted, wall_ms};

    *guard = (struct registry_guard){.verdict = REGISTRY_GUARD_ACCEPT};
    if (last == NULL)
        return;
    guard->of = registry_set_served(last);
    each_gone(last, &walk, count_gone);
    if (!is_accepted)
        guard->verdict = registry_guard_compare(last->database_id, last->version, offer, guard);
    if (guard->verdict != REGISTRY_GUARD_ACCEPT)
        return;
    each_gone(last, &walk, carry_over);
    registry_set_sort(offer);
}

const char *
registry_guard_text(const struct registry_guard *guard, const struct registry_set *last,
                    const struct registry_set *offer, char dst[REGISTRY_GUARD_TEXT_SIZE])
{
    switch (guard->verdict) {
    case REGISTRY_GUARD_ACCEPT:
        snprintf(dst, REGISTRY_GUARD_TEXT_SIZE, "accepted");
        break;
    case REGISTRY_GUARD_OTHER_DATABASE:
        snprintf(dst, REGISTRY_GUARD_TEXT_SIZE, "it is another database: its id is %s, ours was %s",
                 offer->database_id, last->database_id);
        break;
    case REGISTRY_GUARD_LOWER_VERSION:
        snprintf(dst, REGISTRY_GUARD_TEXT_SIZE,
                 "it is older: its version is %" PRIu64 ", ours was %" PRIu64, offer->version,
                 last->version);
        break;
    case REGISTRY_GUARD_SHRUNK:
        snprintf(dst, REGISTRY_GUARD_TEXT_SIZE,
                 "%zu of %zu domains are gone without having been removed", guard->gone, guard->of);
        break;
    case REGISTRY_GUARD_EMPTY:
        snprintf(dst, REGISTRY_GUARD_TEXT_SIZE,
                 "it has no domains, and what the damaged replica had is not known");
        break;
    }
    return dst;
}
