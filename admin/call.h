/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One run of relayctl: what was asked, the configuration, the database if the command needs it, and
 * how results and complaints leave.  relayctl may block, so it uses libpq directly.
 */
#ifndef ADMIN_CALL_H
#define ADMIN_CALL_H

#include <libpq-fe.h>

#include "admin/command.h"
#include "admin/printer.h"
#include "base/config.h"

#define CALL_WARNINGS_MAX 32

struct call {
    struct command_line line;
    struct config *config;
    const char *config_path;
    PGconn *pg;
    struct printer_settings printing;
    bool dry_run;
    const char *reads_for; /* we read the spool for this user, who may not; NULL: for ourselves */
    char *warnings[CALL_WARNINGS_MAX]; /* that call_warn has said */
    size_t warning_count;
};

/* "relayctl: ..." on standard error. */
void call_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Complaints are for a terminal (paragraph_set_width), or are lines as long as they are. */
void call_wrap_complaints(bool is_terminal);
/* As call_complain; returns COMMAND_USAGE. */
enum command_status call_usage(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Where in a file we are: every complaint begins with it, until it is "". */
void call_set_place(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* "relayctl: warning: ..." on standard error, and a word in what call_done says in JSON.  What was
 * asked is done all the same. */
void call_warn(struct call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);
void call_fini(struct call *call);

static inline const char *
call_value(const struct call *call, const char *option)
{
    return command_value(&call->line, option);
}

/* For suspend, hold, redirect, return and remove: COMMAND_USAGE with a sentence if --reason is
 * missing. */
enum command_status call_need_reason(const struct call *call);

/* Says what a changing command has done, e.g. "added", "customer", "acme": a sentence for people,
 * an object in JSON. */
void call_done(const struct call *call, const char *action, const char *what, const char *name);

/* On a terminal without --yes, but in a dry run. */
bool call_asks(const struct call *call);
/* If call_asks: asks, and is COMMAND_FAILED unless the answer is yes. Elsewhere, and
 * in a dry run, nothing is asked. */
enum command_status call_confirm(const struct call *call, const char *question);

/* The path of a file in one of the configured folders; "" if it is too long. */
#define CALL_PATH_SIZE 1024
const char *call_path(char dst[CALL_PATH_SIZE], const char *folder, const char *file);

#endif
