/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a domain that somebody names is found: by itself, or as a subdomain of one that takes them.
 */
#ifndef ADMIN_DOMAIN_LOOKUP_H
#define ADMIN_DOMAIN_LOOKUP_H

/* Behind WHERE; $1 is the name, d the domain. */
#define DOMAIN_LOOKUP_BY_NAME                                                                   \
    "(d.name = $1 OR (left(d.name, 1) = '.' AND right($1, length(d.name)) = d.name)) ORDER BY " \
    "length(d.name) DESC LIMIT 1"
/* A backend b that serves the domain d. */
#define DOMAIN_LOOKUP_IS_ITS_BACKEND                                                      \
    "(b.customer_id = d.customer_id AND (b.domain = d.name OR (b.domain IS NULL AND NOT " \
    "EXISTS (SELECT FROM postern.backends o WHERE o.domain = d.name))))"

#endif
