/* SPDX-License-Identifier: BSD-2-Clause
 *
 * scan canary --outage: the servers of a customer are held for as long as a canary takes to lie in
 * the spool, then released, and it must go out.
 */
#ifndef ADMIN_SCAN_OUTAGE_H
#define ADMIN_SCAN_OUTAGE_H

#include "admin/call.h"
#include "base/inet.h"

struct scan_outage {
    char domain[INET_DOMAIN_SIZE];
    char *held;     /* the servers, as an array of PostgreSQL */
    char end[16];   /* what became of the message; "waiting": nothing in time */
    int64_t end_ms; /* since the release */
};

/* Holds every server that mail for this address may go to, on this node too when it returns.
 * Anything but COMMAND_DONE was explained, and nothing is held. */
enum command_status scan_outage_begin(struct call *call, const char *rcpt,
                                      struct scan_outage *outage);
/* Releases those that it has held, whatever has happened meanwhile. */
enum command_status scan_outage_end(struct call *call, struct scan_outage *outage);
/* Waits for the end of the message with this reference. */
void scan_outage_follow(struct call *call, const char *reference, struct scan_outage *outage);
void scan_outage_fini(struct scan_outage *outage);

#endif
