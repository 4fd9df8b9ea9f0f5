/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The fields of an event as people read them.
 */
#ifndef ADMIN_EVENT_WORDS_H
#define ADMIN_EVENT_WORDS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

/* "" and 0 if there is none; borrowed from the event. */
const char *event_words_text(const json_t *event, const char *key);
int64_t event_words_number(const json_t *event, const char *key);
/* 0 if it has none. */
int64_t event_words_at_ms(const json_t *event);
/* Local, with seconds. */
#define EVENT_WORDS_TIME_SIZE 24
const char *event_words_time(const json_t *event, char dst[EVENT_WORDS_TIME_SIZE]);
/* Adds text of a peer: the log has octets beyond ASCII as characters of their number, which become
 * what was sent where that is UTF-8. */
void event_words_peer(struct buf *out, const char *text);
void event_words_print_json(FILE *out, const json_t *event);

#endif
