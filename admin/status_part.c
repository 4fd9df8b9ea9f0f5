/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/status_part.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct status_part *
status_add(struct status *s, const char *name)
{
    struct status_part *part = &s->parts[s->part_count++];

    CHECK(s->part_count <= STATUS_PARTS_MAX);
    *part = (struct status_part){.name = name, .state = "ok", .facts = json_object()};
    buf_init(&part->detail, 0);
    return part;
}

void
status_problem(struct status_part *part, const char *state, const char *fmt, ...)
{
    va_list args;

    part->state = state;
    part->needs_operator = true;
    va_start(args, fmt);
    buf_vprintf(&part->detail, fmt, args);
    va_end(args);
}

void
status_unreadable(struct status_part *part, const char *path)
{
    bool denied = errno == EACCES || errno == EPERM;

    status_problem(part, "unknown", "%s: %s%s", path, strerror(errno),
                   denied ? "; run relayctl as the user of the daemons or as root" : "");
}

void
status_fact(struct status_part *part, const char *name, json_t *value)
{
    CHECK(json_object_set_new(part->facts, name, value) == 0);
}
