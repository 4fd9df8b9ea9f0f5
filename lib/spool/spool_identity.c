/* SPDX-License-Identifier: BSD-2-Clause
 *
 *   log 5f0c...
 *   refused 12 4096        (only while it is)
 */
#include "spool/spool_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/siphash.h"

#define FILE_NAME "identity"
#define TEXT_SIZE 128

bool
spool_position_is_before(struct spool_position a, struct spool_position b)
{
    return a.ledger != b.ledger ? a.ledger < b.ledger : a.octets < b.octets;
}

void
spool_identity_make(struct spool_identity *identity)
{
    uint8_t octets[(SPOOL_LOG_SIZE - 1) / 2];

    *identity = (struct spool_identity){.is_refused = false};
    random_bytes(octets, sizeof octets);
    for (size_t i = 0; i < sizeof octets; i++)
        snprintf(identity->log + 2 * i, 3, "%02x", octets[i]);
}

static int
parse(const char *text, struct spool_identity *identity)
{
    int name_end = 0, end = 0;

    *identity = (struct spool_identity){.is_refused = false};
    if (sscanf(text, "log %32[0-9a-f]%n", identity->log, &name_end) != 1 ||
        strlen(identity->log) != SPOOL_LOG_SIZE - 1 || text[name_end] != '\n')
        return ERR_CORRUPT;
    text += name_end + 1;
    if (text[0] == '\0')
        return ERR_OK;
    identity->is_refused =
        sscanf(text, "refused %" SCNu32 " %" SCNu64 "%n", &identity->position.ledger,
               &identity->position.octets, &end) == 2;
    return identity->is_refused && strcmp(text + end, "\n") == 0 ? ERR_OK : ERR_CORRUPT;
}

int
spool_identity_read(const char *dir, struct spool_identity *identity)
{
    char path[4096], text[TEXT_SIZE];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/" FILE_NAME, dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, sizeof text - 1);
        close(fd);
    }
    if (n < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    text[n] = '\0';
    return parse(text, identity);
}

static bool
write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool is_whole;

    if (fd < 0)
        return false;
    is_whole = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
    return close(fd) == 0 && is_whole;
}

static bool
sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced;

    if (fd < 0)
        return false;
    is_synced = fsync(fd) == 0;
    close(fd);
    return is_synced;
}

int
spool_identity_write(const char *dir, const struct spool_identity *identity)
{
    char path[4096], path_new[4096], text[TEXT_SIZE];
    int n = snprintf(text, sizeof text, "log %s\n", identity->log);

    if (identity->is_refused)
        snprintf(text + n, sizeof text - (size_t)n, "refused %" PRIu32 " %" PRIu64 "\n",
                 identity->position.ledger, identity->position.octets);
    snprintf(path, sizeof path, "%s/" FILE_NAME, dir);
    snprintf(path_new, sizeof path_new, "%s/" FILE_NAME ".new", dir);
    if (!write_text(path_new, text) || rename(path_new, path) < 0 || !sync_folder(dir))
        return ERR_IO;
    return ERR_OK;
}
