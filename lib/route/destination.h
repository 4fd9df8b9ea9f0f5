/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where a domain's mail goes: from the registry's backends to endpoints, one after the other, as
 * they are to be tried.  Both programs find their way with this.
 */
#ifndef ROUTE_DESTINATION_H
#define ROUTE_DESTINATION_H

#include "base/config.h"
#include "net/loop.h"
#include "registry/registry.h"

/* One place to connect to, and how: a plain value.  Two destinations whose endpoint, source, tls,
 * tls_name and authenticates are the same can share connections. */
struct destination {
    struct inet_endpoint endpoint; /* family 0 only if `held`: its name was not looked up */
    struct inet_endpoint source;   /* without a port; family 0: as the system chooses */
    enum registry_tls tls;
    char tls_name[INET_DOMAIN_SIZE];         /* that its certificate must be for; "" its address */
    char host[INET_DOMAIN_SIZE];             /* the name whose address it is; "" none */
    char registered[INET_DOMAIN_SIZE];       /* the same, or that whose MX host it is */
    uint32_t max_connections;                /* to the endpoint, over all of the node; never 0 */
    uint32_t customer_id, domain_id, number; /* the backend, as in struct registry_backend */
    bool trusts_us;                          /* XFORWARD tells it who the client is */
    bool held;                               /* by an operator: not to be asked */
    bool authenticates;                      /* with the setting outbound-credentials */
};

/* --- Finding them. */

/* One a process: the resolver, who we are, and what has been said lately. */
struct dns;
struct destination_finder;
/* `config` and `dns` are borrowed for its life. */
struct destination_finder *destination_finder_new(struct loop *loop, const struct config *config,
                                                  struct dns *dns);
void destination_finder_free(struct destination_finder **finder); /* behind all walks */

/* The destinations of a domain, one after the other: by priority, random by weight within one (as
 * RFC 2782 has it), a name's addresses in random order, MX hosts by their preference.  A name is
 * looked up only when its turn comes.  Left out: what has no address now (the walk can say why),
 * and this host itself, by name or address, with an alarm; of MX hosts also those behind it (RFC
 * 5321 5.1). */
struct destination_walk;

enum destination_step {
    DESTINATION_FOUND, /* there are more items now */
    DESTINATION_WAIT,  /* a name is being looked up; 5 s for each at most */
    DESTINATION_END,   /* there are no more */
};

/* `backends` as registry_find_backends gives them; copied.  on_ready (may be NULL: ask again later)
 * is called once after each DESTINATION_WAIT, never from inside. */
struct destination_walk *destination_walk_new(struct destination_finder *finder,
                                              const struct registry_backend *backends,
                                              unsigned count, void (*on_ready)(void *ctx),
                                              void *ctx);
void destination_walk_free(struct destination_walk **walk);
enum destination_step destination_walk_more(struct destination_walk *walk);
/* What has been found so far; an item stays what it is, the pointer is good until the next more. */
const struct destination *destination_walk_item(const struct destination_walk *walk,
                                                unsigned index);
unsigned destination_walk_count(const struct destination_walk *walk);
/* "its name does not exist: mail.acme.example"; of the last that was left out; "" if none was. */
const char *destination_walk_why(const struct destination_walk *walk);
/* A name could not be looked up: that it has no address is no fact. */
bool destination_walk_is_unsure(const struct destination_walk *walk);

#endif
