/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whom a customer, or the operators for every customer, lets in or keeps out by name.
 */
#ifndef ADMIN_SENDER_RULE_H
#define ADMIN_SENDER_RULE_H

#include "admin/database.h"
#include "admin/field.h"

struct json_t;

/* What is blocked or allowed, as an operator writes it; mistakes begin with `noun`.  *column:
 * network, sender or domain; `stored`: as that has it. */
enum command_status sender_rule_value(const char *noun, const char *text, const char **column,
                                      char stored[FIELD_TEXT_SIZE]);

/* `customer_id`: of one customer; "0": the operators'; "": all.  `action`: "" for both. What has
 * ended is left out. */
enum command_status sender_rule_query(struct call *call, const char *customer_id,
                                      const char *action, PGresult **rows);
struct json_t *sender_rule_json(const PGresult *rows);
/* "2 blocked, 1 allowed (below)" */
void sender_rule_summary(const PGresult *rows, char dst[64]);
/* The list; the number of rows. */
unsigned sender_rule_table(const struct call *call, const PGresult *rows);

#endif
