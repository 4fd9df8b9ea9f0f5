/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Writes a replica file: a cdb, then the trailer that vouches for it, then sync, rename and sync of
 * the folder, in that order, so that a reader finds the old file or the whole new one and nothing
 * between.  What is added is trusted to be normalised and unique: the database's keys see to that,
 * and a second record of one name would simply never be found.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/codec.h"
#include "base/crash_point.h"
#include "registry/registry_file.h"
#include "registry/registry_format.h"
#include "registry/registry_private.h"

static void
maker_free(struct registry_maker **maker)
{
    struct registry_maker *m = *maker;

    if (m == NULL)
        return;
    if (m->cdb_is_open)
        (void)cdb_make_finish(&m->cdb);
    if (m->fd >= 0)
        close(m->fd);
    buf_fini(&m->value);
    free(m->path_tmp);
    free(m);
    *maker = NULL;
}

int
registry_maker_new(const char *path_tmp, struct registry_maker **maker)
{
    struct registry_maker *m = mem_alloc(sizeof *m);

    *maker = NULL;
    m->path_tmp = mem_strdup(path_tmp);
    buf_init(&m->value, 0);
    (void)unlink(
        path_tmp); /* one left behind by a crash may be mapped by nobody, but is not ours */
    m->fd = open(path_tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (m->fd < 0 || cdb_make_start(&m->cdb, m->fd) != 0) {
        maker_free(&m);
        return ERR_IO;
    }
    m->cdb_is_open = true;
    *maker = m;
    return ERR_OK;
}

int
registry_maker_add(struct registry_maker *m, const char *key, size_t key_size)
{
    struct slice value = buf_slice(&m->value);
    char stored[REGISTRY_KEY_MOST];
    int rc;

    registry_key_stored(REGISTRY_FORMAT_VERSION, key, key_size, stored);
    rc = cdb_make_add(&m->cdb, stored, (unsigned)key_size, value.p, (unsigned)value.n);
    buf_clear(&m->value);
    return rc == 0 ? ERR_OK : ERR_IO;
}

int
registry_maker_customer(struct registry_maker *m, const struct registry_customer *customer,
                        const struct registry_temporary *temporary, unsigned count)
{
    char key[REGISTRY_KEY_SIZE];

    CHECK(count <= REGISTRY_LIMIT_COUNT);
    put_text(&m->value, customer->name);
    put_u8(&m->value, (uint8_t)customer->state);
    put_u32(&m->value, customer->max_recipients_per_message);
    put_u32(&m->value, customer->max_messages_per_connection);
    put_u32(&m->value, customer->max_connections_per_hour);
    put_u64(&m->value, customer->max_message_size_bytes);
    put_u32(&m->value, customer->retention_days);
    put_u8(&m->value, (uint8_t)((customer->keep_live_4xx ? REGISTRY_CUSTOMER_KEEPS_LIVE_4XX : 0u) |
                                (customer->filters_only ? REGISTRY_CUSTOMER_FILTERS_ONLY : 0u)));
    put_u32(&m->value, customer->max_spool_messages);
    put_u64(&m->value, customer->max_spool_bytes);
    put_u64(&m->value, customer->policy);
    m->checks_needed |= policy_checks_of(customer->policy);
    put_u8(&m->value, (uint8_t)customer->connections_scope);
    put_u8(&m->value, customer->normalise_bare_lf);
    put_u8(&m->value, (uint8_t)count);
    for (unsigned i = 0; i < count; i++) {
        put_u8(&m->value, (uint8_t)temporary[i].limit);
        put_u64(&m->value, temporary[i].value);
        put_u64(&m->value, (uint64_t)temporary[i].until_ms);
        if (temporary[i].limit == REGISTRY_LIMIT_POLICY)
            m->checks_needed |= policy_checks_of(temporary[i].value);
    }
    return registry_maker_add(m, key, registry_key_number(key, 'c', customer->id));
}

int
registry_maker_contact(struct registry_maker *m, uint32_t customer_id,
                       const struct registry_contact *contact)
{
    char key[REGISTRY_KEY_SIZE];

    put_text(&m->value, contact->address);
    put_text(&m->value, contact->language);
    return registry_maker_add(m, key, registry_key_number(key, 't', customer_id));
}

int
registry_maker_domain(struct registry_maker *m, const struct registry_domain *domain)
{
    char key[REGISTRY_KEY_SIZE];
    unsigned flags = (domain->removed ? REGISTRY_DOMAIN_REMOVED : 0u) |
                     (domain->missing_accepted ? REGISTRY_DOMAIN_MISSING_ACCEPTED : 0u);

    put_u32(&m->value, domain->customer_id);
    put_u8(&m->value, (uint8_t)domain->when_down);
    put_u8(&m->value, (uint8_t)flags);
    put_u64(&m->value, (uint64_t)domain->missing_since_ms);
    put_u32(&m->value, domain->id);
    put_u8(&m->value, (uint8_t)domain->mode);
    put_u8(&m->value, (uint8_t)domain->primary_up);
    put_u8(&m->value, (uint8_t)((domain->has_backends ? REGISTRY_DOMAIN_HAS_BACKENDS : 0u) |
                                (domain->has_recipients ? REGISTRY_DOMAIN_HAS_RECIPIENTS : 0u) |
                                (domain->is_recipients_complete ? REGISTRY_DOMAIN_COMPLETE : 0u)));
    m->domain_count++;
    return registry_maker_add(m, key, registry_key_name(key, 'd', domain->name));
}

static void
put_address(struct buf *value, const struct inet_endpoint *endpoint)
{
    put_u8(value, endpoint->family);
    buf_add(value, endpoint->addr, sizeof endpoint->addr);
}

int
registry_maker_backend(struct registry_maker *m, const struct registry_backend *backend)
{
    bool is_domains = backend->domain_id != 0;
    char key[REGISTRY_KEY_SIZE];
    int rc;

    if (is_domains)
        put_u32(&m->value, backend->customer_id);
    put_u32(&m->value, backend->number);
    put_address(&m->value, &backend->endpoint);
    put_u16(&m->value, backend->endpoint.port);
    put_u32(&m->value, backend->priority);
    put_u32(&m->value, backend->max_connections);
    put_u8(&m->value, (uint8_t)backend->tls);
    put_u8(&m->value, backend->held);
    put_text(&m->value, backend->host);
    put_u8(&m->value, (uint8_t)backend->lookup);
    put_u32(&m->value, backend->weight);
    put_address(&m->value, &backend->source);
    put_text(&m->value, backend->tls_name);
    put_u8(&m->value, backend->trusts_us ? REGISTRY_BACKEND_TRUSTS_US : 0);
    rc = registry_maker_add(m, key,
                            is_domains ? registry_key_number(key, 'o', backend->domain_id)
                                       : registry_key_number(key, 'b', backend->customer_id));
    if (rc != ERR_OK || backend->endpoint.family == 0)
        return rc;
    put_u32(&m->value, backend->customer_id);
    return registry_maker_add(m, key, registry_key_address(key, &backend->endpoint));
}

int
registry_maker_recipient(struct registry_maker *m, uint32_t domain_id, struct slice local_part)
{
    char key[REGISTRY_KEY_SIZE];

    return registry_maker_add(m, key, registry_key_recipient(key, domain_id, local_part));
}

/* The file is read back for its checksum: what is vouched for is what is there. */
static int
hash_file(int fd, uint64_t size, XXH3_state_t *hash)
{
    static const size_t chunk_size = 1 << 18;
    char *chunk = mem_alloc(chunk_size);
    uint64_t at = 0;

    while (at < size) {
        ssize_t n = pread(fd, chunk, chunk_size, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        XXH3_64bits_update(hash, chunk, (size_t)n);
        at += (uint64_t)n;
    }
    free(chunk);
    return at == size ? ERR_OK : ERR_IO;
}

static int
write_trailer(int fd, const struct registry_version *version, uint64_t domain_count)
{
    char t[REGISTRY_TRAILER_LENGTH] = {0};
    XXH3_state_t *hash = XXH3_createState();
    struct stat st;
    int rc = ERR_IO;

    CHECK(hash != NULL);
    XXH3_64bits_reset(hash);
    if (fstat(fd, &st) != 0 || hash_file(fd, (uint64_t)st.st_size, hash) != ERR_OK)
        goto out;
    memcpy(t + REGISTRY_TRAILER_MAGIC, REGISTRY_MAGIC, 8);
    store_u32(t + REGISTRY_TRAILER_FORMAT, REGISTRY_FORMAT_VERSION);
    snprintf(t + REGISTRY_TRAILER_DATABASE, sizeof version->database_id, "%s",
             version->database_id);
    store_u64(t + REGISTRY_TRAILER_VERSION, version->version);
    store_u64(t + REGISTRY_TRAILER_DOMAINS, domain_count);
    store_u64(t + REGISTRY_TRAILER_WRITTEN, (uint64_t)version->written_at_ms);
    store_u64(t + REGISTRY_TRAILER_SIZE, (uint64_t)st.st_size + sizeof t);
    XXH3_64bits_update(hash, t, REGISTRY_TRAILER_CHECK);
    store_u64(t + REGISTRY_TRAILER_CHECK, XXH3_64bits_digest(hash));
    if (pwrite(fd, t, sizeof t, st.st_size) == (ssize_t)sizeof t)
        rc = ERR_OK;
out:
    XXH3_freeState(hash);
    return rc;
}

int
registry_sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    int fd, rc;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    rc = fsync(fd) == 0 ? ERR_OK : ERR_IO;
    close(fd);
    return rc;
}

/* What is of all records together. */
static int
add_last(struct registry_maker *m)
{
    int rc = registry_maker_add_lengths(m);

    if (rc != ERR_OK)
        return rc;
    put_u32(&m->value, m->checks_needed);
    return registry_maker_add(m, "p", 1);
}

int
registry_maker_finish(struct registry_maker **maker, const struct registry_version *version,
                      const char *path)
{
    struct registry_maker *m = *maker;
    int rc = ERR_IO, saved_errno;

    if (add_last(m) != ERR_OK)
        goto out;
    m->cdb_is_open = false;
    if (cdb_make_finish(&m->cdb) == 0 && write_trailer(m->fd, version, m->domain_count) == ERR_OK &&
        fsync(m->fd) == 0) {
        CRASH_POINT("control-before-rename");
        if (rename(m->path_tmp, path) == 0)
            rc = registry_sync_folder_of(path);
        CRASH_POINT("control-behind-rename");
    }
out:
    saved_errno = errno;
    if (rc != ERR_OK)
        (void)unlink(m->path_tmp);
    maker_free(maker);
    errno = saved_errno;
    return rc;
}

void
registry_maker_abort(struct registry_maker **maker)
{
    if (*maker == NULL)
        return;
    (void)unlink((*maker)->path_tmp);
    maker_free(maker);
}
