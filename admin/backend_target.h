/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The backends that `relayctl backend test` is asked for, with what the registry says of them: from
 * PostgreSQL, or while that is away from this node's replica.
 */
#ifndef ADMIN_BACKEND_TARGET_H
#define ADMIN_BACKEND_TARGET_H

#include "admin/call.h"
#include "admin/field.h"
#include "registry/registry.h"

struct backend_target {
    char name[FIELD_NAME_SIZE + 16];
    char customer[FIELD_NAME_SIZE];
    struct registry_backend row;     /* never held */
    uint64_t max_message_size_bytes; /* the customer's; UINT64_MAX: none */
    char **domains;                  /* that it serves */
    size_t domain_count;
    char **rcpts; /* valid ones, registered or lately delivered to */
    size_t rcpt_count;
};

struct backend_targets {
    struct backend_target *items;
    size_t count;
    bool from_replica;
    bool is_partial; /* one that was named is not there; that has been said */
};

/* Of the operands and --customer.  COMMAND_NOTHING: none matched; anything but COMMAND_DONE has
 * been explained. */
enum command_status backend_targets_find(struct call *call, struct backend_targets *targets);
void backend_targets_fini(struct backend_targets *targets);

#endif
