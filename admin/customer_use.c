/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numbers of the shared table, looked at without taking part.
 */
#include "admin/customer_use.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void
customer_use_open(const struct call *call, struct customer_use *use)
{
    char path[CALL_PATH_SIZE];
    int rc = shared_table_attach(call_path(path, call->config->run_dir, "shared"), &use->table);

    if (rc == ERR_IO && (errno == EACCES || errno == EPERM))
        snprintf(use->why, sizeof use->why,
                 "%s: %s; run relayctl as the user of the daemons or as root", path,
                 strerror(errno));
    else if (rc == ERR_VERSION)
        snprintf(use->why, sizeof use->why, "relayd is of another release; restart it");
    else if (rc < 0)
        snprintf(use->why, sizeof use->why, "no relayd runs here");
}

void
customer_use_close(struct customer_use *use)
{
    shared_table_detach(&use->table);
}

const struct printer_column customer_use_show_columns[CUSTOMER_USE_COLUMNS] = {
    {"connections_today", "Connections today", PRINTER_LEFT},
    {"messages_today", "Messages today", PRINTER_LEFT},
    {"recipients_today", "Recipients today", PRINTER_LEFT},
    {"bytes_today", "Octets today", PRINTER_LEFT},
    {"refusals_today", "Refusals today", PRINTER_LEFT},
};

static void
print_number(struct printer *p, const struct customer_use *use, uint64_t number)
{
    if (use->table)
        printer_number(p, (int64_t)number);
    else
        printer_none(p, "-");
}

static void
print_size(struct printer *p, const struct customer_use *use, uint64_t bytes)
{
    if (use->table)
        printer_size(p, bytes);
    else
        printer_none(p, "-");
}

static void
get_used(const struct call *call, const struct customer_use *use, uint32_t customer_id,
         uint64_t used[SHARED_USE_COUNT])
{
    memset(used, 0, SHARED_USE_COUNT * sizeof *used);
    if (use->table)
        shared_use_get(use->table, customer_id, call->printing.now_ms, used);
}

void
customer_use_print(const struct call *call, const struct customer_use *use, struct printer *p,
                   uint32_t customer_id)
{
    uint64_t used[SHARED_USE_COUNT];

    get_used(call, use, customer_id, used);
    if (use->table)
        print_number(p, use, used[SHARED_USE_CONNECTIONS]);
    else
        printer_none(p, use->why);
    print_number(p, use, used[SHARED_USE_MESSAGES]);
    print_number(p, use, used[SHARED_USE_RECIPIENTS]);
    print_size(p, use, used[SHARED_USE_BYTES]);
    print_number(p, use, used[SHARED_USE_REFUSALS]);
}

void
customer_use_print_row(const struct call *call, const struct customer_use *use, struct printer *p,
                       uint32_t customer_id)
{
    uint64_t used[SHARED_USE_COUNT];

    get_used(call, use, customer_id, used);
    print_number(p, use, used[SHARED_USE_MESSAGES]);
    print_size(p, use, used[SHARED_USE_BYTES]);
    print_number(p, use, used[SHARED_USE_REFUSALS]);
}
