/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The only door to libspf2.  The library knows every name as a number, and every address as its
 * difference from the client's: records, names of DNS, local parts, HELO names and PTR names never
 * get into it, so that its parser of records, its macros, its explanations and its comments meet
 * nothing that a stranger wrote (FACTS: the packaged one can be crashed by a sender's text).  What
 * is left to it is the evaluation of RFC 7208 4.6 and 5: order, qualifiers, include and redirect,
 * and the match of addresses by prefix.
 *
 * One process only, one evaluation at a time.
 */
#ifndef SPF_LIBRARY_H
#define SPF_LIBRARY_H

#include "base/buf.h"
#include "spf/spf.h"

enum spf_find {
    SPF_FIND_OK,
    SPF_FIND_NOTHING,
    SPF_FIND_STOP, /* the evaluation is to end; its result means nothing */
};

#define SPF_LIBRARY_HOSTS_MAX 10
#define SPF_LIBRARY_ADDRESSES_MAX 64

struct spf_addresses {
    unsigned count;
    uint8_t items[SPF_LIBRARY_ADDRESSES_MAX][16]; /* of the client's family */
};

struct spf_hosts {
    unsigned count;
    unsigned items[SPF_LIBRARY_HOSTS_MAX]; /* numbers of names */
};

/* Each is asked in the order of the evaluation. */
struct spf_library_ops {
    /* The record of the name, written with spf_library_put; SPF_FIND_OK or SPF_FIND_STOP.  *text
     * is borrowed until the next call.  Number 0 is the first. */
    enum spf_find (*record)(void *ctx, unsigned number, const char **text);
    enum spf_find (*hosts)(void *ctx, unsigned number, struct spf_hosts *hosts);
    enum spf_find (*addresses)(void *ctx, unsigned number, struct spf_addresses *addresses);
};

void spf_library_put_version(struct buf *record);
/* `name` is "a", "mx", "exists" or "include".  `bits`, not 0: the prefix to match by, of an address
 * of 128 bits; one of IPv4 is the last 32. */
#define SPF_LIBRARY_BITS 128
void spf_library_put(struct buf *record, char qualifier, const char *name, unsigned number,
                     unsigned bits);
void spf_library_put_redirect(struct buf *record, unsigned number);

enum spf_ended { SPF_ENDED_MATCH, SPF_ENDED_DEFAULT, SPF_ENDED_ERROR };

/* SPF_ENDED_ERROR: there is no result (a record that is none, or SPF_FIND_STOP). */
enum spf_ended spf_library_run(const struct inet_endpoint *client,
                               const struct spf_library_ops *ops, void *ctx,
                               enum spf_verdict *verdict);
void spf_library_close(void); /* for leak checks */

#endif
