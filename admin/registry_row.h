/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What customer, domain and backend have in common: a row that is changed under its key, with the
 * fields that options gave, inside one registry change.
 */
#ifndef ADMIN_REGISTRY_ROW_H
#define ADMIN_REGISTRY_ROW_H

#include "admin/database.h"
#include "admin/field.h"

/* The id of a customer as text. COMMAND_NOTHING with a near-miss suggestion if there is none. */
enum command_status registry_row_customer(struct call *call, const char *name, char id[16]);

/* UPDATE `table` SET the given fields WHERE `where`, whose parameters $1 .. come first.  *changed:
 * a row was there. */
enum command_status registry_row_update(struct call *call, const char *table, const char *where,
                                        int key_count, const char *const *keys,
                                        const struct field_values *values, bool *changed);
/* INSERT INTO `table` the columns of `keys` (names, and SQL expressions over $1 ..) and the given
 * fields; *result for the caller to look at unique violations. */
PGresult *registry_row_insert(struct call *call, const char *table, const char *key_columns,
                              const char *key_expressions, int key_count, const char *const *keys,
                              const struct field_values *values);

#endif
