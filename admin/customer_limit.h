/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer's limits as columns: their lasting values in postern.customers, and beside them the
 * temporary ones of postern.customer_changes, which end by the clock alone.
 */
#ifndef ADMIN_CUSTOMER_LIMIT_H
#define ADMIN_CUSTOMER_LIMIT_H

#include "admin/database.h"
#include "admin/field.h"

struct json_t;

enum customer_limit_kind { CUSTOMER_LIMIT_NUMBER, CUSTOMER_LIMIT_SIZE, CUSTOMER_LIMIT_WORD };

struct customer_limit {
    const char *column; /* and the name in JSON */
    const char *title;
    enum customer_limit_kind kind;
};

enum customer_limit_index {
    CUSTOMER_LIMIT_RECIPIENTS,
    CUSTOMER_LIMIT_MESSAGES,
    CUSTOMER_LIMIT_CONNECTIONS,
    CUSTOMER_LIMIT_SCOPE,
    CUSTOMER_LIMIT_MESSAGE_SIZE,
    CUSTOMER_LIMIT_DAYS,
    CUSTOMER_LIMIT_BARE_LF,
    CUSTOMER_LIMIT_SPOOL_MESSAGES,
    CUSTOMER_LIMIT_SPOOL_BYTES,
    CUSTOMER_LIMIT_POLICY,
    CUSTOMER_LIMIT_COUNT
};
extern const struct customer_limit customer_limits[CUSTOMER_LIMIT_COUNT];

/* Every temporary change that has not ended, of one customer (its id) or of all (NULL). */
enum command_status customer_limit_changes(struct call *call, const char *customer_id,
                                           PGresult **changes);

/* A limit as it is now. The texts are borrowed from the results. */
struct customer_limit_value {
    const struct customer_limit *limit;
    const char *value;   /* that holds now; NULL: none */
    const char *lasting; /* that holds when `until_ms` has come; NULL: none */
    int64_t until_ms;    /* 0: `value` is the lasting one */
};
struct customer_limit_value customer_limit_value(enum customer_limit_index index,
                                                 const char *lasting, const PGresult *changes,
                                                 const char *customer_id);
/* As a number; UINT64_MAX: none. */
uint64_t customer_limit_number(const struct customer_limit_value *value);

/* "1000 until 2026-12-01 00:00 (then 200)". */
void customer_limit_text(const struct customer_limit_value *value, struct buf *text);
/* The value alone, a number, a word or null. */
struct json_t *customer_limit_json(const struct customer_limit *limit, const char *value);

/* Makes the given values hold until `until_ms`. */
enum command_status customer_limit_set_until(struct call *call, const char *customer_id,
                                             const struct field_values *values, int64_t until_ms);
/* The given values have been made lasting: ends the temporary ones in their place, and says so. */
enum command_status customer_limit_end(struct call *call, const char *customer_id,
                                       const struct field_values *values);

#endif
