/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A contact that hears of trouble only when it is over: its own mail goes to the server whose
 * trouble it is to be told of.
 */
#ifndef ADMIN_CONTACT_H
#define ADMIN_CONTACT_H

#include "admin/database.h"

/* In a change, behind what it has written: warns (call_warn) of each contact that depends on the
 * server itself, of this customer and of those whose contact is in a domain of its. */
enum command_status contact_warn(struct call *call, const char *customer_id);

#endif
