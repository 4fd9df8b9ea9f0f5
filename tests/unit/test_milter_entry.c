/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scanners as an operator writes them.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/milter_entry.h"

Test(milter_entry, what_is_one)
{
    static const struct {
        const char *text, *address, *name;
        bool defers;
        int64_t timeout_ms;
        uint64_t max_bytes;
    } cases[] = {
        {"inet:127.0.0.1:11332", "inet:127.0.0.1:11332", "milter", false, 30000, 0},
        {"inet:[::1]:11332", "inet:[::1]:11332", "milter", false, 30000, 0},
        {"unix:/run/clamav/milter.sock name=clamav", "unix:/run/clamav/milter.sock", "clamav",
         false, 30000, 0},
        {" inet:127.0.0.1:1  on-failure=defer timeout=5s  max-size=20MiB name=a-1 ",
         "inet:127.0.0.1:1", "a-1", true, 5000, 20 << 20},
        {"inet:127.0.0.1:1 on-failure=accept", "inet:127.0.0.1:1", "milter", false, 30000, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct milter_entry e;
        char address[MILTER_ADDRESS_SIZE];
        const char *wrong = milter_entry_parse(cases[i].text, &e);

        cr_assert_null(wrong, "%s: %s", cases[i].text, wrong);
        cr_expect_str_eq(milter_entry_address(&e, address), cases[i].address);
        cr_expect_str_eq(e.name, cases[i].name);
        cr_expect_eq(e.defers, cases[i].defers, "%s", cases[i].text);
        cr_expect_eq(e.timeout_ms, cases[i].timeout_ms, "%s", cases[i].text);
        cr_expect_eq(e.max_bytes, cases[i].max_bytes, "%s", cases[i].text);
    }
}

Test(milter_entry, what_is_none)
{
    static const struct {
        const char *text, *wrong; /* a part of it */
    } cases[] = {
        {"", "milter's address"},
        {"127.0.0.1:11332", "milter's address"},
        {"inet:127.0.0.1", "milter's address"},
        {"inet:127.0.0.1:0", "milter's address"},
        {"inet:localhost:11332", "milter's address"},
        {"inet:11332@127.0.0.1", "milter's address"},
        {"unix:", "no full path"},
        {"unix:run/x", "no full path"},
        {"unix:/"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaa",
         "no full path"},
        {"inet:127.0.0.1:1 name=", "not one word"},
        {"inet:127.0.0.1:1 name=A", "not one word"},
        {"inet:127.0.0.1:1 name=a.b", "not one word"},
        {"inet:127.0.0.1:1 name=abcdefghijklmnopqrstuvwxyzabcdef", "not one word"},
        {"inet:127.0.0.1:1 on-failure=reject", "neither accept nor defer"},
        {"inet:127.0.0.1:1 timeout=30", "no duration"},
        {"inet:127.0.0.1:1 timeout=0s", "no duration"},
        {"inet:127.0.0.1:1 timeout=11m", "no duration"},
        {"inet:127.0.0.1:1 max-size=0B", "no size"},
        {"inet:127.0.0.1:1 max-size=many", "no size"},
        {"inet:127.0.0.1:1 rspamd", "unknown"},
        {"inet:127.0.0.1:1 on_failure=defer", "unknown"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct milter_entry e;
        const char *wrong = milter_entry_parse(cases[i].text, &e);

        cr_expect(wrong != NULL && strstr(wrong, cases[i].wrong) != NULL, "%s: %s", cases[i].text,
                  wrong ? wrong : "good");
    }
}
