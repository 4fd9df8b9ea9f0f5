/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The files through which control and relayctl speak about the registry of a node.
 */
#ifndef ADMIN_NODE_REGISTRY_H
#define ADMIN_NODE_REGISTRY_H

#include "admin/call.h"
#include "registry/registry.h"

/* In state-dir. */
#define NODE_REPLICA_FILE "replica.cdb"
#define NODE_OFFERED_FILE "registry-offered"
#define NODE_ACCEPT_FILE "accept-registry"

struct node_offer { /* what control has refused */
    bool is_there;
    char database_id[64], version[24], why[512];
};
bool node_offer_read(const struct call *call, struct node_offer *offer);

#endif
