/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Is this place ourselves?  Mail that we send there would come back.
 */
#ifndef ROUTE_DESTINATION_OWN_H
#define ROUTE_DESTINATION_OWN_H

#include "base/config.h"

#define DESTINATION_OWN_ADDRESSES 64

struct destination_own { /* what is known of addresses; zeroed at first */
    struct {
        struct inet_endpoint address;
        int64_t until_ms;
        bool is_local;
    } known[DESTINATION_OWN_ADDRESSES];
    unsigned next;
};

/* One of the addresses we listen on; with a wildcard, any address of this host. */
bool destination_own_endpoint(struct destination_own *own, const struct config *config,
                              const struct inet_endpoint *endpoint, int64_t now_ms);
/* The setting `hostname`. */
bool destination_own_name(const struct config *config, const char *name);

#endif
