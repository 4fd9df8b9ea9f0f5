/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parent's clockwork of TLS: ticket keys change every 12 hours, warnings are said again every
 * day.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/tls_server.h"
#include "relayd/parent_private.h"
#include "tests/unit/tls_fixture.h"

#define HOUR_MS (3600 * 1000LL)
#define DAY_MS (24 * HOUR_MS)

static char nobody[] = "", hostname[] = "mx1.example";
static unsigned told; /* how often all workers were sent something */

void
parent_each_worker(struct parent *p, void (*fn)(struct child *worker))
{
    struct child worker = {.parent = p, .kind = CHILD_WORKER};

    cr_expect_eq(fn, parent_send_ticket_keys);
    fn(&worker); /* it has no channel any more */
    told++;
}

static int
slot_of(const struct parent *p, const struct tls_ticket_key *key)
{
    for (int slot = 0; slot <= TLS_TICKET_PREVIOUS; slot++)
        if (memcmp(&p->ticket_keys.keys[slot], key, sizeof *key) == 0)
            return slot;
    return -1;
}

Test(parent_tls, ticket_keys_change_every_twelve_hours)
{
    struct config config = {.user = nobody};
    struct parent p = {.config = &config};
    struct tls_ticket_key first;
    int64_t began = 1000;

    tls_ticket_keys_make(&p.ticket_keys);
    first = p.ticket_keys.keys[TLS_TICKET_CURRENT];
    for (int64_t at = began; at < began + 12 * HOUR_MS; at += HOUR_MS)
        parent_tls_tick(&p, at, 0);
    cr_expect_eq(told, 0);
    cr_expect_eq(slot_of(&p, &first), TLS_TICKET_CURRENT);
    parent_tls_tick(&p, began + 12 * HOUR_MS, 0);
    parent_tls_tick(&p, began + 12 * HOUR_MS + 500, 0);
    cr_expect_eq(told, 1);
    cr_expect_eq(slot_of(&p, &first), TLS_TICKET_PREVIOUS);
    parent_tls_tick(&p, began + 24 * HOUR_MS, 0);
    cr_expect_eq(told, 2);
    cr_expect_eq(slot_of(&p, &first), -1, "forgotten");
}

static unsigned
lines_said(int fd)
{
    char text[8192];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    unsigned count = 0;

    cr_assert_geq(n, 0);
    text[n] = '\0';
    for (const char *at = text; (at = strstr(at, " certificate-warning ")) != NULL; at++)
        count++;
    return count;
}

Test(parent_tls, warnings_are_said_again_every_day)
{
    struct tls_wish wish = {.names = "mx1.example", .ends_in_days = 13};
    struct config config = {.user = nobody, .hostname = hostname};
    struct parent p = {.config = &config};
    int64_t now = clock_wall_ms(), midnight = (now / DAY_MS + 1) * DAY_MS;
    struct tls_files folder;
    struct tls_pair pair;
    struct buf problems;
    FILE *log = tmpfile();

    cr_assert_not_null(log);
    log_init("test", fileno(log), LOG_LEVEL_INFO);
    buf_init(&problems, 0);
    tls_files_init(&folder);
    pair = tls_make(&folder, "one", &wish);
    config.tls_certificate = (struct config_words){&pair.certificate, 1};
    config.tls_key = (struct config_words){&pair.key, 1};
    cr_assert_eq(parent_tls_load(&config, &problems, &p.tls), ERR_OK);
    parent_tls_log_warnings(&p, now);
    cr_expect_eq(lines_said(fileno(log)), 1);
    parent_tls_tick(&p, 1, midnight - 1);
    cr_expect_eq(lines_said(fileno(log)), 1);
    parent_tls_tick(&p, 2, midnight);
    parent_tls_tick(&p, 3, midnight + 1);
    cr_expect_eq(lines_said(fileno(log)), 2);
    parent_tls_tick(&p, 4, midnight + 5 * DAY_MS);
    cr_expect_eq(lines_said(fileno(log)), 3);
    tls_server_free(&p.tls);
    buf_fini(&problems);
    tls_files_fini(&folder);
    free(pair.certificate);
    free(pair.key);
    fclose(log);
}
