/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer's sender policy, as an operator writes it and as it is shown.
 */
#ifndef ADMIN_CUSTOMER_POLICY_H
#define ADMIN_CUSTOMER_POLICY_H

#include "admin/database.h"
#include "admin/field.h"

struct json_t;

/* "strict", "spf=mark", "strict,spf=mark": of its form?  The value is what was written. */
const char *customer_policy_check(const struct field *field, const char *text,
                                  char dst[FIELD_TEXT_SIZE], bool *is_null,
                                  char why[FIELD_TEXT_SIZE]);

/* A policy among the values becomes what results from it: on top of the customer's own as it holds
 * now (until it ends, if `is_temporary`), or of the profile of new customers (`id` NULL). */
enum command_status customer_policy_resolve(struct call *call, const char *id, bool is_temporary,
                                            struct field_values *values);
/* What results, in a line for people. */
void customer_policy_say(const struct call *call, const struct field_values *values);

/* "10 of 12"; {"spf": {"action": "mark", "profile": "reject"}, ...}. `text`: as stored. */
struct json_t *customer_policy_json(const char *text);
void customer_policy_summary(const char *text, char dst[32]);
/* A table of checks for people. */
void customer_policy_table(const struct call *call, const char *text);

#endif
