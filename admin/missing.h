/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What somebody named is not registered: said with the name that he may have meant.
 */
#ifndef ADMIN_MISSING_H
#define ADMIN_MISSING_H

#include "admin/call.h"

enum missing_kind {
    MISSING_CUSTOMER,
    MISSING_DOMAIN,
};

/* For what PostgreSQL does not have.  COMMAND_NOTHING, or what reading the names failed with. */
enum command_status missing_complain(struct call *call, enum missing_kind kind, const char *name);
/* For a search that found nothing: the same of what it was for (NULL or "": of none), where the
 * database that is connected, or else this node's replica, can be read and does not have it. */
void missing_say(const struct call *call, enum missing_kind kind, const char *name);

#endif
