/* SPDX-License-Identifier: BSD-2-Clause
 *
 * DNS data as the RFC 7208 test suite writes it: {"name": [{"A": "192.0.2.1"}, {"TXT": "..."},
 * {"MX": [10, "host"]}, "TIMEOUT"]}.  A name without TXT has its SPF records as TXT.
 */
#ifndef TESTS_SPF_ZONE_H
#define TESTS_SPF_ZONE_H

#include <jansson.h>

#include "spf/spf.h"

enum spf_zone_result { SPF_ZONE_OK, SPF_ZONE_NO_NAME, SPF_ZONE_NO_DATA, SPF_ZONE_TIMEOUT };

#define SPF_ZONE_ITEMS 80
struct spf_zone_found {
    enum spf_zone_result result;
    unsigned count;
    struct spf_zone_item {
        size_t n;
        char octets[4300]; /* an address, a name, a text */
        unsigned preference;
    } items[SPF_ZONE_ITEMS];
};

/* Aliases are followed; a loop is SPF_ZONE_TIMEOUT. */
void spf_zone_find(const json_t *zone, const char *name, enum spf_type type,
                   struct spf_zone_found *found);
/* The same as an answer; borrowed from `found` and `items`. */
struct spf_answer spf_zone_answer(const struct spf_zone_found *found,
                                  struct slice items[SPF_ZONE_ITEMS]);

#endif
