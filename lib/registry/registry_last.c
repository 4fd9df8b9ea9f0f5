/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The file is text, a line each, and ends with a checksum over the lines before it: it can be read
 * by a person, and is believed whole or not at all.  It is written after the replica; a death in
 * between leaves an older version in it, by which less is refused, never more.
 *
 *   postern-replica-last 1
 *   database_id 6f1c...
 *   version 4711
 *   served 120
 *   check 0123456789abcdef
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/parse.h"
#include "registry/registry_file.h"
#include "registry/registry_last.h"

#define LAST_HEAD "postern-replica-last 1"
#define LAST_FILE_MAX 512

struct registry_last
registry_last_of(const struct registry_set *set)
{
    struct registry_last last = {.version = set->version, .served = registry_set_served(set)};

    memcpy(last.database_id, set->database_id, sizeof last.database_id);
    return last;
}

bool
registry_last_vouches(const struct registry_last *last, const struct registry_version *version)
{
    return strcmp(last->database_id, version->database_id) == 0 &&
           version->version >= last->version;
}

/* --- Writing. */

static void
encode(const struct registry_last *last, struct buf *text)
{
    buf_printf(text, LAST_HEAD "\ndatabase_id %s\nversion %" PRIu64 "\nserved %" PRIu64 "\n",
               last->database_id, last->version, last->served);
    buf_printf(text, "check %016" PRIx64 "\n",
               (uint64_t)XXH3_64bits(buf_slice(text).p, buf_size(text)));
}

static int
write_synced(const char *path, struct slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int rc = ERR_IO;

    if (fd < 0)
        return ERR_IO;
    errno = ENOSPC; /* of a short write, which sets none */
    if (write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0)
        rc = ERR_OK;
    close(fd);
    return rc;
}

int
registry_last_write(const char *path, const char *path_tmp, const struct registry_last *last)
{
    struct buf text;
    int rc;

    buf_init(&text, 0);
    encode(last, &text);
    rc = write_synced(path_tmp, buf_slice(&text));
    buf_fini(&text);
    if (rc == ERR_OK && rename(path_tmp, path) != 0)
        rc = ERR_IO;
    return rc == ERR_OK ? registry_sync_folder_of(path) : rc;
}

/* --- Reading. */

static bool
take_value(struct slice *text, struct slice word, struct slice *value)
{
    struct slice line = slice_split(text, '\n');

    if (line.n <= word.n || line.p[word.n] != ' ' || memcmp(line.p, word.p, word.n) != 0)
        return false;
    *value = (struct slice){line.p + word.n + 1, line.n - word.n - 1};
    return true;
}

static bool
has_check(struct slice text)
{
    static const size_t check_size = sizeof "check 0123456789abcdef\n" - 1;
    char want[sizeof "check 0123456789abcdef\n"];

    if (text.n <= check_size)
        return false;
    text.n -= check_size;
    snprintf(want, sizeof want, "check %016" PRIx64 "\n", (uint64_t)XXH3_64bits(text.p, text.n));
    return memcmp(text.p + text.n, want, check_size) == 0;
}

static int
decode(struct slice text, struct registry_last *last)
{
    struct slice format, id, version, served;

    if (!has_check(text) || !take_value(&text, SLICE("postern-replica-last"), &format))
        return ERR_CORRUPT;
    if (!slice_equal(format, SLICE("1")))
        return ERR_VERSION;
    if (!take_value(&text, SLICE("database_id"), &id) ||
        !slice_to_text(id, last->database_id, sizeof last->database_id) ||
        !take_value(&text, SLICE("version"), &version) ||
        parse_u64(version, &last->version) != ERR_OK ||
        !take_value(&text, SLICE("served"), &served) || parse_u64(served, &last->served) != ERR_OK)
        return ERR_CORRUPT;
    return ERR_OK;
}

int
registry_last_read(const char *path, struct registry_last *last)
{
    char text[LAST_FILE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    *last = (struct registry_last){0};
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    n = read(fd, text, sizeof text);
    close(fd);
    return n < 0 ? ERR_IO : decode((struct slice){text, (size_t)n}, last);
}

/* --- Judging. */

static enum registry_guard_verdict
judge(const struct registry_last *last, const struct registry_set *offer,
      const struct registry_guard *guard)
{
    if (last == NULL)
        return registry_set_served(offer) == 0 ? REGISTRY_GUARD_EMPTY : REGISTRY_GUARD_ACCEPT;
    return registry_guard_compare(last->database_id, last->version, offer, guard);
}

void
registry_guard_judge_by_last(const struct registry_last *last, const struct registry_set *offer,
                             bool is_accepted, struct registry_guard *guard)
{
    size_t served = registry_set_served(offer);

    *guard = (struct registry_guard){.verdict = REGISTRY_GUARD_ACCEPT};
    if (last != NULL) {
        guard->of = last->served;
        guard->gone = last->served > served ? last->served - served : 0;
    }
    if (!is_accepted)
        guard->verdict = judge(last, offer, guard);
}
