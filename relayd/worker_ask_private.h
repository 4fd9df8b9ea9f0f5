/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the files that answer operators share.
 */
#ifndef RELAYD_WORKER_ASK_PRIVATE_H
#define RELAYD_WORKER_ASK_PRIVATE_H

#include <jansson.h>

#include "relayd/worker.h"

/* `json` is taken over; NULL: it could not be made. */
void worker_ask_answer(struct worker *w, uint32_t id, json_t *json);
void worker_ask_error(struct worker *w, uint32_t id, const char *why);

/* For the operator with this uid. */
void worker_ask_drain(struct worker *w, uint32_t id, uint32_t uid, const json_t *json);
/* What operators ask of the node's memory; false: it is another verb. */
bool worker_ask_memory(struct worker *w, uint32_t id, const char *word, const json_t *json);
void worker_ask_memory_cancel_all(struct worker *w);

#endif
