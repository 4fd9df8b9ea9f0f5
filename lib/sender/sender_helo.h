/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a client calls itself: the argument of HELO or EHLO (RFC 5321 4.1.1.1) by its form alone.
 * Whether a host's name resolves is sender_domain_host_start's to find out.  Pure.
 */
#ifndef SENDER_HELO_H
#define SENDER_HELO_H

#include "base/config.h"

enum sender_helo {
    SENDER_HELO_HOST,      /* a host name of two labels or more: yet to be resolved */
    SENDER_HELO_LITERAL,   /* the address literal of the client's own address: passes */
    SENDER_HELO_OURS,      /* our host name, or an address of ours, bare or as a literal */
    SENDER_HELO_ADDRESS,   /* an address without brackets, whoever's */
    SENDER_HELO_FOREIGN,   /* the address literal of another address */
    SENDER_HELO_LOCALHOST, /* localhost, localhost.localdomain, ... */
    SENDER_HELO_WORD,      /* one label */
    SENDER_HELO_NONE,      /* no name and no literal: empty, odd octets, empty labels, all digits */
};

/* Ours are the setting hostname, the addresses of listen and source-address, and `local`, which the
 * client is connected to (family 0: not known).  `name`, for HOST, WORD and a name of ours: in its
 * normal form (lower case, A-labels), without a dot at the end; else "". */
enum sender_helo sender_helo_of(struct slice argument, const struct config *config,
                                const struct inet_endpoint *client,
                                const struct inet_endpoint *local, char name[INET_DOMAIN_SIZE]);

/* Behind "The name in HELO ": "is an address without brackets", ... */
const char *sender_helo_text(enum sender_helo helo);

#endif
