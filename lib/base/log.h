/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The log: one line an event, "time level program[pid] session event key=value ...".  Whoever
 * decides, logs; whoever detects, returns.  Bytes of a peer are escaped here, whatever the caller
 * forgot: control characters and bytes above 0x7e appear as \xNN. Passwords and bodies never. Lines
 * go to standard error, or to the descriptor given; one write a line.  It never waits for the
 * reader of a pipe or socket (P8): lines that are not taken are dropped, and the next one that is
 * taken is preceded by "log-lines-dropped count=N".
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include "base/slice.h"

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,  /* an operator should know, nothing is lost */
    LOG_LEVEL_ALARM, /* an operator should act */
};

/* `program` is copied (e.g. "relayd/worker-2"). fd: where lines go. Lines below `level` are
 * dropped. */
void log_init(const char *program, int fd, enum log_level level);
void log_set_program(const char *program);
const char *log_program_name(void);

/* `session`: a reference or a session id, NULL for none. `event`: one word, e.g. "backend-down".
 * The rest is key=value text. */
void log_line(enum log_level level, const char *session, const char *event, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* A value in quotes if it needs them, escaped, cut at dst_size. Returns dst. */
const char *log_quote(struct slice value, char *dst, size_t dst_size);

#endif
