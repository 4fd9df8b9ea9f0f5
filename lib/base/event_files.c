/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names and sizes; nothing is opened here.
 */
#define _GNU_SOURCE 1

#include "base/event_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PART_BYTES_MIN 4096

uint64_t
event_files_part_bytes(uint64_t event_log_max)
{
    uint64_t bytes = event_log_max / 16;

    return bytes > PART_BYTES_MIN ? bytes : PART_BYTES_MIN;
}

const char *
event_files_name(int64_t wall_ms, unsigned part, char dst[EVENT_FILES_NAME])
{
    time_t at = (time_t)(wall_ms / 1000);
    char stamp[24];
    struct tm tm;

    gmtime_r(&at, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H", &tm);
    if (part == 0)
        snprintf(dst, EVENT_FILES_NAME, "events-%s.jsonl", stamp);
    else
        snprintf(dst, EVENT_FILES_NAME, "events-%s_%02u.jsonl", stamp,
                 part % (EVENT_FILES_PARTS + 1));
    return dst;
}

static bool
parse_name(const char *name, struct event_file *file)
{
    struct tm tm = {0};
    const char *rest =
        strncmp(name, "events-", 7) == 0 ? strptime(name + 7, "%Y%m%dT%H", &tm) : NULL;

    if (rest == NULL || strlen(name) >= sizeof file->name)
        return false;
    if (*rest == '_')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (strcmp(rest, ".jsonl") != 0)
        return false;
    snprintf(file->name, sizeof file->name, "%s", name);
    file->hour_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

static int
compare(const void *a, const void *b)
{
    return strcmp(((const struct event_file *)a)->name, ((const struct event_file *)b)->name);
}

static void
add(struct event_files *files, int dir_fd, const char *name)
{
    struct event_file file;
    struct stat st;

    if (!parse_name(name, &file) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(st.st_mode))
        return;
    file.size_bytes = (uint64_t)st.st_size;
    if ((files->count & (files->count - 1)) == 0) { /* a power of two: full */
        struct event_file *grown =
            mem_alloc((files->count ? files->count * 2 : 1) * sizeof *files->items);

        if (files->count)
            memcpy(grown, files->items, files->count * sizeof *grown);
        free(files->items);
        files->items = grown;
    }
    files->items[files->count++] = file;
    files->size_bytes += file.size_bytes;
}

int
event_files_list(const char *log_dir, struct event_files *files)
{
    DIR *dir = opendir(log_dir);
    struct dirent *entry;

    *files = (struct event_files){0};
    if (dir == NULL)
        return ERR_IO;
    while ((entry = readdir(dir)) != NULL)
        add(files, dirfd(dir), entry->d_name);
    closedir(dir);
    if (files->count)
        qsort(files->items, files->count, sizeof *files->items, compare);
    return ERR_OK;
}

void
event_files_fini(struct event_files *files)
{
    free(files->items);
    *files = (struct event_files){0};
}
