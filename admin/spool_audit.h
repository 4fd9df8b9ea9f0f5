/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Orders that relayctl has carried out itself, into PostgreSQL's audit.
 */
#ifndef ADMIN_SPOOL_AUDIT_H
#define ADMIN_SPOOL_AUDIT_H

#include "admin/spool_orders.h"

/* A database that is away or refuses is complained of; the spool's ledger has it anyway. */
void spool_audit_copy(const struct spool_orders *orders);

#endif
