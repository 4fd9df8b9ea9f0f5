/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an operator asks the relay, answered by a worker: `backend-test` and `backend-release`, a
 * line of JSON each (lib/probe/probe_json.h), and what is in worker_ask_memory.c.
 */
#ifndef RELAYD_WORKER_ASK_H
#define RELAYD_WORKER_ASK_H

#include "relayd/worker.h"

void worker_ask(struct worker *worker, struct slice payload); /* of RELAYD_ASK */
void worker_ask_cancel_all(struct worker *worker);            /* at its end: unanswered */

#endif
