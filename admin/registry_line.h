/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A line of a registry's file: checked by the rules that options are checked by, and made into what
 * the database is compared with.  A field that is not there is left as it is, or as new ones begin.
 */
#ifndef ADMIN_REGISTRY_LINE_H
#define ADMIN_REGISTRY_LINE_H

#include <jansson.h>

#include "admin/registry_form.h"

#define REGISTRY_LINE_KEY_SIZE (FIELD_TEXT_SIZE + 2 * FIELD_NAME_SIZE)

struct registry_line {
    const struct registry_form *form;
    char key[REGISTRY_LINE_KEY_SIZE];
    json_t *parts, *doc; /* as the SQL of the form has them */
    bool has_ended;      /* nothing to be made of it */
    json_t *taken;       /* what has been read of the line */
};

/* COMMAND_USAGE: the mistakes have been said, behind "line N". */
enum command_status registry_line_read(json_t *object, unsigned long number, int64_t now_ms,
                                       struct registry_line *line);
void registry_line_fini(struct registry_line *line);

#endif
