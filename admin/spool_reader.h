/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool log as relayctl reads it: opening with clear words, and totals.
 */
#ifndef ADMIN_SPOOL_READER_H
#define ADMIN_SPOOL_READER_H

#include "admin/call.h"
#include "admin/routing.h"
#include "base/clock.h"
#include "spool/spool_store.h"

/* Read-only, beside a running keeper or without one. A failure has been explained. */
enum command_status spool_reader_open(const struct call *call, struct spool_store **store);

struct spool_totals { /* of messages with an open recipient */
    uint64_t messages, recipients, size_bytes, held, damaged;
    uint64_t no_route;     /* will not be tried: no domain, or no backend */
    uint64_t due;          /* to be tried as soon as the server is up, or released */
    int64_t oldest_at_ms;  /* 0: none */
    int64_t next_at_ms;    /* of those that are not due */
    int64_t expires_at_ms; /* the first to end */
};
void spool_reader_count(struct spool_totals *totals, const struct spool_message *message,
                        const struct registry *registry, int64_t now_ms);

#endif
