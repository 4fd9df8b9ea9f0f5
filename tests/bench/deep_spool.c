/* SPDX-License-Identifier: BSD-2-Clause
 *
 * deep_spool DIR COUNT [CUSTOMERS [tried]]: fills an empty spool folder with COUNT small messages
 * of so many customers, one domain each, as workers would, and seals it.  "tried": each message has
 * had one attempt of its own as well.  Made through the writer and the store, so that what is
 * measured afterwards reads what the relay writes.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "spool/spool_store.h"
#include "tests/unit/spool_fixture.h"

#define SESSIONS 200
#define BODY_BYTES 200
#define SPREAD_MS (20 * 3600 * INT64_C(1000)) /* so long ago the first has come */
#define SYNC_EVERY 10000

static struct {
    struct spool_parent parent;
    uint64_t count, customers, started, done;
    int64_t now_ms;
    char *body;
} deep;

static const char prepend[] =
    "Received: from mail.sender.example (mail.sender.example [192.0.2.44])\r\n"
    "\tby relay.example (Postern) with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
    "\tid P001-4KX3T-0B7Q2CF for <rita.recipient@customer.example>;\r\n"
    "\tMon, 24 Nov 2025 10:11:12 +0100\r\n";

static void start_next(void);

static void
on_commit(void *ctx, int rc)
{
    (void)ctx;
    CHECK(rc == 0);
    deep.done++;
    start_next();
}

static void
start_next(void)
{
    uint64_t n = deep.started;
    unsigned customer = (unsigned)(n % deep.customers) + 1;
    struct spool_envelope e = spool_fixture_envelope(n);
    struct iovec body = {deep.body, BODY_BYTES};
    char name[32], domain[64], address[96], sender[96];
    struct spool_recipient recipient = {address, domain, SPOOL_OURS, 0, ""};

    if (n == deep.count)
        return;
    deep.started++;
    snprintf(name, sizeof name, "customer-%05u", customer);
    snprintf(domain, sizeof domain, "customer-%05u.example", customer);
    snprintf(address, sizeof address, "recipient.%llu@%s", (unsigned long long)n % 5000, domain);
    snprintf(sender, sizeof sender, "bounces+%llu@mailing.sender.example", (unsigned long long)n);
    e.received_at_ms = deep.now_ms - SPREAD_MS + (int64_t)(n * SPREAD_MS / deep.count);
    e.ref = ref_make(1, e.received_at_ms, 1, n);
    e.expires_at_ms = clock_retention_end_ms(deep.now_ms, 5);
    e.customer_id = customer;
    e.customer = name;
    e.client_name = "mail.sender.example";
    e.helo = "mail.sender.example";
    e.reverse_path = sender;
    e.reason = "connection to 192.0.2.10:25 refused";
    e.prepend = slice_of(prepend);
    e.recipients = &recipient;
    CHECK(spool_commit_start(deep.parent.writer, &e, &body, 1, on_commit, NULL) != NULL);
}

static void
write_all(int dir_fd)
{
    deep.parent.seal = true;
    spool_parent_begin(&deep.parent, &spool_io_disk, dir_fd);
    for (unsigned i = 0; i < SESSIONS; i++)
        start_next();
    while (deep.done < deep.count)
        spool_parent_turn_for(&deep.parent, 10);
    spool_parent_end(&deep.parent);
    for (uint32_t number = 0; number < deep.parent.next_number; number++)
        (void)!spool_segment_seal(&spool_io_disk, dir_fd,
                                  (struct spool_segment_id){1, deep.parent.epoch, number});
}

/* One attempt of each, as after a night of messages that were deferred one by one.  No checkpoint:
 * the keeper that starts has one to write. */
static void
try_all(const char *dir)
{
    static const char *const replies[] = {
        "451 4.7.1 greylisted, try again in five minutes",
        "452 4.2.2 the mailbox is full",
        "450 4.3.2 too many recipients for now",
    };
    struct spool_message *m = NULL;
    struct spool_store *store;
    uint64_t n = 0;

    CHECK(spool_store_open(&spool_io_disk, dir, SPOOL_STORE_OWNER, &store) == 0);
    while ((m = spool_store_next(store, m)) != NULL) {
        spool_store_attempt(store, m, deep.now_ms - 60000, deep.now_ms + 3600000, false,
                            replies[n % ARRAY_SIZE(replies)]);
        if (++n % SYNC_EVERY == 0)
            CHECK(spool_store_sync(store) == 0);
    }
    CHECK(spool_store_sync(store) == 0);
    spool_store_close(&store);
}

int
main(int argc, char **argv)
{
    bool tried = argc == 5 && strcmp(argv[4], "tried") == 0;
    bool good = argc >= 3 && argc <= 5 && (argc < 5 || tried) &&
                parse_u64(slice_of(argv[2]), &deep.count) == 0;
    int dir_fd = good ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    deep.customers = 100;
    if (dir_fd < 0 || (argc > 3 && parse_u64(slice_of(argv[3]), &deep.customers) != 0) ||
        deep.customers == 0) {
        fprintf(stderr, "usage: deep_spool DIR COUNT [CUSTOMERS [tried]]\n");
        return 2;
    }
    deep.now_ms = clock_wall_ms();
    deep.body = spool_fixture_body(1, BODY_BYTES);
    write_all(dir_fd);
    if (tried)
        try_all(argv[1]);
    free(deep.body);
    printf("messages=%llu segments=%u\n", (unsigned long long)deep.count, deep.parent.next_number);
    return 0;
}
