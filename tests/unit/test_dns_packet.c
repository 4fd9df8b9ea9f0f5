/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Messages: a real answer with compressed names; cut, pointed into itself, and with every octet
 * changed it says something else or nothing, and is never read beyond its end.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dns/dns_packet.h"

/* acme.test MX 10 mail.acme.test, compressed. */
static const uint8_t mx_answer[] = {0x12, 0x34, 0x81, 0xa0, 0,   1, 0,   1,   0,   0,   0,    0,
                                    4,    'a',  'c',  'm',  'e', 4, 't', 'e', 's', 't', 0,    0,
                                    15,   0,    1,    0xc0, 12,  0, 15,  0,   1,   0,   0,    1,
                                    44,   0,    9,    0,    10,  4, 'm', 'A', 'i', 'l', 0xc0, 12};

static struct dns_records
parse(const uint8_t *packet, size_t size)
{
    struct dns_records found;
    uint8_t *exact = malloc(size ? size : 1); /* so that a read beyond the end is seen */

    memcpy(exact, packet, size);
    dns_packet_parse(exact, size, "acme.test", DNS_TYPE_MX, &found);
    free(exact);
    return found;
}

Test(dns_packet, a_compressed_answer)
{
    struct dns_records found = parse(mx_answer, sizeof mx_answer);

    cr_assert_eq(found.result, DNS_OK);
    cr_expect_eq(found.count, 1);
    cr_expect_eq(found.ttl_s, 300);
    cr_expect_eq(found.records[0].preference, 10);
    cr_expect_str_eq(found.records[0].name, "mail.acme.test");
    cr_expect(found.is_authentic);
}

Test(dns_packet, cut_anywhere_it_is_nothing)
{
    for (size_t size = 0; size < sizeof mx_answer; size++)
        cr_expect_eq(parse(mx_answer, size).result, DNS_TEMPORARY, "at %zu", size);
}

Test(dns_packet, any_octet_changed_is_survived)
{
    for (size_t i = 0; i < sizeof mx_answer; i++) {
        uint8_t packet[sizeof mx_answer];

        memcpy(packet, mx_answer, sizeof packet);
        for (unsigned value = 0; value < 256; value++) {
            struct dns_records found;

            packet[i] = (uint8_t)value;
            found = parse(packet, sizeof packet);
            cr_expect(found.count <= DNS_RECORDS_MAX);
            cr_expect((found.result == DNS_OK) == (found.count > 0), "%zu %u", i, value);
        }
    }
}

Test(dns_packet, a_name_that_points_at_itself)
{
    uint8_t packet[sizeof mx_answer];

    memcpy(packet, mx_answer, sizeof packet);
    packet[sizeof packet - 1] = sizeof packet - 2;
    cr_expect_eq(parse(packet, sizeof packet).result, DNS_NO_DATA); /* the record is left out */
    packet[28] = 27;                                                /* the owner's */
    cr_expect_eq(parse(packet, sizeof packet).result, DNS_TEMPORARY);
}

Test(dns_packet, a_query)
{
    static const uint8_t wanted[] = {0x12, 0x34, 0x01, 0x20, 0,    1,   0,   0, 0, 0,  0, 1,
                                     1,    'a',  4,    't',  'e',  's', 't', 0, 0, 28, 0, 1,
                                     0,    0,    41,   0x04, 0xd0, 0,   0,   0, 0, 0,  0};
    uint8_t packet[DNS_QUERY_SIZE];
    char longest[300];
    size_t size;

    cr_assert_eq(dns_packet_query("a.test", DNS_TYPE_AAAA, 0x1234, packet, &size), ERR_OK);
    cr_expect_eq(size, sizeof wanted);
    cr_expect_arr_eq(packet, wanted, sizeof wanted);
    memset(longest, 'a', 63);
    cr_expect_eq(dns_packet_query("a..test", DNS_TYPE_A, 1, packet, &size), ERR_SYNTAX);
    cr_expect_eq(dns_packet_query("", DNS_TYPE_A, 1, packet, &size), ERR_SYNTAX);
    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = i % 64 == 63 ? '.' : 'a';
    longest[253] = '\0';
    cr_expect_eq(dns_packet_query(longest, DNS_TYPE_A, 1, packet, &size), ERR_OK);
    longest[253] = 'a';
    longest[255] = '\0';
    cr_expect_eq(dns_packet_query(longest, DNS_TYPE_A, 1, packet, &size), ERR_SYNTAX);
    longest[64] = 'a';
    longest[63] = 'a';
    longest[100] = '\0';
    cr_expect_eq(dns_packet_query(longest, DNS_TYPE_A, 1, packet, &size), ERR_SYNTAX);
}
