/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reads a replica file.  It is believed only whole: size, magic, format and the checksum over every
 * octet are verified before the first look-up.  Behind that, a look-up still trusts nothing:
 * tinycdb checks its offsets against the file, values go through the decoder, and numbers that name
 * no enum value are ERR_CORRUPT, which the caller answers with 451.
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

/* --- Values. */

/* What came with format 3. */
static bool
decode_domain_additions(struct decoder *d, struct registry_domain *domain)
{
    unsigned mode, primary_up, more;

    domain->id = get_u32(d);
    mode = get_u8(d);
    primary_up = get_u8(d);
    more = get_u8(d);
    domain->mode = (enum registry_mode)mode;
    domain->primary_up = (enum registry_primary_up)primary_up;
    domain->has_backends = (more & REGISTRY_DOMAIN_HAS_BACKENDS) != 0;
    domain->has_recipients = (more & REGISTRY_DOMAIN_HAS_RECIPIENTS) != 0;
    domain->is_recipients_complete = (more & REGISTRY_DOMAIN_COMPLETE) != 0;
    return mode <= REGISTRY_MODE_FALLBACK && primary_up <= REGISTRY_PRIMARY_UP_ACCEPT &&
           more <= REGISTRY_DOMAIN_MORE_ALL;
}

static int
decode_domain(struct slice value, uint32_t format, const char *name, struct registry_domain *domain)
{
    struct decoder d = decoder_of(value);
    unsigned when_down, flags;

    *domain = (struct registry_domain){.customer_id = get_u32(&d)};
    when_down = get_u8(&d);
    flags = get_u8(&d);
    domain->missing_since_ms = (int64_t)get_u64(&d);
    if (format >= 3 && !decode_domain_additions(&d, domain))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || when_down > REGISTRY_WHEN_DOWN_REJECT ||
        flags > (REGISTRY_DOMAIN_REMOVED | REGISTRY_DOMAIN_MISSING_ACCEPTED) ||
        !slice_to_text(slice_of(name), domain->name, sizeof domain->name))
        return ERR_CORRUPT;
    domain->when_down = (enum registry_when_down)when_down;
    domain->removed = (flags & REGISTRY_DOMAIN_REMOVED) != 0;
    domain->missing_accepted = (flags & REGISTRY_DOMAIN_MISSING_ACCEPTED) != 0;
    return ERR_OK;
}

/* False: no such limit, or no such value of it. */
static bool
set_limit(struct registry_customer *c, unsigned limit, uint64_t value)
{
    switch ((enum registry_limit)limit) {
    case REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE:
        c->max_recipients_per_message = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_MESSAGES_PER_CONNECTION:
        c->max_messages_per_connection = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_CONNECTIONS_PER_HOUR:
        c->max_connections_per_hour = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_MESSAGE_SIZE:
        c->max_message_size_bytes = value;
        return true;
    case REGISTRY_LIMIT_RETENTION_DAYS:
        c->retention_days = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_CONNECTIONS_SCOPE:
        c->connections_scope = (enum registry_connections_scope)value;
        return value <= REGISTRY_CONNECTIONS_CLIENT;
    case REGISTRY_LIMIT_BARE_LF:
        c->normalise_bare_lf = value != 0;
        return value <= 1;
    case REGISTRY_LIMIT_SPOOL_MESSAGES:
        c->max_spool_messages = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_SPOOL_BYTES:
        c->max_spool_bytes = value;
        return true;
    case REGISTRY_LIMIT_POLICY:
        c->policy = value;
        return policy_is_valid(value);
    case REGISTRY_LIMIT_COUNT:
        break;
    }
    return false;
}

/* A change that has ended is checked like any other and left aside. */
static bool
decode_temporary(struct decoder *d, int64_t wall_ms, struct registry_customer *customer)
{
    struct registry_customer changed = *customer;
    unsigned limit = get_u8(d);
    uint64_t value = get_u64(d);
    int64_t until_ms = (int64_t)get_u64(d);

    if (!set_limit(&changed, limit, value))
        return false;
    if (wall_ms < until_ms)
        *customer = changed;
    return true;
}

/* What came with format 2. */
static bool
decode_additions(struct decoder *d, int64_t wall_ms, struct registry_customer *customer)
{
    bool is_good = set_limit(customer, REGISTRY_LIMIT_CONNECTIONS_SCOPE, get_u8(d));
    unsigned count;

    is_good = set_limit(customer, REGISTRY_LIMIT_BARE_LF, get_u8(d)) && is_good;
    count = get_u8(d);
    for (unsigned i = 0; is_good && i < count; i++)
        is_good = decode_temporary(d, wall_ms, customer);
    return is_good;
}

/* What came with formats 3 and 4, before the temporary changes, which may be of it. */
static bool
decode_spool_limits(struct decoder *d, uint32_t format, struct registry_customer *customer)
{
    unsigned flags = get_u8(d);

    customer->keep_live_4xx = (flags & REGISTRY_CUSTOMER_KEEPS_LIVE_4XX) != 0;
    customer->max_spool_messages = get_u32(d);
    customer->max_spool_bytes = get_u64(d);
    if (format < 4)
        return flags <= REGISTRY_CUSTOMER_KEEPS_LIVE_4XX;
    customer->filters_only = (flags & REGISTRY_CUSTOMER_FILTERS_ONLY) != 0;
    return set_limit(customer, REGISTRY_LIMIT_POLICY, get_u64(d)) &&
           flags <= (REGISTRY_CUSTOMER_KEEPS_LIVE_4XX | REGISTRY_CUSTOMER_FILTERS_ONLY);
}

static int
decode_customer(struct slice value, const struct registry *registry, uint32_t id, int64_t wall_ms,
                struct registry_customer *customer)
{
    struct decoder d = decoder_of(value);
    uint32_t format = registry->format;
    unsigned state;

    *customer = (struct registry_customer){
        .id = id, .max_spool_messages = REGISTRY_UNLIMITED, .max_spool_bytes = UINT64_MAX};
    get_text(&d, customer->name, sizeof customer->name);
    state = get_u8(&d);
    customer->max_recipients_per_message = get_u32(&d);
    customer->max_messages_per_connection = get_u32(&d);
    customer->max_connections_per_hour = get_u32(&d);
    customer->max_message_size_bytes = get_u64(&d);
    customer->retention_days = get_u32(&d);
    if (format >= 3 && !decode_spool_limits(&d, format, customer))
        return ERR_CORRUPT;
    if (format >= 2 && !decode_additions(&d, wall_ms, customer))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || state > REGISTRY_CUSTOMER_SUSPENDED_REFUSE)
        return ERR_CORRUPT;
    customer->state = (enum registry_customer_state)state;
    return customer->filters_only ? registry_filters_complete(registry, id, &customer->filters_only)
                                  : ERR_OK;
}

static void
decode_address(struct decoder *d, struct inet_endpoint *endpoint)
{
    endpoint->family = get_u8(d);
    for (size_t i = 0; i < sizeof endpoint->addr; i++)
        endpoint->addr[i] = get_u8(d);
}

static bool
is_family(unsigned family)
{
    return family == 4 || family == 6;
}

/* What came with format 3. */
static bool
decode_backend_additions(struct decoder *d, struct registry_backend *backend)
{
    unsigned lookup, flags;

    get_text(d, backend->host, sizeof backend->host);
    lookup = get_u8(d);
    backend->lookup = (enum registry_lookup)lookup;
    backend->weight = get_u32(d);
    decode_address(d, &backend->source);
    get_text(d, backend->tls_name, sizeof backend->tls_name);
    flags = get_u8(d);
    backend->trusts_us = (flags & REGISTRY_BACKEND_TRUSTS_US) != 0;
    return lookup <= REGISTRY_LOOKUP_MX && backend->weight > 0 &&
           flags <= REGISTRY_BACKEND_TRUSTS_US &&
           (backend->source.family == 0 || is_family(backend->source.family));
}

/* `key`: as far as the record's key says it. */
static int
decode_backend(struct slice value, uint32_t format, const struct registry_backend *key,
               struct registry_backend *backend)
{
    struct decoder d = decoder_of(value);
    unsigned tls, held;

    *backend = *key;
    backend->weight = 1;
    if (backend->domain_id != 0)
        backend->customer_id = get_u32(&d);
    backend->number = get_u32(&d);
    decode_address(&d, &backend->endpoint);
    backend->endpoint.port = get_u16(&d);
    backend->priority = get_u32(&d);
    backend->max_connections = get_u32(&d);
    tls = get_u8(&d);
    held = get_u8(&d);
    if (format >= 3 && !decode_backend_additions(&d, backend))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || tls > REGISTRY_TLS_VERIFY || held > 1 ||
        is_family(backend->endpoint.family) == (backend->host[0] != '\0'))
        return ERR_CORRUPT;
    backend->tls = (enum registry_tls)tls;
    backend->held = held != 0;
    return ERR_OK;
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

    return rc == ERR_OK ? decode_domain(value, registry->format, name, found) : rc;
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

    return rc == ERR_OK ? decode_customer(value, registry, id, wall_ms, found) : rc;
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
           (rc = decode_backend(value, registry->format, &whose, &one)) == ERR_OK)
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
    rc = decode_domain(value, walk->registry->format, name, &domain);
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
    rc = decode_customer(value, walk->registry, id, walk->wall_ms, &customer);
    if (rc == ERR_OK)
        walk->each_customer(walk->ctx, &customer);
    return rc;
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
