/* SPDX-License-Identifier: BSD-2-Clause
 *
 * No line goes unsaid: it is in the file when the log is freed, or counted as lost.
 */
#include "base/event_log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define LINES 3

static const struct {
    const char *name, *path; /* NULL: no file */
    const char *said;        /* "" nothing */
} cases[] = {
    {"written", "/dev/null", ""},
    {"no file", NULL, "events-dropped count=3 error=\"there is no file to write to\""},
    {"a full disk", "/dev/full", "events-dropped count=3 error=\"No space left on device\""},
};

static void
write_lines(const char *path)
{
    struct event_log *log = event_log_new();

    if (path != NULL)
        event_log_use(log, open(path, O_WRONLY | O_APPEND | O_CLOEXEC));
    for (unsigned i = 0; i < LINES; i++)
        event_log_add(log, SLICE("{}"));
    event_log_free(&log);
    cr_assert_null(log);
}

Test(event_log, what_is_not_written_at_the_end_is_counted)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char said[512] = "";
        int fds[2];

        cr_assert_eq(pipe(fds), 0);
        cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
        log_init("test", fds[1], LOG_LEVEL_INFO);
        write_lines(cases[i].path);
        (void)!read(fds[0], said, sizeof said - 1);
        cr_expect(cases[i].said[0] ? strstr(said, cases[i].said) != NULL : said[0] == '\0',
                  "%s: %s", cases[i].name, said);
        log_init("test", STDERR_FILENO, LOG_LEVEL_INFO);
        close(fds[0]);
        close(fds[1]);
    }
}
