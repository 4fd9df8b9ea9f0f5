/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Proof that a domain is the customer's: a random token, kept with the domain, that must stand in a
 * TXT record there.  It is looked for by `relayctl domain check`, and decides nothing.
 */
#ifndef ADMIN_OWNERSHIP_H
#define ADMIN_OWNERSHIP_H

#include "admin/database.h"

#define OWNERSHIP_TOKEN_SIZE 65 /* of any that the database may hold */

/* By --verify-ownership and --no-verify-ownership, in a change that has begun; neither changes
 * nothing.  A token that is there stays.  `token`: what is wanted from now on, "" nothing or as it
 * was.  *found is set to false if there is no such domain. */
enum command_status ownership_set(struct call *call, const char *domain, bool *found,
                                  char token[OWNERSHIP_TOKEN_SIZE]);
/* COMMAND_USAGE if both were given. */
enum command_status ownership_check_options(const struct call *call);
bool ownership_is_given(const struct call *call);

#endif
