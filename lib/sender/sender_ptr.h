/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Forward-confirmed reverse DNS (RFC 8601 3, "iprev"): the names that an address's PTR records give
 * it, of which one must lead back to it.
 */
#ifndef SENDER_PTR_H
#define SENDER_PTR_H

#include "dns/dns.h"

enum sender_ptr_result {
    SENDER_PTR_OK,        /* a name leads back to the address */
    SENDER_PTR_NONE,      /* the address has no name (NXDOMAIN, no data) */
    SENDER_PTR_MISMATCH,  /* no name leads back, or none is a host's */
    SENDER_PTR_TEMPORARY, /* a look-up failed that might have confirmed it (P8, P5: no refusal) */
};

struct sender_ptr {
    enum sender_ptr_result result;
    char name[INET_DOMAIN_SIZE]; /* the confirmed one, or else the first; "" if there is none */
};

/* The callback runs once, never from inside, within two look-ups' deadlines; what it is given is
 * borrowed.  At most 10 names are tried, all at once. */
#define SENDER_PTR_NAMES_MAX 10
struct sender_ptr_check;
struct sender_ptr_check *
sender_ptr_start(struct dns *dns, const struct inet_endpoint *address,
                 void (*on_done)(void *ctx, const struct sender_ptr *found), void *ctx);
void sender_ptr_cancel(struct sender_ptr_check **check); /* NULL is fine */

#endif
