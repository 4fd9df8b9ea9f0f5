/* SPDX-License-Identifier: BSD-2-Clause
 *
 * `relayctl simulate --message`: the content scanners of the setting milters are shown the message,
 * one after the other, by the code that relayd shows it with (lib/milter); from here, since relayd
 * would have to be sent the message.  They may learn from it as from any other.
 */
#ifndef ADMIN_SIMULATE_SCAN_H
#define ADMIN_SIMULATE_SCAN_H

#include <jansson.h>

#include "admin/call.h"

/* `answer`: relayd's, with the verdict accept, "queued", the reply to a message that is kept, and
 * the check milter, which is replaced by one for each scanner, with "name"; verdict, reply and
 * marks as they are then. */
void simulate_scan(const struct call *call, struct slice content, json_t *answer);

#endif
