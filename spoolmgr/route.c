/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Replica and shared table are recognised by device, inode and time of change: each is replaced by
 * rename, never written in place.
 */
#include "spoolmgr/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PATH_BYTES 4096

struct identity {
    dev_t device;
    ino_t inode;
    struct timespec changed_at;
};

/* Answers that have been looked up: a sweep asks for each message, and there are few domains. */
#define KNOWN_SLOTS 1024
struct known {
    char *domain; /* NULL: none */
    uint64_t route;
};

struct route {
    char replica_path[PATH_BYTES], table_path[PATH_BYTES];
    struct registry *registry;
    struct identity replica, shared;
    struct shared_table *table;
    struct known known[KNOWN_SLOTS]; /* of this replica; by a hash of the domain */
};

static struct identity
identity_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return (struct identity){0};
    return (struct identity){st.st_dev, st.st_ino, st.st_mtim};
}

static bool
is_same(const struct identity *a, const struct identity *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->changed_at.tv_sec == b->changed_at.tv_sec &&
           a->changed_at.tv_nsec == b->changed_at.tv_nsec;
}

static void
forget_known(struct route *r)
{
    for (size_t i = 0; i < KNOWN_SLOTS; i++) {
        free(r->known[i].domain);
        r->known[i].domain = NULL;
    }
}

/* A replica that cannot be used does not replace a good one. */
static bool
take_replica(struct route *route, const struct identity *now)
{
    struct registry *fresh = NULL;
    int err = registry_open_path(route->replica_path, &fresh);

    route->replica = *now;
    if (err != 0) {
        log_line(LOG_LEVEL_WARN, NULL, "replica-unusable", "file=%s why=\"%s\" keeps=%s",
                 route->replica_path, err_text(err), route->registry ? "the-last-good" : "nothing");
        return false;
    }
    registry_close(&route->registry);
    route->registry = fresh;
    forget_known(route);
    log_line(LOG_LEVEL_INFO, NULL, "replica", "version=%llu domains=%llu",
             (unsigned long long)registry_get_version(fresh)->version,
             (unsigned long long)registry_get_version(fresh)->domain_count);
    return true;
}

static int
attach(struct route *route)
{
    int err = shared_table_attach(route->table_path, &route->table);

    if (err != 0)
        err = shared_table_create(route->table_path, 0, &route->table);
    route->shared = identity_of(route->table_path);
    return err;
}

static void
begin_column(struct route *route)
{
    shared_worker_clear(route->table, ROUTE_SLOT, NULL, NULL);
    shared_worker_begin(route->table, ROUTE_SLOT, (int)getpid());
}

int
route_open(const struct config *config, struct route **route)
{
    struct route *r = mem_alloc(sizeof *r);
    bool table_is_new;
    int err;

    snprintf(r->replica_path, sizeof r->replica_path, "%s/replica.cdb", config->state_dir);
    snprintf(r->table_path, sizeof r->table_path, "%s/shared", config->run_dir);
    err = attach(r);
    if (err != 0) {
        route_close(&r);
        *route = NULL;
        return err;
    }
    begin_column(r);
    route_refresh(r, &table_is_new);
    if (r->registry == NULL)
        log_line(LOG_LEVEL_WARN, NULL, "replica-missing",
                 "file=%s effect=\"no message has a route until the relay has written it\"",
                 r->replica_path);
    *route = r;
    return 0;
}

void
route_close(struct route **route)
{
    struct route *r = *route;

    if (r == NULL)
        return;
    forget_known(r);
    registry_close(&r->registry);
    shared_table_detach(&r->table);
    free(r);
    *route = NULL;
}

/* The relay has replaced the table: what it knows counts.  True: it has. */
static bool
refresh_table(struct route *r)
{
    struct identity now = identity_of(r->table_path);
    struct shared_table *fresh = NULL;

    if (now.inode == 0 || (now.inode == r->shared.inode && now.device == r->shared.device))
        return false;
    if (shared_table_attach(r->table_path, &fresh) != 0)
        return false;
    shared_table_detach(&r->table);
    r->table = fresh;
    r->shared = now;
    begin_column(r);
    return true;
}

bool
route_refresh(struct route *r, bool *table_is_new)
{
    struct identity now = identity_of(r->replica_path);

    *table_is_new = refresh_table(r);
    if (now.inode == 0 || is_same(&now, &r->replica))
        return false;
    return take_replica(r, &now);
}

bool
route_has_replica(const struct route *r)
{
    return r->registry != NULL;
}

static uint64_t
look_up(const struct route *r, const char *domain)
{
    struct registry_domain found;

    if (r->registry == NULL || registry_find_domain(r->registry, domain, &found) != 0 ||
        found.removed)
        return ROUTE_NONE;
    return route_number(found.customer_id, found.has_backends ? found.id : 0);
}

static struct known *
known_slot(struct route *r, const char *domain)
{
    uint32_t hash = 0;

    for (const char *p = domain; *p != '\0'; p++)
        hash = hash * 31 + (unsigned char)*p;
    return &r->known[(hash * 0x9e3779b1u >> 16) & (KNOWN_SLOTS - 1)];
}

uint64_t
route_of(struct route *r, const char *domain)
{
    struct known *known = known_slot(r, domain);

    if (known->domain == NULL || strcmp(known->domain, domain) != 0) {
        free(known->domain);
        known->domain = mem_strdup(domain);
        known->route = look_up(r, domain);
    }
    return known->route;
}

/* Of a redirected route only the one that was named; count 0: it is gone. */
static void
keep_named(uint64_t number, struct registry_backend *found, unsigned *count)
{
    unsigned n = *count;

    if (route_backend(number) == 0)
        return;
    *count = 0;
    for (unsigned i = 0; i < n && *count == 0; i++) {
        if (found[i].number != route_backend(number))
            continue;
        found[0] = found[i];
        *count = 1;
    }
}

static int
find_backends(const struct route *r, uint64_t number,
              struct registry_backend found[REGISTRY_BACKENDS_MAX], unsigned *count)
{
    struct registry_domain domain = {
        .customer_id = route_customer_id(number),
        .id = route_domain_id(number),
        .has_backends = route_domain_id(number) != 0,
    };
    int err = registry_find_backends(r->registry, &domain, found, count);

    if (err == 0)
        keep_named(number, found, count);
    return err;
}

unsigned
route_backends(const struct route *r, uint64_t number,
               struct registry_backend found[REGISTRY_BACKENDS_MAX])
{
    unsigned count = 0;

    if (r->registry == NULL || number == ROUTE_NONE || route_is_own(number) ||
        find_backends(r, number, found, &count) != 0)
        return 0;
    return count;
}

bool
route_is_missing(const struct route *r, const char *domain, uint64_t number)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct registry_domain found;
    unsigned count = 0;
    int err;

    if (r->registry == NULL || route_is_own(number))
        return false;
    if (number == ROUTE_NONE) {
        err = registry_find_domain(r->registry, domain, &found);
        return err == ERR_NOT_FOUND || (err == 0 && found.removed);
    }
    err = find_backends(r, number, backends, &count);
    return err == ERR_NOT_FOUND || (err == 0 && count == 0);
}

bool
route_contact(const struct route *r, uint32_t customer_id, struct registry_contact *contact)
{
    return r->registry != NULL && registry_find_contact(r->registry, customer_id, contact) == 0;
}

struct shared_table *
route_table(struct route *r)
{
    return r->table;
}
