/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_spool DIR [DAYS]: writes three known messages into an empty spool folder, as a worker would
 * (DAYS ago), so that what looks at a spool can be tested without any daemon.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "unit/spool_fixture.h"

static struct spool_recipient first[] = {
    {.address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS}};
static struct spool_recipient second[] = {
    {.address = "Olga@beta.example", .domain = "beta.example", .side = SPOOL_OURS},
    {.address = "otto@sub.beta.example", .domain = "sub.beta.example", .side = SPOOL_OURS}};

static const struct {
    int64_t age_ms;
    const char *customer, *reverse_path;
    struct spool_recipient *recipients;
    unsigned count;
    uint32_t flags;
} messages[] = {
    {3 * 3600000, "acme", "sam@sender.example", first, 1, 0},
    {3600000, "beta", "", second, 2, SPOOL_FLAG_UNKNOWN},
    {60000, "acme", "Sue@sender.example", first, 1, SPOOL_FLAG_VERIFIED},
};

static void
write_one(struct spool_parent *parent, unsigned i, int64_t now_ms)
{
    struct spool_envelope e = spool_fixture_envelope(i + 1);
    struct spool_outcome outcome = {.done = false};
    struct iovec body = {.iov_base = spool_fixture_body(i, 2000), .iov_len = 2000};
    char id[REF_SIZE];

    e.ref = ref_make(1, now_ms - messages[i].age_ms, 1, i + 1);
    e.received_at_ms = now_ms - messages[i].age_ms;
    e.expires_at_ms = clock_retention_end_ms(e.received_at_ms, 5);
    e.customer = messages[i].customer;
    e.reverse_path = messages[i].reverse_path;
    e.recipients = messages[i].recipients;
    e.recipient_count = messages[i].count;
    e.flags = messages[i].flags;
    CHECK(spool_commit_start(parent->writer, &e, &body, 1, spool_fixture_on_done, &outcome) !=
          NULL);
    CHECK(spool_parent_turn_until(parent, &outcome.done) && outcome.rc == 0);
    free(body.iov_base);
    printf("%s\n", ref_text(e.ref, id));
}

int
main(int argc, char **argv)
{
    struct spool_parent parent = {.seal = false};
    uint64_t days = 0;
    bool good = argc == 2 || (argc == 3 && parse_u64(slice_of(argv[2]), &days) == 0);
    int dir_fd = good ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (dir_fd < 0) {
        fprintf(stderr, "usage: make_spool DIR [DAYS]\n");
        return 2;
    }
    spool_parent_begin(&parent, &spool_io_disk, dir_fd);
    for (unsigned i = 0; i < ARRAY_SIZE(messages); i++)
        write_one(&parent, i, clock_wall_ms() - (int64_t)days * 86400000);
    spool_parent_end(&parent);
    return 0;
}
