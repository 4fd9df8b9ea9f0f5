/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of a story ask of one event.
 */
#ifndef ADMIN_STORY_EVENT_H
#define ADMIN_STORY_EVENT_H

#include "admin/event_words.h"

/* Of what kind: "message", "recipient-refused", ... */
bool story_event_is(const json_t *event, const char *kind);
bool story_event_has_verdict(const json_t *event, const char *word);
/* The first digit of what was answered; NUL if nothing was. */
char story_event_class(const json_t *event);
/* The check of that name, or NULL: it was not made. */
const json_t *story_event_check(const json_t *event, const char *name);
/* The only or the first recipient; NULL. */
const char *story_event_recipient(const json_t *event);
/* Adds "<address>" of a peer. */
void story_event_add_address(struct buf *b, const char *address);
/* Local time with seconds and offset, "2026-11-30 17:46:58 +0100"; "?" for 0. */
#define STORY_EVENT_TIME_SIZE 32
const char *story_event_time(int64_t at_ms, char dst[STORY_EVENT_TIME_SIZE]);
/* As a reference has it, "2026-11-30 17:46 +0100". */
const char *story_event_minute(int64_t at_ms, char dst[STORY_EVENT_TIME_SIZE]);

#endif
