/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How relayctl speaks: complaints on standard error with the program's name in front, outcomes on
 * standard output as a sentence or as JSON.
 */
#include "admin/call.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/paragraph.h"
#include "base/buf.h"

#define NAME "relayctl: "

static char place[160];
static bool wraps;

void
call_wrap_complaints(bool is_terminal)
{
    wraps = is_terminal;
}

void
call_set_place(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(place, sizeof place, fmt, args);
    va_end(args);
}

static void complain(const char *fmt, va_list args) PRINTF_LIKE(1, 0);

static void
complain(const char *fmt, va_list args)
{
    struct buf text;

    fflush(stdout);
    buf_init(&text, 0);
    buf_printf(&text, "%s%s", place, place[0] ? ": " : "");
    buf_vprintf(&text, fmt, args);
    fputs(NAME, stderr);
    if (wraps)
        paragraph_wrap(stderr, strlen(NAME), buf_text(&text));
    else
        fprintf(stderr, "%s\n", buf_text(&text));
    buf_fini(&text);
}

void
call_complain(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
}

void
call_warn(struct call *call, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    call_complain("warning: %s", text);
    if (call->warning_count < CALL_WARNINGS_MAX)
        call->warnings[call->warning_count++] = mem_strdup(text);
}

void
call_fini(struct call *call)
{
    while (call->warning_count > 0)
        free(call->warnings[--call->warning_count]);
}

enum command_status
call_usage(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
    return COMMAND_USAGE;
}

enum command_status
call_need_reason(const struct call *call)
{
    const char *reason = call_value(call, "reason");

    if (reason && reason[0])
        return COMMAND_DONE;
    return call_usage("%s %s needs --reason TEXT, which is kept in the audit, for example: %s",
                      call->line.command->noun, call->line.command->verb,
                      call->line.command->example);
}

bool
call_asks(const struct call *call)
{
    return !call->dry_run && call_value(call, "yes") == NULL && isatty(STDIN_FILENO);
}

enum command_status
call_confirm(const struct call *call, const char *question)
{
    char answer[16] = "";

    if (!call_asks(call))
        return COMMAND_DONE;
    fprintf(stderr, "%s [yes/no] ", question);
    if (fgets(answer, sizeof answer, stdin) &&
        (strcmp(answer, "yes\n") == 0 || strcmp(answer, "y\n") == 0))
        return COMMAND_DONE;
    call_complain("nothing is changed");
    return COMMAND_FAILED;
}

void
call_done(const struct call *call, const char *action, const char *what, const char *name)
{
    static const struct printer_column columns[] = {
        {"action", "", PRINTER_LEFT},  {"what", "", PRINTER_LEFT},     {"name", "", PRINTER_LEFT},
        {"dry_run", "", PRINTER_LEFT}, {"warnings", "", PRINTER_LEFT},
    };
    struct printer *p;

    if (!call->printing.json) {
        fprintf(call->printing.out, "%s%s %s %s%s\n", call->dry_run ? "dry run: would have " : "",
                action, what, name, call->dry_run ? "; nothing is changed" : "");
        return;
    }
    p = printer_new(&call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));
    printer_text(p, action);
    printer_text(p, what);
    printer_text(p, name);
    printer_bool(p, call->dry_run);
    printer_words(p, (const char *const *)call->warnings, call->warning_count);
    printer_finish(&p);
}

const char *
call_path(char dst[CALL_PATH_SIZE], const char *folder, const char *file)
{
    int n = snprintf(dst, CALL_PATH_SIZE, "%s/%s", folder, file);

    if (n < 0 || n >= CALL_PATH_SIZE)
        dst[0] = '\0';
    return dst;
}
