/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files that read a replica share, and those that make one; for nobody else.
 */
#ifndef REGISTRY_PRIVATE_H
#define REGISTRY_PRIVATE_H

#include <cdb.h>

#include "registry/registry.h"
#include "registry/registry_format.h"

struct registry {
    struct cdb cdb;
    struct registry_version version;
    uint32_t format;
};

/* Of what cdb_find or cdb_findnext has said. ERR_NOT_FOUND, ERR_CORRUPT. */
MUST_USE int registry_value_found(struct cdb *cdb, int found, struct slice *value);
/* The first value of a key. */
MUST_USE int registry_find_value(const struct registry *registry, const char *key, size_t key_size,
                                 struct slice *value);

/* --- registry_value.c: the records' values; ERR_CORRUPT. */
MUST_USE int registry_decode_domain(struct slice value, uint32_t format, const char *name,
                                    struct registry_domain *domain);
MUST_USE int registry_decode_customer(struct slice value, const struct registry *registry,
                                      uint32_t id, int64_t wall_ms,
                                      struct registry_customer *customer);
/* `key`: as far as the record's key says it. */
MUST_USE int registry_decode_backend(struct slice value, uint32_t format,
                                     const struct registry_backend *key,
                                     struct registry_backend *backend);

/* A key as it stands in a file of that format, for cdb: dst has room for key_size. */
#define REGISTRY_KEY_MOST (REGISTRY_KEY_SIZE + REGISTRY_RULE_VALUE_SIZE)
void registry_key_stored(uint32_t format, const char *key, size_t key_size, char *dst);

/* Every record, with its key as it was made. A result other than ERR_OK ends the walk and is its
 * own. */
typedef int (*registry_visit)(void *ctx, struct slice key, struct slice value);
MUST_USE int registry_walk(const struct registry *registry, registry_visit visit, void *ctx);
/* The customer of a key that begins with its number, behind the kind. */
MUST_USE int registry_key_customer(struct slice key, uint32_t *customer_id);

/* Are all includes of the customer's filters known, and is there a network at all? */
MUST_USE int registry_filters_complete(const struct registry *registry, uint32_t customer_id,
                                       bool *is_complete);

/* The lengths of prefixes that a customer's networks have, while they are written. */
struct registry_lengths {
    bool is_open;
    uint32_t customer_id;
    bool is_complete;     /* of filters */
    bool is_used[2][129]; /* of IPv4, of IPv6 */
};

struct registry_maker {
    int fd;
    char *path_tmp;
    struct cdb_make cdb;
    bool cdb_is_open; /* holds memory that only cdb_make_finish gives back */
    uint64_t domain_count;
    unsigned checks_needed;
    struct registry_lengths filters, rules;
    struct buf value;
};

/* The record of that key with what stands in `value`, which is empty then. */
MUST_USE int registry_maker_add(struct registry_maker *maker, const char *key, size_t key_size);
/* What is known only when all filters and rules have been added. */
MUST_USE int registry_maker_add_lengths(struct registry_maker *maker);

#endif
