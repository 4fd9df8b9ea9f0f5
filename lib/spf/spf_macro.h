/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Macros (RFC 7208 7): a valid domain-spec to the name that DNS is asked for.  Pure.
 */
#ifndef SPF_MACRO_H
#define SPF_MACRO_H

#include "spf/spf.h"

struct spf_macro_values {
    const struct inet_endpoint *client;
    const char *local_part, *sender_domain, *helo;
    const char *domain;    /* of the record that has the domain-spec */
    const char *validated; /* %{p}; NULL: nobody needs it */
};

/* Has it a macro of one of these letters (lower case)? */
bool spf_macro_has(struct slice spec, const char *letters);

/* In lower case, without a dot at the end, cut from the left to 253 octets.  False: it is no name
 * that DNS could have (an empty label, one of more than 63 octets), or holds octets that are not
 * ASCII (RFC 8616 4). */
bool spf_macro_expand(struct slice spec, const struct spf_macro_values *values,
                      char dst[INET_DOMAIN_SIZE]);
/* A literal name by the same rules. */
bool spf_macro_name(struct slice name, char dst[INET_DOMAIN_SIZE]);

/* The name whose PTR records name the client. */
void spf_macro_reverse_name(const struct inet_endpoint *client, char dst[INET_DOMAIN_SIZE]);

#endif
