/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A peer cannot forge a line of the log.
 */
#include <criterion/criterion.h>
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
