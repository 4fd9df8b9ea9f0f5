/* SPDX-License-Identifier: BSD-2-Clause
 *
 * DNS lists of addresses (RFC 5782): the settings dnsbl (who is on one may be refused) and dnswl
 * (who is on one is known as good).  A list is believed only while it passes its own test: it lists
 * 127.0.0.2 and does not list 127.0.0.1 (for IPv6 clients ::FFFF:7F00:2 and ::FFFF:7F00:1). One
 * that answers nothing, lies, or refuses our questions sleeps: it is not asked, and no mail waits
 * or is refused for it.
 */
#ifndef SENDER_DNSBL_H
#define SENDER_DNSBL_H

#include "base/config.h"
#include "dns/dns.h"

struct sender_dnsbl;
struct sender_dnsbl_check;

/* The lists of `config`, which is borrowed; their tests begin, and until a list has passed its
 * first it sleeps.  Health is a process's own: of the processes of a node one should speak, which
 * logs the alarms dnsbl-asleep, dnsbl-refuses-us and their end, dnsbl-awake; the others log them
 * for debugging. */
struct sender_dnsbl *sender_dnsbl_new(struct dns *dns, const struct config *config, bool speaks);
void sender_dnsbl_free(struct sender_dnsbl **lists); /* checks have been cancelled */

enum sender_dnsbl_result {
    SENDER_DNSBL_CLEAN,
    SENDER_DNSBL_LISTED,
    SENDER_DNSBL_TEMPORARY, /* no list has it, and one that is awake said nothing */
};

#define SENDER_DNSBL_REASON_SIZE 201
struct sender_dnsbl_found {
    enum sender_dnsbl_result result;
    const char *list;                      /* LISTED: the first, in the order of the setting */
    struct inet_endpoint code;             /* its answer, 127.0.0.x */
    char reason[SENDER_DNSBL_REASON_SIZE]; /* its TXT: one line of printable ASCII; may be "" */
    const char *white_list;                /* a dnswl that has the address; NULL none */
};

/* All lists at once.  The callback runs once, never from inside, within DNS_LOOKUP_MS and, for the
 * reason of a listing, a second more; what it is given is borrowed.  A stale answer is none. */
struct sender_dnsbl_check *
sender_dnsbl_start(struct sender_dnsbl *lists, const struct inet_endpoint *address,
                   void (*on_done)(void *ctx, const struct sender_dnsbl_found *found), void *ctx);
void sender_dnsbl_cancel(struct sender_dnsbl_check **check); /* NULL is fine */

/* --- How the lists are, for people. */

enum sender_dnsbl_state {
    SENDER_DNSBL_NEW, /* not tested yet */
    SENDER_DNSBL_AWAKE,
    SENDER_DNSBL_DEAD, /* asleep, as all from here on */
    SENDER_DNSBL_LYING,
    SENDER_DNSBL_REFUSING,
    SENDER_DNSBL_STATE_COUNT
};
const char *sender_dnsbl_word(enum sender_dnsbl_state state); /* "asleep" */
const char *sender_dnsbl_why(enum sender_dnsbl_state state);  /* why it sleeps; "" it does not */

/* Called at once for each list, and whenever one changes.  Lists of dnsbl first, then dnswl, each
 * in the order of the setting. */
typedef void (*sender_dnsbl_on_state)(void *ctx, unsigned list, const char *name,
                                      enum sender_dnsbl_state state);
void sender_dnsbl_listen(struct sender_dnsbl *lists, sender_dnsbl_on_state on_state, void *ctx);

#endif
