/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One look-up at a time, so that many filters are no burst of questions.  Each is refreshed when
 * its answers have ended, but not within five minutes and not after an hour; one that has failed in
 * a minute.
 */
#include "relayd/control_include.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define REFRESH_MIN_MS (5 * 60 * 1000)
#define REFRESH_MAX_MS (60 * 60 * 1000)
#define FAILED_AGAIN_MS (60 * 1000)

struct entry {
    struct entry *next;
    struct registry_include known; /* without networks: nothing is */
    int64_t due_at_ms;
    bool is_wanted, was_wanted, is_failing, is_untold;
    char *why; /* of the last failure */
};

struct control_includes {
    struct loop *loop;
    struct dns *dns;
    const struct control_includes_ops *ops;
    void *ctx;
    struct entry *entries;
    struct control_resolve *resolve;
    struct entry *resolving; /* whose it is */
    struct loop_timer timer;
};

static struct entry *
find(const struct control_includes *c, const char *name)
{
    for (struct entry *e = c->entries; e != NULL; e = e->next)
        if (strcmp(e->known.name, name) == 0)
            return e;
    return NULL;
}

static struct entry *
find_or_add(struct control_includes *c, const char *name)
{
    struct entry *e = find(c, name);

    if (e != NULL)
        return e;
    e = mem_alloc(sizeof *e);
    snprintf(e->known.name, sizeof e->known.name, "%s", name);
    e->next = c->entries;
    c->entries = e;
    return e;
}

static bool
has_networks(const struct registry_include *a, const struct registry_include *b)
{
    return a->count == b->count &&
           memcmp(a->networks, b->networks, a->count * sizeof a->networks[0]) == 0;
}

/* --- Looking up. */

static void schedule(struct control_includes *c);

static void
say_good(const struct entry *e, bool is_changed)
{
    if (is_changed || e->is_failing)
        log_line(LOG_LEVEL_INFO, NULL, "filter-resolved", "include=%s networks=%u changed=%s",
                 e->known.name, e->known.count, is_changed ? "yes" : "no");
}

static void
take_failure(struct entry *e, const char *why)
{
    char quoted[1024];

    if (!e->is_failing)
        log_line(LOG_LEVEL_WARN, NULL, "filter-resolve-failed",
                 "include=%s why=%s networks=%u effect=\"%s\"", e->known.name,
                 log_quote(slice_of(why), quoted, sizeof quoted), e->known.count,
                 e->known.count > 0 ? "the networks that were known stay"
                                    : "the filter is nobody yet, and locks nobody out");
    e->is_failing = true;
    free(e->why);
    e->why = mem_strdup(why);
}

static bool
take_networks(struct entry *e, const struct registry_include *include)
{
    bool is_changed = !has_networks(&e->known, include);

    e->known = *include;
    e->known.resolved_ms = clock_wall_ms();
    say_good(e, is_changed);
    e->is_failing = false;
    return is_changed;
}

static int64_t
refresh_ms(uint32_t ttl_s)
{
    int64_t ms = (int64_t)ttl_s * 1000;

    if (ms < REFRESH_MIN_MS)
        return REFRESH_MIN_MS;
    return ms < REFRESH_MAX_MS ? ms : REFRESH_MAX_MS;
}

static void
on_done(void *ctx, const struct control_resolved *result)
{
    struct control_includes *c = ctx;
    struct entry *e = c->resolving;

    c->resolve = NULL;
    c->resolving = NULL;
    e->is_untold = true;
    e->due_at_ms =
        loop_now_ms(c->loop) + (result->why ? FAILED_AGAIN_MS : refresh_ms(result->ttl_s));
    if (result->why)
        take_failure(e, result->why);
    else if (take_networks(e, result->include))
        c->ops->on_changed(c->ctx);
    c->ops->on_tried(c->ctx);
    schedule(c);
}

static struct entry *
next_due(const struct control_includes *c)
{
    struct entry *next = NULL;

    for (struct entry *e = c->entries; e != NULL; e = e->next)
        if (e->is_wanted && (next == NULL || e->due_at_ms < next->due_at_ms))
            next = e;
    return next;
}

static void
on_timer(void *ctx)
{
    struct control_includes *c = ctx;
    struct entry *e = next_due(c);

    if (c->resolve != NULL || e == NULL)
        return;
    if (e->due_at_ms > loop_now_ms(c->loop)) {
        schedule(c);
        return;
    }
    c->resolving = e;
    c->resolve = control_resolve_start(c->dns, e->known.name, on_done, c);
}

static void
schedule(struct control_includes *c)
{
    const struct entry *e = next_due(c);
    int64_t wait_ms = e ? e->due_at_ms - loop_now_ms(c->loop) : 0;

    loop_timer_cancel(&c->timer);
    if (e != NULL && c->resolve == NULL)
        loop_timer_start(&c->timer, wait_ms > 0 ? wait_ms : 0);
}

/* --- What is wanted, and known. */

void
control_includes_learn(struct control_includes *c, const struct registry_include *known)
{
    struct entry *e = find_or_add(c, known->name);

    if (known->count > 0 && known->resolved_ms > e->known.resolved_ms &&
        (e->known.count == 0 || e->is_failing))
        e->known = *known;
}

void
control_includes_begin(struct control_includes *c)
{
    for (struct entry *e = c->entries; e != NULL; e = e->next) {
        e->was_wanted = e->is_wanted;
        e->is_wanted = false;
    }
}

void
control_includes_want(struct control_includes *c, const char *name)
{
    struct entry *e = find_or_add(c, name);

    if (!e->is_wanted && !e->was_wanted)
        e->due_at_ms = loop_now_ms(c->loop);
    e->is_wanted = true;
}

void
control_includes_end(struct control_includes *c)
{
    struct entry **at = &c->entries;

    while (*at != NULL) {
        struct entry *e = *at;

        if (e->is_wanted) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        if (c->resolving == e) {
            control_resolve_cancel(&c->resolve);
            c->resolving = NULL;
        }
        free(e->why);
        free(e);
    }
    schedule(c);
}

const struct registry_include *
control_includes_find(const struct control_includes *c, const char *name)
{
    const struct entry *e = find(c, name);

    return e != NULL && e->known.count > 0 ? &e->known : NULL;
}

void
control_includes_tell(struct control_includes *c,
                      void (*tell)(void *ctx, const struct registry_include *include,
                                   const char *why),
                      void *ctx)
{
    for (struct entry *e = c->entries; e != NULL; e = e->next) {
        if (e->is_untold)
            tell(ctx, &e->known, e->is_failing ? e->why : NULL);
        e->is_untold = false;
    }
}

/* --- Life. */

struct control_includes *
control_includes_new(struct loop *loop, const struct inet_endpoint *resolver,
                     const struct control_includes_ops *ops, void *ctx)
{
    struct control_includes *c = mem_alloc(sizeof *c);

    c->loop = loop;
    c->dns = dns_new(loop, resolver);
    c->ops = ops;
    c->ctx = ctx;
    loop_timer_init(&c->timer, loop, on_timer, c);
    return c;
}

void
control_includes_free(struct control_includes **includes)
{
    struct control_includes *c = *includes;

    if (c == NULL)
        return;
    loop_timer_cancel(&c->timer);
    control_resolve_cancel(&c->resolve);
    while (c->entries != NULL) {
        struct entry *e = c->entries;

        c->entries = e->next;
        free(e->why);
        free(e);
    }
    dns_free(&c->dns);
    free(c);
    *includes = NULL;
}
