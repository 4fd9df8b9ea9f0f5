/* SPDX-License-Identifier: BSD-2-Clause
 *
 * `relayctl simulate`: what a sender would be told at RCPT, and behind its message, by the
 * code that tells it (relayd/screen.h, decision.h), with nothing written down: no limit is used,
 * the greylist does not see the contact, no event is made.
 */
#ifndef RELAYD_SIMULATE_H
#define RELAYD_SIMULATE_H

#include <jansson.h>

#include "relayd/worker.h"

struct simulation;

/* `question`: "client", "helo", "from", "rcpt"; or "check": "spf" without "rcpt".  With "message":
 * {"size", "received", "own_received", "damaged", "origin": the address in its topmost Received
 * field} the end of the content as well.  The answer,
 * taken over by the callee: {"ok": true, "verdict": "accept" | "refuse" | "later", "reply", "by",
 * "rule", "checks": [{"check", "action", "result", "input", "ms"}], "marks": [], "spf": {...},
 * "spf_helo"}, or
 * {"ok": false, "error"}.  The callback may come from inside, and gets `id` back. */
typedef void (*simulate_on_done)(struct worker *worker, uint32_t id, json_t *answer);
void simulate_start(struct worker *worker, uint32_t id, const json_t *question,
                    simulate_on_done on_done);
/* Those that run end without their callbacks. */
void simulate_cancel_all(struct worker *worker);

#endif
