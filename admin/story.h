/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The story of one reference in plain words: who came, what was asked, what was looked at, who
 * decided, what was answered, what each can do about it, and what became of what was kept.
 */
#ifndef ADMIN_STORY_H
#define ADMIN_STORY_H

#include <jansson.h>

#include "admin/call.h"
#include "base/ref.h"

struct story {
    struct ref ref;
    json_t *events;     /* of this reference, in their order; without its ends */
    json_t *ends;       /* events "ended": what became of it when it was kept */
    json_t *connection; /* its connection's event, or NULL */
    json_t *kept;       /* what the spool says, as story_kept.h makes it; NULL: it was not asked */
    const char *source; /* "database", "files" or "spool" */
};

void story_print(const struct call *call, const struct story *story);
/* One object on one line. */
void story_print_json(const struct call *call, const struct story *story);
/* The event of the message, if its content came so far; NULL. */
const json_t *story_message(const struct story *story);

#endif
