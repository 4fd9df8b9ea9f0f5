/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The node's event log: one JSON line for each message and each refused recipient, with every
 * check, verdict and reply (DESIGN 4.7).  Lines are gathered on the loop and appended by a thread,
 * several at a time, so that the loop never waits for a disk.
 */
#ifndef BASE_EVENT_LOG_H
#define BASE_EVENT_LOG_H

#include "base/buf.h"

struct event_log;

struct event_log *event_log_new(void);
void event_log_free(struct event_log **log); /* writes what waits, or says how much is lost */
/* The file that the lines go to from now on (append-only); taken over. */
void event_log_use(struct event_log *log, int fd);
/* Appends one line; `json` without its line end. */
void event_log_add(struct event_log *log, struct slice json);
/* Hands over what has been gathered: call once in 100 ms or so. */
void event_log_flush(struct event_log *log);

/* Building a line: {"at":"...","event":"...", then fields, then }. */
void event_begin(struct buf *json, const char *event, int64_t wall_ms);
void event_text(struct buf *json, const char *key,
                struct slice value); /* octets outside printable ASCII as \u00NN, NUL as \u2400 */
void event_escape(struct buf *json, struct slice value); /* the inside of a string */
void event_number(struct buf *json, const char *key, int64_t value);
void event_end(struct buf *json);

#endif
