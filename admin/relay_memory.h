/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The memory of the relay on this node, asked over its control socket (relayd/worker_ask_memory.c).
 */
#ifndef ADMIN_RELAY_MEMORY_H
#define ADMIN_RELAY_MEMORY_H

#include <jansson.h>

#include "admin/call.h"
#include "base/inet.h"

/* What an operator names; all zero: everything. */
struct relay_memory_which {
    struct inet_network network; /* family 0: none */
    char domain[INET_DOMAIN_SIZE];
};

/* "192.0.2.1", "2001:db8::/32", "mail.example". What is wrong has been explained. */
enum command_status relay_memory_parse(const char *text, struct relay_memory_which *which);

/* Any question, which is taken over.  *answer is the caller's, NULL on failure. */
enum command_status relay_memory_ask(const struct call *call, json_t *question, bool is_quiet,
                                     json_t **answer);

struct relay_memory_row {
    uint32_t customer_id; /* 0: of all */
    const char *customer; /* NULL: none, or its name is not known */
    const char *network;  /* NULL: see domain */
    const char *domain;
    int64_t since_ms, seen_ms, until_ms; /* 0: none */
};
typedef void (*relay_memory_each)(void *ctx, const struct relay_memory_row *row);

/* Every row of `what`: known, waiting, bans.  A failure has been explained, unless `is_quiet`. */
enum command_status relay_memory_list(const struct call *call, const char *what,
                                      const struct relay_memory_which *which, bool is_quiet,
                                      relay_memory_each each, void *ctx);
enum command_status relay_memory_forget_origin(const struct call *call,
                                               const struct relay_memory_which *which);
enum command_status relay_memory_forget_ban(const struct call *call, uint32_t customer_id,
                                            const char *address);

#endif
