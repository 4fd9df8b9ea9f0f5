/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Why a message that waits does not go, and what to type.
 */
#ifndef ADMIN_SPOOL_REMEDY_H
#define ADMIN_SPOOL_REMEDY_H

#include "admin/routing.h"

/* Leaves `remedy` empty if there is nothing to say. `registry` may be NULL. */
void spool_remedy(const struct call *call, const struct registry *registry,
                  const struct spool_message *message, struct buf *remedy);

#endif
