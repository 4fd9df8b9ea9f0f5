/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What becomes of a message after our answer, in a sentence or two.
 */
#ifndef ADMIN_STORY_OUTCOME_H
#define ADMIN_STORY_OUTCOME_H

#include "admin/story_event.h"

/* Adds it; nothing where nothing was answered. */
void story_outcome_add(struct buf *b, const json_t *event);

#endif
