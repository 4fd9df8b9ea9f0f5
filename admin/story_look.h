/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is known of an event beyond itself.  Each event of a story gets, where it is known:
 *   since_then    of what was put off: what became of a later attempt with the same sender and
 *                 recipient (at, id, verdict, reply); null: none was seen
 *   backend_name  CUSTOMER/N of the backend that was asked
 *   entry         of a rule or a suspension that decided: since when, by whom, why (at, by, reason)
 */
#ifndef ADMIN_STORY_LOOK_H
#define ADMIN_STORY_LOOK_H

#include "admin/event_source.h"
#include "admin/story.h"

void story_look(struct event_source *source, struct story *story);

#endif
