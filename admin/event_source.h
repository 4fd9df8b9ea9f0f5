/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where the history of mail is read: the events of all nodes in PostgreSQL, or the event log of
 * this node, when the database is away or is not asked.
 */
#ifndef ADMIN_EVENT_SOURCE_H
#define ADMIN_EVENT_SOURCE_H

#include "admin/event_search.h"

struct event_source {
    struct call *call;
    bool has_database; /* else why_not says why */
    struct buf why_not;
};

/* Connects unless --local was given; that the database is away is no failure.
 * event_source_close. */
void event_source_open(struct call *call, struct event_source *source);
void event_source_close(struct event_source *source);

/* Adds the newest events that match to the array `events`, newest first, each with its "node"; from
 * the database, or the files of this node.  Anything but COMMAND_DONE has been explained. */
enum command_status event_source_find(struct event_source *source,
                                      const struct event_search *search, json_t *events);
/* The same from the files alone: what is not copied yet is there. */
enum command_status event_source_find_local(struct event_source *source,
                                            const struct event_search *search, json_t *events);

/* What was looked at: which nodes, from when to when. */
void event_source_covered(struct event_source *source, struct buf *text);

/* The files cover its minute, as far as this node wrote them. */
bool event_source_is_of_node(const struct event_source *source, struct ref ref);

#endif
