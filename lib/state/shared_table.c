/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table's life: made by the parent under another name and renamed into place, so that
 * whoever attaches finds a whole one; taken over as it is by the next parent of the same boot.  A
 * file that is not ours is replaced, never cut or overwritten, since a process may still have it
 * mapped.
 */
#include "state/shared_table.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/shared_layout.h"

static int
judge_header(const struct shared_header *h)
{
    char boot_id[CLOCK_BOOT_ID_SIZE];

    if (memcmp(h->magic, SHARED_MAGIC, sizeof h->magic) != 0)
        return ERR_CORRUPT;
    if (h->layout != SHARED_LAYOUT || h->counter_count != SHARED_COUNTER_COUNT ||
        h->size_bytes != sizeof(struct shared_memory))
        return ERR_VERSION;
    clock_boot_id(boot_id);
    return memcmp(h->boot_id, boot_id, sizeof boot_id) == 0 ? ERR_OK : ERR_NOT_FOUND;
}

/* The header is read before anything is mapped: a mapping behind the end of a file kills. */
static int
judge_file(int fd)
{
    struct shared_header h;
    struct stat st;
    int rc;

    if (fstat(fd, &st) != 0)
        return ERR_IO;
    if (!S_ISREG(st.st_mode) || pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h)
        return ERR_CORRUPT;
    rc = judge_header(&h);
    if (rc == ERR_OK && st.st_size != (off_t)sizeof(struct shared_memory))
        rc = ERR_CORRUPT;
    return rc;
}

static int
map(int fd, struct shared_table **table)
{
    void *memory =
        mmap(NULL, sizeof(struct shared_memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED)
        return ERR_IO;
    *table = mem_alloc(sizeof **table);
    (*table)->memory = memory;
    return ERR_OK;
}

int
shared_table_attach(const char *path, struct shared_table **table)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc;

    *table = NULL;
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    rc = judge_file(fd);
    if (rc == ERR_OK)
        rc = map(fd, table);
    close(fd);
    return rc;
}

/* The table belongs to whom run-dir belongs to, so that spoolmgr finds it open. */
static void
give_to_folder_owner(int fd, const char *path)
{
    char copy[PATH_MAX];
    struct stat st;

    snprintf(copy, sizeof copy, "%s", path);
    if (geteuid() == 0 && stat(dirname(copy), &st) == 0)
        (void)!fchown(fd, st.st_uid, st.st_gid);
}

static int
make_new(const char *path, struct shared_table **table)
{
    char path_new[PATH_MAX];
    struct shared_header *h;
    int fd, rc = ERR_IO;

    if (snprintf(path_new, sizeof path_new, "%s.new", path) >= (int)sizeof path_new)
        return ERR_LIMIT;
    (void)unlink(path_new);
    fd = open(path_new, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return ERR_IO;
    give_to_folder_owner(fd, path);
    /* Reserved, not only sized: a full tmpfs must fail here and not at the first touch of a page.
     */
    errno = posix_fallocate(fd, 0, offsetof(struct shared_memory, clients));
    if (errno != 0 || ftruncate(fd, sizeof(struct shared_memory)) != 0 ||
        (rc = map(fd, table)) != ERR_OK)
        goto out;
    h = &(*table)->memory->header;
    h->layout = SHARED_LAYOUT;
    h->counter_count = SHARED_COUNTER_COUNT;
    h->size_bytes = sizeof(struct shared_memory);
    clock_boot_id(h->boot_id);
    random_bytes(h->hash_key, sizeof h->hash_key);
    random_bytes(h->limits_key, sizeof h->limits_key);
    memcpy(h->magic, SHARED_MAGIC, sizeof h->magic);
    if (rename(path_new, path) != 0) {
        shared_table_detach(table);
        rc = ERR_IO;
    }
out:
    close(fd);
    if (rc != ERR_OK)
        (void)unlink(path_new);
    return rc;
}

int
shared_table_create(const char *path, uint32_t epoch, struct shared_table **table)
{
    int rc = shared_table_attach(path, table);

    if (rc != ERR_OK)
        rc = make_new(path, table);
    if (rc != ERR_OK)
        return rc;
    atomic_store(&(*table)->memory->header.left_service_at_ms, 0);
    if (atomic_exchange(&(*table)->memory->header.epoch, epoch) != epoch)
        atomic_store(&(*table)->memory->header.next_number, 0);
    return ERR_OK;
}

void
shared_table_detach(struct shared_table **table)
{
    if (*table == NULL)
        return;
    munmap((*table)->memory, sizeof(struct shared_memory));
    free(*table);
    *table = NULL;
}

uint64_t
shared_table_next_number(struct shared_table *table)
{
    return atomic_fetch_add(&table->memory->header.next_number, 1);
}

uint32_t
shared_table_epoch(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.epoch);
}

bool
shared_table_leave_service(struct shared_table *table, int64_t wall_ms)
{
    int64_t in_service = 0;

    return atomic_compare_exchange_strong(&table->memory->header.left_service_at_ms, &in_service,
                                          wall_ms);
}

bool
shared_table_return_to_service(struct shared_table *table)
{
    return atomic_exchange(&table->memory->header.left_service_at_ms, 0) != 0;
}

int64_t
shared_table_left_service_at_ms(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.left_service_at_ms);
}

uint64_t
shared_endpoint_key(const struct shared_table *table, const struct inet_endpoint *e)
{
    uint8_t bytes[19];
    uint64_t key;

    bytes[0] = e->family;
    memcpy(bytes + 1, e->addr, sizeof e->addr);
    bytes[17] = (uint8_t)(e->port >> 8);
    bytes[18] = (uint8_t)e->port;
    key = siphash(bytes, sizeof bytes, table->memory->header.hash_key);
    return key ? key : 1;
}
