/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How many notices go out: bounded an hour, for one address, one domain and the node, so that no
 * trouble of ours, nobody's forged mail and no loop makes us a source of mail.  Pure.
 */
#ifndef NOTICE_RATE_H
#define NOTICE_RATE_H

#include "base/config.h"
#include "base/siphash.h"

#define NOTICE_RATE_SLOTS 4096

/* Counts by a keyed hash: two that share a slot share its bound, which only makes it stricter.  An
 * hour is one of the clock. */
struct notice_rate {
    uint8_t key[SIPHASH_KEY_SIZE];
    int64_t hour; /* that the counts are of */
    uint32_t by_address[NOTICE_RATE_SLOTS], by_domain[NOTICE_RATE_SLOTS], all;
    uint64_t withheld; /* since the start */
};

void notice_rate_init(struct notice_rate *rate);
/* True: one more is within the bounds, and counted; else it is withheld. */
bool notice_rate_take(struct notice_rate *rate, const struct config *config, const char *address,
                      int64_t now_ms);

#endif
