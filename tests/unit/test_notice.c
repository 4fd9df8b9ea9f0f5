/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P4: who is told of mail that cannot be delivered, and what.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "notice/notice_dsn.h"
#include "smtp/smtp_path.h"
#include "spool/spool_own.h"
#include "spool_fixture.h"

#define HOUR_MS (3600 * INT64_C(1000))

static struct config config = {
    .hostname = (char[]){"relay.example"},
    .node = 1,
    .outbound_route = (char[]){"mx"},
    .outbound_tls = (char[]){"may"},
    .notice_from = (char[]){""},
    .notices_per_sender = 2,
    .notices_per_domain = 3,
    .notices_per_hour = 4,
    .notice_retention_ms = 48 * HOUR_MS,
};

static struct spool_recipient recipients[] = {
    {.address = "rita@acme.example",
     .domain = "acme.example",
     .dsn_orcpt = "rfc822;r+2Bx@a.example"},
    {.address = "ron@acme.example", .domain = "acme.example", .dsn_orcpt = ""},
};

static struct spool_envelope
verified(void)
{
    return (struct spool_envelope){
        .ref = {.node = 1, .minute = 1, .number = 1},
        .reverse_path = "sam@sender.example",
        .flags = SPOOL_FLAG_VERIFIED,
        .prepend = SLICE("Received: from here\r\n"),
        .customer = "acme",
        .client_name = "",
        .helo = "",
        .reason = "",
        .dsn_envid = "",
        .recipients = recipients,
        .recipient_count = 2,
    };
}

static const struct notice_end both[] = {{0, SPOOL_END_REFUSED, "550 5.1.1 no such user"},
                                         {1, SPOOL_END_EXPIRED, "connection refused"}};

static enum notice_verdict
judge(const struct spool_envelope *e)
{
    static struct notice_rate rate;

    notice_rate_init(&rate);
    return notice_judge(&config, e, both, 2, &rate, HOUR_MS);
}

Test(notice, P4_only_a_verified_sender_that_wants_it_is_told)
{
    static const struct {
        const char *name, *reverse_path;
        uint32_t flags;
        uint8_t notify[2];
        enum notice_verdict verdict;
    } cases[] = {
        {"verified", "sam@sender.example", SPOOL_FLAG_VERIFIED, {0, 0}, NOTICE_SEND},
        {"not verified", "sam@sender.example", 0, {0, 0}, NOTICE_UNVERIFIED},
        {"null", "", SPOOL_FLAG_VERIFIED, {0, 0}, NOTICE_NULL_SENDER},
        {"spam", "sam@sender.example", SPOOL_FLAG_VERIFIED | SPOOL_FLAG_SPAM, {0, 0}, NOTICE_SPAM},
        {"a notice",
         "sam@sender.example",
         SPOOL_FLAG_VERIFIED | SPOOL_FLAG_OWN,
         {0, 0},
         NOTICE_OWN},
        {"NEVER", "sam@sender.example", SPOOL_FLAG_VERIFIED, {1, 1}, NOTICE_NOT_WANTED},
        {"SUCCESS and DELAY alone",
         "sam@sender.example",
         SPOOL_FLAG_VERIFIED,
         {2, 10},
         NOTICE_NOT_WANTED},
        {"one of two", "sam@sender.example", SPOOL_FLAG_VERIFIED, {1, 4}, NOTICE_SEND},
        {"unknown to it",
         "sam@sender.example",
         SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_KNOWN,
         {0, 0},
         NOTICE_UNVERIFIED},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spool_envelope e = verified();

        e.reverse_path = cases[i].reverse_path;
        e.flags = cases[i].flags;
        recipients[0].dsn_notify = cases[i].notify[0];
        recipients[1].dsn_notify = cases[i].notify[1];
        cr_expect_eq(judge(&e), cases[i].verdict, "%s: %s", cases[i].name, notice_why(judge(&e)));
    }
    recipients[0].dsn_notify = recipients[1].dsn_notify = 0;
}

Test(notice, without_a_route_none_is_sent)
{
    struct spool_envelope e = verified();

    config.outbound_route = (char[]){""};
    cr_expect_eq(judge(&e), NOTICE_NO_ROUTE);
    cr_expect_str_eq(notice_why(NOTICE_NO_ROUTE), "no outbound-route");
}

Test(notice, P4_bounded_for_address_domain_and_node)
{
    static struct notice_rate rate;

    notice_rate_init(&rate);
    cr_expect(notice_rate_take(&rate, &config, "a@one.example", HOUR_MS));
    cr_expect(notice_rate_take(&rate, &config, "A@One.example", HOUR_MS));
    cr_expect_not(notice_rate_take(&rate, &config, "a@one.example", HOUR_MS), "two an address");
    cr_expect(notice_rate_take(&rate, &config, "b@one.example", HOUR_MS));
    cr_expect_not(notice_rate_take(&rate, &config, "c@ONE.example", HOUR_MS), "three a domain");
    cr_expect(notice_rate_take(&rate, &config, "a@two.example", HOUR_MS));
    cr_expect_not(notice_rate_take(&rate, &config, "a@three.example", HOUR_MS), "four in all");
    cr_expect_eq(rate.withheld, 3);
    cr_expect(notice_rate_take(&rate, &config, "a@one.example", 2 * HOUR_MS), "another hour");
}

/* --- The notice itself, from a message of the spool. */

#define HEADER "Subject: hello\r\nFrom: sam@sender.example\r\n"

static void
make_notice(uint8_t dsn_ret, size_t body_bytes, char *dst, size_t dst_size)
{
    int dir_fd = spool_fixture_dir();
    struct spool_own *own = spool_own_new(1);
    struct spool_envelope e = verified();
    struct spool_store *store;
    struct notice notice;
    struct buf content;
    uint32_t number = 0;

    buf_init(&content, 0);
    buf_add_text(&content, HEADER "\r\nsecret body\r\n");
    while (buf_size(&content) < body_bytes)
        buf_add_text(&content, "and more of it, for as long as it takes to be a large message\r\n");
    e.expires_at_ms = clock_wall_ms() + HOUR_MS;
    e.dsn_ret = dsn_ret;
    e.dsn_envid = "QQ+2B1";
    spool_own_add(own, &e, buf_slice(&content)); /* as good as a worker's, for what is read here */
    cr_assert_eq(spool_own_write(own, &spool_io_disk, dir_fd, &number), 0);
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, SPOOL_STORE_READ, &store), 0);
    cr_assert_eq(notice_dsn_make(&config, store, spool_store_next(store, NULL), &e, both, 2,
                                 clock_wall_ms(), &notice),
                 NOTICE_SEND);
    cr_expect_str_eq(notice.envelope.reverse_path, "", "the null reverse-path");
    cr_expect_str_eq(notice.recipient.address, "sam@sender.example");
    cr_expect_str_eq(notice.recipient.domain, "sender.example");
    cr_expect_eq(notice.recipient.dsn_notify, SMTP_DSN_NOTIFY_NEVER);
    cr_expect(ref_equal(notice.envelope.about.ref, e.ref));
    cr_expect_eq(notice.envelope.about.end_count, 2);
    cr_expect_lt(buf_size(&notice.content), dst_size);
    snprintf(dst, dst_size, "%s", buf_text(&notice.content));
    notice_fini(&notice);
    spool_store_close(&store);
    spool_own_free(&own);
    buf_fini(&content);
    spool_fixture_clean(dir_fd);
}

static const struct {
    const char *address;
    bool is_utf8;
} addresses[] = {
    {"it@acme.example", false},
    {"\xc3\xbc@acme.example", true},
};

Test(notice, an_address_beyond_ascii_needs_smtputf8)
{
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct notice n;

        cr_assert(notice_begin(&n, &config, addresses[i].address, HOUR_MS));
        cr_expect_eq((n.envelope.flags & SPOOL_FLAG_SMTPUTF8) != 0, addresses[i].is_utf8, "%s",
                     addresses[i].address);
        cr_expect_eq(n.envelope.body == SMTP_BODY_8BITMIME, addresses[i].is_utf8);
        cr_expect_eq(n.envelope.flags & SPOOL_FLAG_OWN, SPOOL_FLAG_OWN);
        notice_fini(&n);
    }
}

Test(notice, what_is_in_it)
{
    static char text[512 * 1024];

    make_notice(SMTP_DSN_RET_NONE, 0, text, sizeof text);
    cr_expect(strstr(text, "Auto-Submitted: auto-replied\r\n"));
    cr_expect(strstr(text, "From: Mail Delivery System <MAILER-DAEMON@relay.example>\r\n"));
    cr_expect(strstr(text, "Original-Envelope-Id: QQ+1\r\n"));
    cr_expect(strstr(text, "Original-Recipient: rfc822; r+x@a.example\r\n"));
    cr_expect(strstr(text, "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    cr_expect(strstr(text, "Final-Recipient: rfc822; ron@acme.example\r\nAction: failed\r\n"
                           "Status: 5.4.7\r\n"));
    cr_expect_null(strstr(text, "connection refused"), "that speaks of the customer's server");
    cr_expect(strstr(text, "Received: from here\r\n" HEADER), "our lines stand on top");
    cr_expect_null(strstr(text, "secret body"), "headers only");
}

Test(notice, the_whole_message_if_it_is_wanted_and_small)
{
    static char text[512 * 1024];

    make_notice(SMTP_DSN_RET_FULL, 20000, text, sizeof text);
    cr_expect(strstr(text, "Content-Type: message/rfc822\r\n"));
    cr_expect(strstr(text, "secret body"));
    make_notice(SMTP_DSN_RET_HDRS, 20000, text, sizeof text);
    cr_expect_null(strstr(text, "secret body"));
    make_notice(SMTP_DSN_RET_FULL, 200000, text, sizeof text);
    cr_expect_null(strstr(text, "secret body"), "a large one is not");
    cr_expect(strstr(text, HEADER));
}
