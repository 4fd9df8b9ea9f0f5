/* SPDX-License-Identifier: BSD-2-Clause
 *
 * However many strangers come, the lines about them are bounded, and none goes uncounted.
 */
#include "relayd/event_refusals.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/event_log.h"

#define MINUTE_MS 60000LL

struct told {
    char *text;
    unsigned lines, count; /* of "refusals" */
};

static struct inet_endpoint
client_of(unsigned n)
{
    return (struct inet_endpoint){.family = 4, .addr = {10, (uint8_t)(n >> 8), (uint8_t)n, 7}};
}

/* What the log has when all is written. */
static struct told
read_back(FILE *file)
{
    struct told told = {calloc(1, 4 << 20), 0, 0};
    ssize_t n = pread(fileno(file), told.text, (4 << 20) - 1, 0);

    cr_assert(n >= 0);
    for (const char *p = told.text; (p = strstr(p, "\"count\":")) != NULL; p++) {
        told.lines++;
        told.count += (unsigned)atol(p + 8);
    }
    return told;
}

static struct told
refuse(unsigned per_second, unsigned networks, unsigned each, unsigned *listed)
{
    FILE *file = tmpfile();
    struct event_log *log = event_log_new();
    struct event_refusals *refusals = event_refusals_new(log, per_second);
    struct told told;

    *listed = 0;
    event_log_use(log, dup(fileno(file)));
    for (unsigned i = 0; i < networks * each; i++) {
        struct inet_endpoint client = client_of(i % networks);

        *listed += event_refusals_may_list(refusals, &client, i % 2 ? "relay-denied" : "connection",
                                           10 * MINUTE_MS);
    }
    event_refusals_tick(refusals, 11 * MINUTE_MS);
    event_refusals_free(&refusals);
    event_log_free(&log);
    told = read_back(file);
    fclose(file);
    return told;
}

static const struct {
    const char *name;
    unsigned per_second, networks, each, listed, lines;
} cases[] = {
    {"few are all listed", 10, 2, 5, 10, 0},
    {"none listed", 0, 3, 4, 0, 3},
    {"some", 10, 1, 100, 10, 1},
    {"as many networks as there is room for", 0, EVENT_REFUSALS_NETWORKS, 2, 0,
     EVENT_REFUSALS_NETWORKS},
    {"more networks: one line more", 0, 4 * EVENT_REFUSALS_NETWORKS, 2, 0,
     EVENT_REFUSALS_NETWORKS + 1},
};

Test(event_refusals, all_are_listed_or_counted)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned listed;
        struct told told = refuse(cases[i].per_second, cases[i].networks, cases[i].each, &listed);

        cr_expect_eq(listed, cases[i].listed, "%s: %u listed", cases[i].name, listed);
        cr_expect_eq(told.lines, cases[i].lines, "%s: %u lines", cases[i].name, told.lines);
        cr_expect_eq(listed + told.count, cases[i].networks * cases[i].each, "%s: %u counted",
                     cases[i].name, told.count);
        free(told.text);
    }
}

Test(event_refusals, a_minute_tells_its_network_and_verdicts)
{
    unsigned listed;
    struct told told = refuse(0, 1, 10, &listed);

    cr_expect(strstr(told.text, "\"client\":\"10.0.0.0/24\"") != NULL, "%s", told.text);
    cr_expect(strstr(told.text, "\"minute\":\"1970-01-01T00:10:00.000Z\"") != NULL, "%s",
              told.text);
    cr_expect(strstr(told.text, "\"verdicts\":{\"connection\":5,\"relay-denied\":5}") != NULL, "%s",
              told.text);
    free(told.text);
}
