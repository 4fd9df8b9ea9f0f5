/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client's address in the topmost Received field: what MTAs write, what clients would like to
 * be found in it.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "smtp/smtp_origin.h"

#define REST " by filter.isp.example with ESMTP id 4711; Mon, 30 Nov 2026 10:00:00 +0100\r\n"

static const struct {
    const char *name, *header, *want; /* NULL: none */
} table[] = {
    {"postfix",
     "Received: from mail.example (mx.example [192.0.2.1])\r\n\tby filter.isp.example (Postfix) "
     "with ESMTPS\r\n",
     "192.0.2.1"},
    {"postfix, no name", "Received: from mail.example (unknown [192.0.2.1])" REST, "192.0.2.1"},
    {"postfix, IPv6", "Received: from mail.example (mx.example [IPv6:2001:db8::1])" REST,
     "2001:db8::1"},
    {"sendmail", "Received: from mail.example (mx.example [192.0.2.1] (may be forged))" REST,
     "192.0.2.1"},
    {"exim", "Received: from mx.example ([192.0.2.1] helo=mail.example)" REST, "192.0.2.1"},
    {"exim, port", "Received: from mx.example ([192.0.2.1]:41234 helo=mail.example)" REST,
     "192.0.2.1"},
    {"exim, no name", "Received: from [192.0.2.1] (helo=mail.example)" REST, "192.0.2.1"},
    {"exim, literal", "Received: from [192.0.2.1] (port=4711 helo=[198.51.100.9])" REST,
     "192.0.2.1"},
    {"exchange", "Received: from mx.example (192.0.2.1)" REST, "192.0.2.1"},
    {"exchange, IPv6", "Received: from mx.example (2001:db8::1)" REST, "2001:db8::1"},
    {"qmail", "Received: from unknown (HELO mail.example) (192.0.2.1)" REST, "192.0.2.1"},
    {"only a literal", "Received: from [192.0.2.1]" REST, "192.0.2.1"},
    {"other fields first",
     "X-Spam: no\r\n folded\r\nSubject: received: from\r\nReceived: from a (b [192.0.2.1])" REST,
     "192.0.2.1"},
    {"the topmost of two",
     "Received: from a (b [192.0.2.1])" REST "Received: from c (d [192.0.2.2])" REST, "192.0.2.1"},
    {"any case", "RECEIVED: FROM a (b [192.0.2.1]) BY c\r\n", "192.0.2.1"},
    /* What a client says of itself. */
    {"HELO is a literal", "Received: from [198.51.100.9] (mx.example [192.0.2.1])" REST,
     "192.0.2.1"},
    {"HELO has a comment", "Received: from x([198.51.100.9]) (mx.example [192.0.2.1])" REST,
     "192.0.2.1"},
    {"HELO opens one", "Received: from x(y (mx.example [192.0.2.1])" REST, NULL},
    {"qmail, HELO is an address", "Received: from unknown (HELO 198.51.100.9) (192.0.2.1)" REST,
     "192.0.2.1"},
    {"exim, HELO is an address", "Received: from mx.example ([192.0.2.1] helo=198.51.100.9)" REST,
     "192.0.2.1"},
    {"HELO ends the clause", "Received: from x([198.51.100.9])by (mx.example [192.0.2.1])" REST,
     "192.0.2.1"},
    {"exim, HELO has an address in it", "Received: from [192.0.2.1] (helo=x,[198.51.100.9])" REST,
     "192.0.2.1"},
    {"exim, HELO has a comment in it", "Received: from [192.0.2.1] (helo=x;(198.51.100.9))" REST,
     "192.0.2.1"},
    {"two addresses", "Received: from a (b [192.0.2.1] [198.51.100.9])" REST, NULL},
    {"HELO says by", "Received: from x by y (mx.example [192.0.2.1])" REST, NULL},
    /* Nothing to find. */
    {"no field", "Subject: from a (b [192.0.2.1]) by c\r\n", NULL},
    {"in the body", "Subject: x\r\n\r\nReceived: from a (b [192.0.2.1])" REST, NULL},
    {"local", "Received: from localhost (localhost [127.0.0.1])" REST, NULL},
    {"private", "Received: from a (b [10.1.2.3])" REST, NULL},
    {"IPv6 local", "Received: from a (b [IPv6:::1])" REST, NULL},
    {"by alone", "Received: by filter.isp.example (Postfix, from userid 0)\r\n", NULL},
    {"no address", "Received: from a (b)" REST, NULL},
    {"network", "Received: from a (192.0.2.0/24)" REST, NULL},
    {"empty", "", NULL},
    {"not a header", "hello\r\n", NULL},
};

static const char *
found(const char *header, size_t cut, char text[INET_ENDPOINT_SIZE])
{
    struct smtp_origin origin;
    struct inet_endpoint client;
    size_t n = strlen(header);

    smtp_origin_init(&origin);
    smtp_origin_feed(&origin, (struct slice){header, cut});
    smtp_origin_feed(&origin, (struct slice){header + cut, n - cut});
    smtp_origin_feed(&origin, SLICE("\r\nbody\r\n"));
    return smtp_origin_client(&origin, &client) ? inet_address_text(&client, text) : "none";
}

Test(smtp_origin, P4_what_mtas_write_and_what_clients_say)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        for (size_t cut = 0; cut <= strlen(table[i].header); cut++) {
            char text[INET_ENDPOINT_SIZE];

            cr_expect_str_eq(found(table[i].header, cut, text),
                             table[i].want ? table[i].want : "none", "%s, cut at %zu",
                             table[i].name, cut);
        }
}

Test(smtp_origin, too_long_is_none)
{
    char header[3000], text[INET_ENDPOINT_SIZE];

    snprintf(header, sizeof header, "Received: from %0*d (b [192.0.2.1])" REST, 1500, 0);
    cr_expect_str_eq(found(header, 10, text), "none");
    snprintf(header, sizeof header, "Received: from %0*d (b [192.0.2.1])" REST, 800, 0);
    cr_expect_str_eq(found(header, 10, text), "192.0.2.1");
}
