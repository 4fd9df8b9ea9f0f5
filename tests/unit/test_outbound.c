/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The way of mail of our own, from texts.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/outbound.h"
#include "tests/unit/scratch.h"

static const struct {
    const char *text;
    enum outbound_kind kind;
    const char *host;
    unsigned family, port;
} routes[] = {
    {"", OUTBOUND_NONE, "", 0, 0},
    {"mx", OUTBOUND_MX, "", 0, 0},
    {"Smtp.ISP.example.:587", OUTBOUND_SMARTHOST, "smtp.isp.example", 0, 587},
    {"192.0.2.9:25", OUTBOUND_SMARTHOST, "", 4, 25},
    {"[2001:db8::9]:465", OUTBOUND_SMARTHOST, "", 6, 465},
};

Test(outbound, routes)
{
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        struct outbound o;
        const char *wrong = outbound_parse(routes[i].text, &o);

        cr_assert_null(wrong, "%s: %s", routes[i].text, wrong ? wrong : "");
        cr_expect_eq(o.kind, routes[i].kind, "%s", routes[i].text);
        cr_expect_str_eq(o.host, routes[i].host);
        cr_expect_eq(o.endpoint.family, routes[i].family, "%s", routes[i].text);
        cr_expect_eq(o.endpoint.port, routes[i].port, "%s", routes[i].text);
    }
}

static const struct {
    const char *content;
    mode_t mode;
    const char *wrong; /* its beginning; NULL: nothing */
} files[] = {
    {"relay:pass: word\n", 0600, NULL},
    {"relay:pass: word", 0400, NULL},
    {"relay:pass: word\n", 0640, "may be read by others"},
    {"relay:pass: word\n", 0604, "may be read by others"},
    {"relay\n", 0600, "does not hold"},
    {":password\n", 0600, "does not hold"},
    {"relay:\n", 0600, "does not hold"},
    {"", 0600, "does not hold"},
};

Test(outbound, credentials)
{
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[SCRATCH_PATH];
        struct outbound_credentials c;
        const char *wrong;
        int fd;

        scratch_name(path, "test_outbound");
        fd = mkstemp(path);
        cr_assert(fd >= 0 && fchmod(fd, files[i].mode) == 0);
        dprintf(fd, "%s", files[i].content);
        wrong = outbound_credentials_read(path, &c);
        if (files[i].wrong == NULL) {
            cr_assert_null(wrong, "file %zu: %s", i, wrong ? wrong : "");
            cr_expect_str_eq(c.user, "relay");
            cr_expect_str_eq(c.password, "pass: word");
        } else
            cr_expect(wrong != NULL && strncmp(wrong, files[i].wrong, strlen(files[i].wrong)) == 0,
                      "file %zu: %s", i, wrong ? wrong : "taken");
        close(fd);
        unlink(path);
    }
    cr_expect_not_null(
        outbound_credentials_read("/nonexistent", &(struct outbound_credentials){.user = ""}));
}
