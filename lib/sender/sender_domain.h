/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Does a domain exist for mail: could an answer reach a sender there, and does a HELO name resolve?
 */
#ifndef SENDER_DOMAIN_H
#define SENDER_DOMAIN_H

#include "dns/dns.h"

enum sender_domain {
    SENDER_DOMAIN_OK,
    SENDER_DOMAIN_ODD,  /* its first MX is an address, an alias (RFC 5321 5.1) or does not exist */
    SENDER_DOMAIN_NONE, /* no MX, no address: no mail can be sent there */
    SENDER_DOMAIN_NULL_MX, /* RFC 7505 */
    SENDER_DOMAIN_TEMPORARY,
};

struct sender_domain_check;
typedef void (*sender_domain_on_done)(void *ctx, enum sender_domain result);

/* Could mail be sent to this domain? Its MX, or else its address.  The callback runs once, never
 * from inside. */
struct sender_domain_check *sender_domain_check_start(struct dns *dns, const char *domain,
                                                      sender_domain_on_done on_done, void *ctx);
/* Is this the name of a host: does it have an address, or at least an MX?  OK, NONE or TEMPORARY.
 */
struct sender_domain_check *sender_domain_host_start(struct dns *dns, const char *name,
                                                     sender_domain_on_done on_done, void *ctx);
void sender_domain_check_cancel(struct sender_domain_check **check);

#endif
