/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A peer cannot forge a line of the log.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

static const struct {
    const char *name, *value, *want;
} quotes[] = {
    {"bare", "acme.example", "acme.example"},
    {"empty", "", "\"\""},
    {"a space", "a b", "\"a b\""},
    {"a quote and a backslash", "a\"\\", "\"a\\\"\\\\\""},
    {"an equal sign", "a=b", "\"a=b\""},
    {"a line end", "a\r\nb", "\"a\\x0d\\x0ab\""},
    {"escape and 8-bit", "\033[1m\xff", "\"\\x1b[1m\\xff\""},
};

Test(log, a_value_is_quoted_when_it_needs_it)
{
    char dst[64];

    for (size_t i = 0; i < ARRAY_SIZE(quotes); i++)
        cr_expect_str_eq(log_quote(slice_of(quotes[i].value), dst, sizeof dst), quotes[i].want,
                         "%s", quotes[i].name);
}

Test(log, a_quote_is_cut_at_the_size_and_stays_closed)
{
    char dst[16];
    const char *text = log_quote(SLICE("a b c d e f g h i j k l m n o p"), dst, sizeof dst);
    size_t n = strlen(text);

    cr_expect(n < sizeof dst && text[0] == '"' && text[n - 1] == '"', "%s", text);
}

Test(log, a_line_is_one_line_whatever_the_caller_forgot)
{
    char line[512] = "";
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    log_init("test", fds[1], LOG_LEVEL_INFO);
    log_line(LOG_LEVEL_DEBUG, NULL, "hidden", "x");
    log_line(LOG_LEVEL_WARN, "P001-4KX3T-0B7Q2CF", "forged", "helo=%s", "a\n2026 alarm x");
    cr_assert_gt(read(fds[0], line, sizeof line - 1), 0);
    cr_expect_not_null(strstr(line, " warn test["));
    cr_expect_not_null(strstr(line, "] P001-4KX3T-0B7Q2CF forged helo=a\\x0a2026 alarm x\n"));
    cr_expect_eq(strchr(line, '\n'), line + strlen(line) - 1);
}

/* Logs until lines are dropped, reads all, logs once more; the sum of what came and what is said to
 * be lost is what was logged. */
static void
expect_no_wait(const char *name, int read_fd, int write_fd)
{
    static char text[1 << 22];
    char *lost;
    size_t n = 0, lines = 0;
    ssize_t got;

    alarm(20);
    log_init("test", write_fd, LOG_LEVEL_INFO);
    for (unsigned i = 0; i < 5000; i++)
        log_line(LOG_LEVEL_INFO, NULL, "line", "i=%u %0500u", i, i);
    fcntl(read_fd, F_SETFL, O_NONBLOCK);
    while ((got = read(read_fd, text, sizeof text)) > 0)
        ;
    log_line(LOG_LEVEL_INFO, NULL, "after", "x");
    log_line(LOG_LEVEL_INFO, NULL, "after", "y");
    while ((got = read(read_fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    cr_expect_eq(lines, 3, "%s: %s", name, text);
    lost = strstr(text, " log-lines-dropped count=");
    cr_assert_not_null(lost, "%s: %s", name, text);
    cr_expect_gt(strtoul(strchr(lost, '=') + 1, NULL, 10), 1000, "%s: %s", name, text);
    cr_expect_not_null(strstr(lost, "] - after x\n"), "%s: %s", name, text);
    cr_expect_eq(fcntl(write_fd, F_GETFL) & O_NONBLOCK, 0, "%s", name);
}

Test(log, P8_a_reader_that_stands_still_stops_nobody)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    expect_no_wait("pipe", fds[0], fds[1]);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    expect_no_wait("socket", fds[0], fds[1]);
}
