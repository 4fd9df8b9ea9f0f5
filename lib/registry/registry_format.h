/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The replica file's layout, shared by its reader and its maker and by nobody else: a cdb, and
 * behind it a trailer of fixed size.
 *
 * Each value is of base/codec.h; "3:" means from format 3 on.  From format 5 on the number in a key
 * is stored turned (registry_key_stored): cdb's hash has few values for keys that differ in their
 * last octets, and a look-up among 100,000 customers took 200 probes.
 *
 *   'd' name      u32 customer, u8 when_down, u8 flags, u64 missing_since_ms;
 *                 3: u32 id, u8 mode, u8 primary_up, u8 more flags
 *   'c' u32       a customer: name, u8 state, u32 x 3 limits, u64 size, u32 days;
 *                 3: u8 flags, u32 messages, u64 octets; 4: u64 policy;
 *                 2: u8 scope, u8 bare LF, u8 count of temporary changes, each u8 limit, u64 value,
 *                 u64 until
 *   'b' u32       of a customer: u32 number, u8 family, addr[16], u16 port, u32 priority, u32
 *                 connections, u8 tls, u8 held; 3: host, u8 lookup, u32 weight, u8 source's family,
 *                 addr[16], tls name, u8 flags; one record a backend, several under one key
 *   'o' u32       3: of a domain: as 'b', behind the customer's u32
 *   'a' address   2: u8 family, addr[16]: u32 customer; a record a backend
 *   'r' u32 local 3: a domain's registered recipient: nothing
 *   't' u32       of a customer: contact, language; where it has one.  A file of format 3 may lack
 *                 these, and a reader that does not know them passes them over, so they made no new
 *                 format.
 *   'i' u32       4: a customer's filter as registered: u32 number, label, u8 family, u8 bits,
 *                 addr[16], include, u32 exempt, u8 origin; a record a filter
 *   'n' name      4: an include: u64 resolved_ms, u32 count, each u8 family, u8 bits, addr[16]
 *   'f' network   4: u32 customer, u8 family, u8 bits, addr[16]: u32 number, label, u32 exempt, u8
 *                 origin; a record for each network of each filter
 *   'F' u32       4: of a customer with filters: u8 is every include known, then as 'X'
 *   'x' network   4: as 'f': a rule by network: u8 action, u8 kind, u64 expires, value, reason
 *   'q' u32 text  4: a customer's rule by sender, or by domain: as 'x'
 *   'X' u32       4: of a customer with rules by network: the lengths of prefixes in use, the
 * longest first, each u8 family, u8 bits.  A look-up tries each of them. 'p'           4: u32
 * checks that any policy has not off
 */
#ifndef REGISTRY_FORMAT_H
#define REGISTRY_FORMAT_H

#include "registry/registry.h"

#define REGISTRY_FORMAT_VERSION 5
#define REGISTRY_FORMAT_OLDEST 1 /* that is read */
#define REGISTRY_MAGIC "PSTNREPL"
#define REGISTRY_CDB_MIN 2048 /* the table of tables that every cdb begins with */

enum registry_trailer {
    REGISTRY_TRAILER_MAGIC = 0,
    REGISTRY_TRAILER_FORMAT = 8,    /* u32, u32 reserved */
    REGISTRY_TRAILER_DATABASE = 16, /* text, filled with NUL */
    REGISTRY_TRAILER_VERSION = 56,  /* u64, as all below */
    REGISTRY_TRAILER_DOMAINS = 64,
    REGISTRY_TRAILER_WRITTEN = 72,
    REGISTRY_TRAILER_SIZE = 80,  /* of the whole file */
    REGISTRY_TRAILER_CHECK = 88, /* XXH3 over every octet of the file before this one */
    REGISTRY_TRAILER_LENGTH = 96,
};

enum registry_domain_flag {
    REGISTRY_DOMAIN_REMOVED = 1,
    REGISTRY_DOMAIN_MISSING_ACCEPTED = 2,
};

enum registry_domain_more {
    REGISTRY_DOMAIN_HAS_BACKENDS = 1,
    REGISTRY_DOMAIN_HAS_RECIPIENTS = 2,
    REGISTRY_DOMAIN_COMPLETE = 4,
    REGISTRY_DOMAIN_MORE_ALL = 7,
};

enum registry_customer_flag {
    REGISTRY_CUSTOMER_KEEPS_LIVE_4XX = 1,
    REGISTRY_CUSTOMER_FILTERS_ONLY = 2, /* from format 4 on */
};
enum registry_backend_flag { REGISTRY_BACKEND_TRUSTS_US = 1 };

#define REGISTRY_KEY_SIZE (1 + INET_DOMAIN_SIZE)

static inline size_t
registry_key_number(char key[REGISTRY_KEY_SIZE], char kind, uint32_t number)
{
    key[0] = kind;
    for (unsigned i = 0; i < 4; i++)
        key[1 + i] = (char)(number >> (24 - 8 * i));
    return 5;
}

static inline size_t
registry_key_address(char key[REGISTRY_KEY_SIZE], const struct inet_endpoint *e)
{
    key[0] = 'a';
    key[1] = (char)e->family;
    memcpy(key + 2, e->addr, sizeof e->addr);
    return 2 + sizeof e->addr;
}

static inline size_t
registry_key_recipient(char key[REGISTRY_KEY_SIZE], uint32_t domain_id, struct slice local_part)
{
    size_t n = registry_key_number(key, 'r', domain_id);
    size_t room = REGISTRY_KEY_SIZE - n, size = local_part.n < room ? local_part.n : room;

    for (size_t i = 0; i < size; i++) {
        char c = local_part.p[i];

        key[n + i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return n + size;
}

/* 'f' or 'x' */
static inline size_t
registry_key_network(char key[REGISTRY_KEY_SIZE], char kind, uint32_t customer_id,
                     const struct inet_network *network)
{
    size_t n = registry_key_number(key, kind, customer_id);

    key[n] = (char)network->family;
    key[n + 1] = (char)network->bits;
    memcpy(key + n + 2, network->addr, sizeof network->addr);
    return n + 2 + sizeof network->addr;
}

/* A sender's address or domain, normalised. */
#define REGISTRY_KEY_SENDER_SIZE (5 + REGISTRY_RULE_VALUE_SIZE)
static inline size_t
registry_key_sender(char key[REGISTRY_KEY_SENDER_SIZE], uint32_t customer_id, const char *text)
{
    size_t n = registry_key_number(key, 'q', customer_id),
           size = strnlen(text, REGISTRY_RULE_VALUE_SIZE - 1);

    memcpy(key + n, text, size);
    return n + size;
}

/* 'd' or 'n' */
static inline size_t
registry_key_name(char key[REGISTRY_KEY_SIZE], char kind, const char *name)
{
    size_t n = strnlen(name, INET_DOMAIN_SIZE - 1);

    key[0] = kind;
    memcpy(key + 1, name, n);
    return 1 + n;
}

#endif
