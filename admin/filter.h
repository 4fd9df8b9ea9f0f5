/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Filters before us, as relayctl has them: CUSTOMER/LABEL is one or more rows, each a network or an
 * SPF include with a number of its own.
 */
#ifndef ADMIN_FILTER_H
#define ADMIN_FILTER_H

#include "admin/database.h"
#include "admin/field.h"

struct json_t;

/* "acme/barracuda", or "acme/3": one row. */
struct filter_name {
    char customer[FIELD_NAME_SIZE], customer_id[16];
    char label[FIELD_NAME_SIZE]; /* "" with a number */
    char number[16];             /* "" with a label */
    char text[2 * FIELD_NAME_SIZE + 1];
};

/* Finds the customer as well. */
enum command_status filter_name_read(struct call *call, const char *text, struct filter_name *name);
enum command_status filter_complain_missing(const struct filter_name *name);

/* The rows of one name, of one customer (`name` with a customer's id alone) or of all (NULL). */
enum command_status filter_query(struct call *call, const struct filter_name *name,
                                 PGresult **rows);
struct json_t *filter_json(const PGresult *rows);
/* The list that `filter list` prints; the number of rows. */
unsigned filter_table(const struct call *call, const PGresult *rows);

/* The customer is locked to its filters now: refused if it has none; a warning if the networks of
 * one are not known yet. */
enum command_status filter_check_lock(struct call *call, const char *customer,
                                      const char *customer_id);

#endif
