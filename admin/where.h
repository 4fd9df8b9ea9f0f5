/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A WHERE that grows by a condition for each selector that was given.
 */
#ifndef ADMIN_WHERE_H
#define ADMIN_WHERE_H

#include "base/buf.h"
#include "base/ref.h"

#define WHERE_PARAMS 12

struct where {
    struct buf sql; /* "" without a condition, else " WHERE ..." */
    const char *params[WHERE_PARAMS];
    int count;
    struct buf refs;
};

void where_init(struct where *where);
void where_fini(struct where *where);
/* Each # in `condition` is its parameter, which is borrowed. */
void where_add(struct where *where, const char *condition, const char *param);
/* The column "ref" has one of them; once. */
void where_add_refs(struct where *where, const struct ref *refs, size_t count);

#endif
