/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A content scanner as the setting milters spells it: "inet:127.0.0.1:11332" or "unix:/path", and
 * behind it, in any order, "name=rspamd", "on-failure=accept|defer", "timeout=30s",
 * "max-size=20MiB".
 */
#ifndef BASE_MILTER_ENTRY_H
#define BASE_MILTER_ENTRY_H

#include "base/inet.h"

#define MILTER_NAME_SIZE 32
#define MILTER_PATH_SIZE 108    /* of a socket's address */
#define MILTER_ENTRIES_MAX 8    /* a message passes all of them, one after the other */
#define MILTER_TIMEOUT_MS 30000 /* unless it is said */

struct milter_entry {
    struct inet_endpoint endpoint; /* family 0: `path` */
    char path[MILTER_PATH_SIZE];
    char name[MILTER_NAME_SIZE]; /* for people, events and texts; "" never */
    bool defers;                 /* on-failure=defer; else mail goes on unscanned */
    int64_t timeout_ms;
    uint64_t max_bytes; /* larger messages are not shown to it; 0: any */
};

/* NULL, or what is wrong (static). */
const char *milter_entry_parse(const char *text, struct milter_entry *entry);
/* "inet:127.0.0.1:11332", "unix:/path". */
#define MILTER_ADDRESS_SIZE (MILTER_PATH_SIZE + 8)
const char *milter_entry_address(const struct milter_entry *entry, char dst[MILTER_ADDRESS_SIZE]);

#endif
