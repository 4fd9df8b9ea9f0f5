/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What customers use of their limits, as this node's shared table says: there is nothing to see on
 * a machine without relayd, and the limits are shown all the same.
 */
#ifndef ADMIN_CUSTOMER_USE_H
#define ADMIN_CUSTOMER_USE_H

#include "admin/call.h"
#include "state/shared_use.h"

struct customer_use {
    struct shared_table *table; /* NULL: there is none to look at */
    char why[CALL_PATH_SIZE + 128];
};

void customer_use_open(const struct call *call, struct customer_use *use);
void customer_use_close(struct customer_use *use);

#define CUSTOMER_USE_COLUMNS 5
extern const struct printer_column customer_use_show_columns[CUSTOMER_USE_COLUMNS];
/* Their cells. */
void customer_use_print(const struct call *call, const struct customer_use *use,
                        struct printer *printer, uint32_t customer_id);
/* Of a list: messages, octets and refusals of today. */
void customer_use_print_row(const struct call *call, const struct customer_use *use,
                            struct printer *printer, uint32_t customer_id);

#endif
