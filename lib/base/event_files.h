/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The files of a node's event log in log-dir: one for each hour (UTC), events-20261130T10.jsonl,
 * and parts of it when it grows large, events-20261130T10_01.jsonl.  Their names sort by age, and a
 * reference's minute leads to its file.
 */
#ifndef BASE_EVENT_FILES_H
#define BASE_EVENT_FILES_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

#define EVENT_FILES_NAME 40
#define EVENT_FILES_PARTS 99 /* the last one grows on */

struct event_file {
    char name[EVENT_FILES_NAME];
    int64_t hour_ms; /* when it begins, wall clock */
    uint64_t size_bytes;
};

struct event_files {
    struct event_file *items; /* oldest first */
    size_t count;
    uint64_t size_bytes; /* of all */
};

/* How large a part may grow before the next one is begun. */
uint64_t event_files_part_bytes(uint64_t event_log_max);
const char *event_files_name(int64_t wall_ms, unsigned part, char dst[EVENT_FILES_NAME]);
/* What is there now; ERR_IO with errno.  event_files_fini in any case. */
MUST_USE int event_files_list(const char *log_dir, struct event_files *files);
void event_files_fini(struct event_files *files);

#endif
