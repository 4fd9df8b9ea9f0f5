/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where a message that waits would go, as the replica of this node says: enough to tell people why
 * it does not go and what helps.  The keeper decides by the same file.
 */
#ifndef ADMIN_ROUTING_H
#define ADMIN_ROUTING_H

#include "admin/call.h"
#include "registry/registry.h"
#include "spool/spool_store.h"

/* Of the worst open recipient. */
enum routing_state {
    ROUTING_KNOWN, /* or nothing is known: no replica can be read */
    ROUTING_HELD,  /* every backend is held */
    ROUTING_NO_BACKEND,
    ROUTING_NO_DOMAIN,
};

/* NULL: there is no replica that can be read.  Every function here takes NULL. */
struct registry *routing_open(const struct call *call);
enum routing_state routing_of(const struct registry *registry, const struct spool_message *message);

static inline bool
routing_is_missing(enum routing_state state)
{
    return state >= ROUTING_NO_BACKEND;
}

/* A backend by its name, CUSTOMER/N, of a customer that the replica knows. COMMAND_USAGE or
 * COMMAND_FAILED: explained, with `option` in front. */
enum command_status routing_read_backend(const struct registry *registry, const char *option,
                                         const char *name, uint32_t *customer_id, uint32_t *number);
/* One of those that serve all domains of the customer: to these messages can be redirected. */
bool routing_has_backend(const struct registry *registry, uint32_t customer_id, uint32_t number);
/* An open recipient's route has this backend, held or not. */
bool routing_leads_to(const struct registry *registry, const struct spool_message *message,
                      uint32_t customer_id, uint32_t number);
/* Every backend of the open recipients' routes; one may come
 * twice. */
void routing_each_backend(const struct registry *registry, const struct spool_message *message,
                          void (*each)(void *ctx, const struct registry_backend *backend),
                          void *ctx);
/* The customer's name as the replica has it, "#5" if it has none. */
const char *routing_customer_name(const struct registry *registry, uint32_t customer_id,
                                  char dst[REGISTRY_NAME_SIZE]);

/* What an operator does about it, with the names to type; leaves `remedy` empty if nothing. */
void routing_remedy(const struct registry *registry, const struct spool_message *message,
                    struct buf *remedy);

#endif
