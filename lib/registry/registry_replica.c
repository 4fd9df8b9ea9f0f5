/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reads a replica file.  It is believed only whole: size, magic, format and the checksum over every
 * octet are verified before the first look-up.  Behind that, a look-up still trusts nothing:
 * tinycdb checks its offsets against the file, and values go through the decoder
 * (registry_value.c), whose ERR_CORRUPT the caller answers with 451.
 *
 * The file is never changed in place (its maker renames a new one over it), so that a mapping stays
 * good for as long as it is held.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/codec.h"
#include "registry/registry_format.h"
#include "registry/registry_private.h"

/* --- Opening. */

static int
verify(struct registry *r, uint64_t size)
{
    const char *mem = (const char *)r->cdb.cdb_mem;
    const char *t = mem + size - REGISTRY_TRAILER_LENGTH;

    if (memcmp(t + REGISTRY_TRAILER_MAGIC, REGISTRY_MAGIC, 8) != 0 ||
        load_u64(t + REGISTRY_TRAILER_SIZE) != size ||
        load_u64(t + REGISTRY_TRAILER_CHECK) !=
            XXH3_64bits(mem, size - REGISTRY_TRAILER_LENGTH + REGISTRY_TRAILER_CHECK))
        return ERR_CORRUPT;
    r->format = load_u32(t + REGISTRY_TRAILER_FORMAT);
    if (r->format < REGISTRY_FORMAT_OLDEST || r->format > REGISTRY_FORMAT_VERSION)
        return ERR_VERSION;
    memcpy(r->version.database_id, t + REGISTRY_TRAILER_DATABASE,
           sizeof r->version.database_id - 1);
    r->version.version = load_u64(t + REGISTRY_TRAILER_VERSION);
    r->version.domain_count = load_u64(t + REGISTRY_TRAILER_DOMAINS);
    r->version.written_at_ms = (int64_t)load_u64(t + REGISTRY_TRAILER_WRITTEN);
    return ERR_OK;
}

int
registry_open(int fd, struct registry **registry)
{
    struct registry *r;
    struct stat st;
    int rc;

    *registry = NULL;
    if (fstat(fd, &st) != 0)
        return ERR_IO;
    if (!S_ISREG(st.st_mode) || st.st_size < REGISTRY_CDB_MIN + REGISTRY_TRAILER_LENGTH ||
        st.st_size > UINT32_MAX)
        return ERR_CORRUPT;
    r = mem_alloc(sizeof *r);
    if (cdb_init(&r->cdb, fd) != 0) {
        free(r);
        return errno == EPROTO ? ERR_CORRUPT : ERR_IO;
    }
    /* cdb_init looks at the file's size again; a file that changes in between is not ours. */
    rc = r->cdb.cdb_fsize == (unsigned)st.st_size ? verify(r, (uint64_t)st.st_size) : ERR_CORRUPT;
    if (rc != ERR_OK)
        registry_close(&r);
    *registry = r;
    return rc;
}

int
registry_open_path(const char *path, struct registry **registry)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;

    *registry = NULL;
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    rc = registry_open(fd, registry);
    close(fd);
    return rc;
}

void
registry_close(struct registry **registry)
{
    if (*registry == NULL)
        return;
    cdb_free(&(*registry)->cdb);
    free(*registry);
    *registry = NULL;
}

const struct registry_version *
registry_get_version(const struct registry *registry)
{
    return &registry->version;
}

/* --- Look-ups. A copy of the cdb handle is used up by each, so that the registry stays const. */

int
registry_value_found(struct cdb *cdb, int found, struct slice *value)
{
    if (found == 0)
        return ERR_NOT_FOUND;
    value->p = found < 0 ? NULL : cdb_getdata(cdb);
    value->n = cdb_datalen(cdb);
    return value->p == NULL ? ERR_CORRUPT : ERR_OK;
}

#define FORMAT_TURNED 5
#define TURN 0x9e3779b1u      /* odd: each number has a turned one of its own */
#define TURN_BACK 0x0e8b2f51u /* TURN * TURN_BACK is 1 */

/* Kinds of keys that have a number behind the kind. */
static bool
has_number(const char *key, size_t key_size)
{
    static const char kinds[] = {'c', 'b', 'o', 'r', 't', 'i', 'f', 'F', 'x', 'q', 'X'};

    return key_size >= 5 && memchr(kinds, key[0], sizeof kinds) != NULL;
}

static void
turn_number(char *key, uint32_t factor)
{
    uint32_t number = 0;

    for (size_t i = 1; i < 5; i++)
        number = number << 8 | (uint8_t)key[i];
    (void)registry_key_number(key, key[0], number * factor);
}

void
registry_key_stored(uint32_t format, const char *key, size_t key_size, char *dst)
{
    memcpy(dst, key, key_size);
    if (format >= FORMAT_TURNED && has_number(key, key_size))
        turn_number(dst, TURN);
}

int
registry_find_value(const struct registry *registry, const char *key, size_t key_size,
                    struct slice *value)
{
    struct cdb cdb = registry->cdb;
    char stored[REGISTRY_KEY_MOST];

    registry_key_stored(registry->format, key, key_size, stored);
    return registry_value_found(&cdb, cdb_find(&cdb, stored, (unsigned)key_size), value);
}

static int
find_name(const struct registry *registry, const char *name, struct registry_domain *found)
{
    char key[REGISTRY_KEY_SIZE];
    struct slice value;
    int rc = registry_find_value(registry, key, registry_key_name(key, 'd', name), &value);

    return rc == ERR_OK ? registry_decode_domain(value, registry->format, name, found) : rc;
}

int
registry_find_domain(const struct registry *registry, const char *domain,
                     struct registry_domain *found)
{
    int rc;

    if (domain[0] == '\0' || domain[0] == '.' || strlen(domain) >= INET_DOMAIN_SIZE)
        return ERR_NOT_FOUND;
    rc = find_name(registry, domain, found);
    for (const char *dot = strchr(domain, '.'); rc == ERR_NOT_FOUND && dot != NULL;
         dot = strchr(dot + 1, '.'))
        rc = find_name(registry, dot, found);
    return rc;
}

int
registry_find_customer(const struct registry *registry, uint32_t id, int64_t wall_ms,
                       struct registry_customer *found)
{
    char key[REGISTRY_KEY_SIZE];
    struct slice value;
    int rc = registry_find_value(registry, key, registry_key_number(key, 'c', id), &value);

    return rc == ERR_OK ? registry_decode_customer(value, registry, id, wall_ms, found) : rc;
}

int
registry_find_contact(const struct registry *registry, uint32_t customer_id,
                      struct registry_contact *found)
{
    char key[REGISTRY_KEY_SIZE];
    struct slice value;
    struct decoder d;
    int rc = registry_find_value(registry, key, registry_key_number(key, 't', customer_id), &value);

    *found = (struct registry_contact){.address = ""};
    if (rc != ERR_OK)
        return rc;
    d = decoder_of(value);
    get_text(&d, found->address, sizeof found->address);
    get_text(&d, found->language, sizeof found->language);
    return decoder_done(&d) ? ERR_OK : ERR_CORRUPT;
}

static bool
comes_before(const struct registry_backend *a, const struct registry_backend *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->number < b->number;
}

/* Keeps the best REGISTRY_BACKENDS_MAX in order. */
static void
insert_backend(struct registry_backend *list, unsigned *count, const struct registry_backend *b)
{
    unsigned at = *count;

    if (at == REGISTRY_BACKENDS_MAX && !comes_before(b, &list[--at]))
        return;
    for (; at > 0 && comes_before(b, &list[at - 1]); at--)
        list[at] = list[at - 1];
    list[at] = *b;
    if (*count < REGISTRY_BACKENDS_MAX)
        (*count)++;
}

int
registry_find_backends(const struct registry *registry, const struct registry_domain *domain,
                       struct registry_backend *found, unsigned *count)
{
    struct cdb cdb = registry->cdb;
    struct cdb_find search;
    struct registry_backend whose = {.customer_id = domain->customer_id,
                                     .domain_id = domain->has_backends ? domain->id : 0};
    struct registry_backend one;
    struct slice value;
    char key[REGISTRY_KEY_SIZE], stored[REGISTRY_KEY_SIZE];
    size_t n = whose.domain_id != 0 ? registry_key_number(key, 'o', whose.domain_id)
                                    : registry_key_number(key, 'b', whose.customer_id);
    int rc;

    registry_key_stored(registry->format, key, n, stored);
    rc = cdb_findinit(&search, &cdb, stored, (unsigned)n);
    *count = 0;
    if (rc <= 0)
        return rc == 0 ? ERR_NOT_FOUND : ERR_CORRUPT;
    while ((rc = registry_value_found(&cdb, cdb_findnext(&search), &value)) == ERR_OK &&
           (rc = registry_decode_backend(value, registry->format, &whose, &one)) == ERR_OK)
        insert_backend(found, count, &one);
    if (rc != ERR_NOT_FOUND)
        return rc;
    return *count > 0 ? ERR_OK : ERR_NOT_FOUND;
}

int
registry_find_recipient(const struct registry *registry, const struct registry_domain *domain,
                        struct slice local_part)
{
    char key[REGISTRY_KEY_SIZE];
    struct slice value;

    if (!domain->has_recipients)
        return ERR_NOT_FOUND;
    return registry_find_value(registry, key, registry_key_recipient(key, domain->id, local_part),
                               &value);
}

/* Keeps each customer once. */
static void
insert_customer(uint32_t *ids, unsigned most, unsigned *count, uint32_t id)
{
    for (unsigned i = 0; i < *count; i++)
        if (ids[i] == id)
            return;
    if (*count < most)
        ids[(*count)++] = id;
}

int
registry_find_backend_customers(const struct registry *registry,
                                const struct inet_endpoint *address, uint32_t *ids, unsigned most,
                                unsigned *count)
{
    struct cdb cdb = registry->cdb;
    struct cdb_find search;
    struct slice value;
    char key[REGISTRY_KEY_SIZE];
    int rc = cdb_findinit(&search, &cdb, key, (unsigned)registry_key_address(key, address));

    *count = 0;
    if (rc <= 0)
        return rc == 0 ? ERR_NOT_FOUND : ERR_CORRUPT;
    while ((rc = registry_value_found(&cdb, cdb_findnext(&search), &value)) == ERR_OK) {
        struct decoder d = decoder_of(value);
        uint32_t id = get_u32(&d);

        if (!decoder_done(&d))
            return ERR_CORRUPT;
        insert_customer(ids, most, count, id);
    }
    if (rc != ERR_NOT_FOUND)
        return rc;
    return *count > 0 ? ERR_OK : ERR_NOT_FOUND;
}

/* --- All of a kind. */

int
registry_walk(const struct registry *registry, registry_visit visit, void *ctx)
{
    struct cdb cdb = registry->cdb;
    char plain[REGISTRY_KEY_MOST];
    int found = 0, rc = ERR_OK;
    unsigned at;

    cdb_seqinit(&at, &cdb);
    while (rc == ERR_OK && (found = cdb_seqnext(&at, &cdb)) > 0) {
        struct slice key = {cdb_getkey(&cdb), cdb_keylen(&cdb)}, value;

        rc = registry_value_found(&cdb, found, &value);
        if (rc != ERR_OK || key.p == NULL || key.n > sizeof plain)
            return ERR_CORRUPT;
        memcpy(plain, key.p, key.n);
        if (registry->format >= FORMAT_TURNED && has_number(plain, key.n))
            turn_number(plain, TURN_BACK);
        rc = visit(ctx, (struct slice){plain, key.n}, value);
    }
    if (rc != ERR_OK)
        return rc;
    return found == 0 ? ERR_OK : ERR_CORRUPT;
}

int
registry_key_customer(struct slice key, uint32_t *customer_id)
{
    *customer_id = 0;
    if (key.n < 5)
        return ERR_CORRUPT;
    for (size_t i = 1; i < 5; i++)
        *customer_id = *customer_id << 8 | (uint8_t)key.p[i];
    return ERR_OK;
}

struct walk {
    const struct registry *registry;
    int64_t wall_ms;
    void (*each_domain)(void *ctx, const struct registry_domain *domain);
    void (*each_customer)(void *ctx, const struct registry_customer *customer);
    void (*each_backend)(void *ctx, const struct registry_backend *backend);
    void *ctx;
};

static int
visit_domain(void *ctx, struct slice key, struct slice value)
{
    const struct walk *walk = ctx;
    struct registry_domain domain;
    char name[INET_DOMAIN_SIZE];
    int rc;

    if (key.n == 0 || key.p[0] != 'd')
        return ERR_OK;
    if (!slice_to_text((struct slice){key.p + 1, key.n - 1}, name, sizeof name))
        return ERR_CORRUPT;
    rc = registry_decode_domain(value, walk->registry->format, name, &domain);
    if (rc == ERR_OK)
        walk->each_domain(walk->ctx, &domain);
    return rc;
}

static int
visit_customer(void *ctx, struct slice key, struct slice value)
{
    const struct walk *walk = ctx;
    struct registry_customer customer;
    uint32_t id;
    int rc;

    if (key.n == 0 || key.p[0] != 'c')
        return ERR_OK;
    if (key.n != 5 || registry_key_customer(key, &id) != ERR_OK)
        return ERR_CORRUPT;
    rc = registry_decode_customer(value, walk->registry, id, walk->wall_ms, &customer);
    if (rc == ERR_OK)
        walk->each_customer(walk->ctx, &customer);
    return rc;
}

static int
visit_backend(void *ctx, struct slice key, struct slice value)
{
    const struct walk *walk = ctx;
    struct registry_backend whose = {0}, backend;
    uint32_t id;
    int rc;

    if (key.n == 0 || (key.p[0] != 'b' && key.p[0] != 'o'))
        return ERR_OK;
    if (key.n != 5 || registry_key_customer(key, &id) != ERR_OK)
        return ERR_CORRUPT;
    if (key.p[0] == 'b')
        whose.customer_id = id;
    else
        whose.domain_id = id;
    rc = registry_decode_backend(value, walk->registry->format, &whose, &backend);
    if (rc == ERR_OK)
        walk->each_backend(walk->ctx, &backend);
    return rc;
}

int
registry_each_backend(const struct registry *registry,
                      void (*each)(void *ctx, const struct registry_backend *backend), void *ctx)
{
    struct walk walk = {.registry = registry, .each_backend = each, .ctx = ctx};

    return registry_walk(registry, visit_backend, &walk);
}

int
registry_each_domain(const struct registry *registry,
                     void (*each)(void *ctx, const struct registry_domain *domain), void *ctx)
{
    struct walk walk = {.registry = registry, .each_domain = each, .ctx = ctx};

    return registry_walk(registry, visit_domain, &walk);
}

int
registry_each_customer(const struct registry *registry, int64_t wall_ms,
                       void (*each)(void *ctx, const struct registry_customer *customer), void *ctx)
{
    struct walk walk = {
        .registry = registry, .wall_ms = wall_ms, .each_customer = each, .ctx = ctx};

    return registry_walk(registry, visit_customer, &walk);
}
