/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Does a domain's server accept every recipient?  A random local part is tried there: MAIL FROM:<>,
 * RCPT, RSET, in the background, on a connection that stands idle behind the transaction in which
 * something was learned.  The state process says when, and to one worker of the node only.
 */
#ifndef RELAYD_RECIPIENT_PROBE_H
#define RELAYD_RECIPIENT_PROBE_H

#include "relayd/backend.h"

struct recipient_probe;

/* Once in a worker: from now on the state process may ask for probes. */
void recipient_probe_prepare(struct worker *worker);
/* At the worker's end, before the pool's: the state process asks somebody else in ten minutes. */
void recipient_probe_cancel_all(struct worker *worker);

#endif
