/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Messages: a real answer with compressed names; cut, pointed into itself, and with every octet
 * changed it says something else or nothing, and is never read beyond its end. What strangers may
 * write into their records (P8: hostile input) is kept in bounds.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "dns/dns_packet.h"

/* acme.test MX 10 mail.acme.test, compressed. */
static const uint8_t mx_answer[] = {0x12, 0x34, 0x81, 0xa0, 0,   1, 0,   1,   0,   0,   0,    0,
                                    4,    'a',  'c',  'm',  'e', 4, 't', 'e', 's', 't', 0,    0,
                                    15,   0,    1,    0xc0, 12,  0, 15,  0,   1,   0,   0,    1,
                                    44,   0,    9,    0,    10,  4, 'm', 'A', 'i', 'l', 0xc0, 12};

static struct dns_reply *
parse_as(const uint8_t *packet, size_t size, const char *name, enum dns_type type)
{
    struct dns_reply *found;
    uint8_t *exact = malloc(size ? size : 1); /* so that a read beyond the end is seen */

    memcpy(exact, packet, size);
    found = dns_packet_parse(exact, size, name, type);
    free(exact);
    return found;
}

static struct dns_reply *
parse(const uint8_t *packet, size_t size)
{
    return parse_as(packet, size, "acme.test", DNS_TYPE_MX);
}

static enum dns_result
result_of(struct dns_reply *reply)
{
    enum dns_result result = reply->result;

    free(reply);
    return result;
}

Test(dns_packet, a_compressed_answer)
{
    struct dns_reply *found = parse(mx_answer, sizeof mx_answer);

    cr_assert_eq(found->result, DNS_OK);
    cr_expect_eq(found->count, 1);
    cr_expect_eq(found->ttl_s, 300);
    cr_expect_eq(found->records[0].preference, 10);
    cr_expect_str_eq(found->records[0].name, "mail.acme.test");
    cr_expect(found->is_authentic);
    cr_expect_not(found->is_alias);
    free(found);
}

Test(dns_packet, cut_anywhere_it_is_nothing)
{
    for (size_t size = 0; size < sizeof mx_answer; size++)
        cr_expect_eq(result_of(parse(mx_answer, size)), DNS_TEMPORARY, "at %zu", size);
}

Test(dns_packet, any_octet_changed_is_survived)
{
    for (size_t i = 0; i < sizeof mx_answer; i++) {
        uint8_t packet[sizeof mx_answer];

        memcpy(packet, mx_answer, sizeof packet);
        for (unsigned value = 0; value < 256; value++) {
            struct dns_reply *found;

            packet[i] = (uint8_t)value;
            found = parse(packet, sizeof packet);
            cr_expect(found->count <= DNS_RECORDS_MAX);
            cr_expect((found->result == DNS_OK) == (found->count > 0), "%zu %u", i, value);
            free(found);
        }
    }
}

Test(dns_packet, a_name_that_points_at_itself)
{
    uint8_t packet[sizeof mx_answer];

    memcpy(packet, mx_answer, sizeof packet);
    packet[sizeof packet - 1] = sizeof packet - 2;
    cr_expect_eq(result_of(parse(packet, sizeof packet)), DNS_NO_DATA); /* the record is left out */
    packet[28] = 27;                                                    /* the owner's */
    cr_expect_eq(result_of(parse(packet, sizeof packet)), DNS_TEMPORARY);
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

/* --- Answers made to order: to one question, of records that all are its name's. */

struct made {
    enum dns_type type;
    unsigned number; /* of the type */
    char name[64];
    uint8_t octets[70000];
    size_t size;
    unsigned count;
};

static void
put_u16(struct made *m, unsigned value)
{
    m->octets[m->size++] = (uint8_t)(value >> 8);
    m->octets[m->size++] = (uint8_t)value;
}

static struct made *
made_new(const char *name, enum dns_type type, unsigned number)
{
    static struct made made;
    uint8_t query[DNS_QUERY_SIZE];
    size_t size;

    memset(&made, 0, sizeof made);
    made.type = type;
    made.number = number;
    snprintf(made.name, sizeof made.name, "%s", name);
    cr_assert_eq(dns_packet_query(name, type, 1, query, &size), ERR_OK);
    made.size = size - 11; /* without OPT */
    memcpy(made.octets, query, made.size);
    made.octets[2] = 0x81;
    made.octets[3] = 0x80;
    made.octets[11] = 0;
    return &made;
}

static void
add(struct made *m, unsigned number, const void *data, size_t size)
{
    put_u16(m, 0xc00c);
    put_u16(m, number);
    put_u16(m, 1);
    put_u16(m, 0);
    put_u16(m, 300);
    put_u16(m, (unsigned)size);
    memcpy(m->octets + m->size, data, size);
    m->size += size;
    m->count++;
    m->octets[6] = (uint8_t)(m->count >> 8);
    m->octets[7] = (uint8_t)m->count;
}

static struct dns_reply *
parse_made(const struct made *m)
{
    return parse_as(m->octets, m->size, m->name, m->type);
}

Test(dns_packet, the_strings_of_a_text_are_joined_with_any_octet_in_them)
{
    static const struct {
        const char *name;
        struct slice data;
        bool is_left_out;
        struct slice text;
    } cases[] = {
        {"one", {"\3abc", 4}, false, {"abc", 3}},
        {"two and none", {"\2ab\0\1c", 6}, false, {"abc", 3}},
        {"empty", {"\0", 1}, false, {"", 0}},
        {"NUL", {"\3a\0b\1\0", 6}, false, {"a\0b\0", 4}},
        {"beyond the record", {"\4abc", 4}, true, {NULL, 0}},
        {"no string", {"", 0}, true, {NULL, 0}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct made *m = made_new("acme.test", DNS_TYPE_TXT, 16);
        struct dns_reply *found;

        add(m, 16, cases[i].data.p, cases[i].data.n);
        add(m, 16, "\4last", 5);
        found = parse_made(m);
        cr_assert_eq(found->count, cases[i].is_left_out ? 1 : 2, "%s: %u", cases[i].name,
                     found->count);
        if (!cases[i].is_left_out)
            cr_expect(slice_equal(found->records[0].data, cases[i].text), "%s", cases[i].name);
        cr_expect(slice_equal(found->records[found->count - 1].data, slice_of("last")), "%s",
                  cases[i].name);
        cr_expect_str_eq(found->records[0].name, "");
        free(found);
    }
}

Test(dns_packet, names_of_addresses)
{
    static const struct {
        const char *name;
        struct slice data;
        const char *wanted;
        bool is_root;
    } cases[] = {
        {"host", {"\4MAIL\4acme\4test", 16}, "mail.acme.test", false},
        {"compressed", {"\1a\300\14", 4}, "a.acme.test", false},
        {"root", {"", 1}, "", true},
        {"control octets", {"\6a\r\nRCP\4test", 13}, "", false},
        {"a dot in a label", {"\3a.b\4test", 10}, "", false},
        {"high octets", {"\2\303\244\4test", 9}, "", false},
        {"space", {"\3a b\4test", 10}, "", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct made *m = made_new("acme.test", DNS_TYPE_PTR, 12);
        struct dns_reply *found;

        add(m, 12, cases[i].data.p, cases[i].data.n);
        found = parse_made(m);
        cr_assert_eq(found->count, 1, "%s", cases[i].name);
        cr_expect_str_eq(found->records[0].name, cases[i].wanted, "%s: %s", cases[i].name,
                         found->records[0].name);
        cr_expect_eq(found->records[0].is_root, cases[i].is_root, "%s", cases[i].name);
        free(found);
    }
}

Test(dns_packet, what_is_kept_of_many_records)
{
    static const struct {
        const char *name;
        enum dns_type type;
        unsigned number;
        size_t size; /* of a record */
        unsigned sent, kept;
        bool is_refused;
    } cases[] = {
        {"no text", DNS_TYPE_TXT, 16, 2, 0, 0, false},
        {"64 texts", DNS_TYPE_TXT, 16, 200, 64, 64, false},
        {"65 texts", DNS_TYPE_TXT, 16, 200, 65, 0, true},
        {"as much text as may be", DNS_TYPE_TXT, 16, 256, 64, 64, false},
        {"more text", DNS_TYPE_TXT, 16, 260, 64, 0, true},
        {"65 of TLSA", DNS_TYPE_TLSA, 52, 35, 65, 0, true},
        {"256 addresses", DNS_TYPE_A, 1, 4, 256, 64, false},
        {"257 addresses: no answer to our questions", DNS_TYPE_A, 1, 4, 257, 0, true},
        {"100 names", DNS_TYPE_PTR, 12, 2, 100, 64, false},
    };
    uint8_t data[260] = {0};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct made *m = made_new("acme.test", cases[i].type, cases[i].number);
        enum dns_result wanted = cases[i].is_refused ? DNS_TEMPORARY
                                 : cases[i].kept > 0 ? DNS_OK
                                                     : DNS_NO_DATA;
        struct dns_reply *found;

        memset(data, 0, sizeof data);
        if (cases[i].type == DNS_TYPE_TXT) { /* one string, or one of 255 octets and the rest */
            data[0] = (uint8_t)(cases[i].size > 256 ? 255 : cases[i].size - 1);
            data[256] = (uint8_t)(cases[i].size > 256 ? cases[i].size - 257 : 0);
        }
        if (cases[i].type == DNS_TYPE_PTR)
            memcpy(data, "\300\14", 2);
        for (unsigned n = 0; n < cases[i].sent; n++)
            add(m, cases[i].number, data, cases[i].size);
        found = parse_made(m);
        cr_expect_eq(found->result, wanted, "%s: %d", cases[i].name, found->result);
        cr_expect_eq(found->count, cases[i].kept, "%s: %u", cases[i].name, found->count);
        free(found);
    }
}

Test(dns_packet, an_answer_costs_what_it_holds)
{
    struct made *m = made_new("acme.test", DNS_TYPE_A, 1);
    struct dns_reply *found;

    add(m, 1, "\300\0\2\1", 4);
    found = parse_made(m);
    cr_expect_eq(found->count, 1);
    cr_expect(found->size_bytes <= 128, "%zu", found->size_bytes);
    free(found);
}

Test(dns_packet, an_alias_is_told_of)
{
    struct made *m = made_new("www.acme.test", DNS_TYPE_A, 1);
    struct dns_reply *found;

    add(m, 5, "\4acme\4test", 11);
    m->octets[m->size++] = 4; /* acme.test A 192.0.2.1 */
    memcpy(m->octets + m->size, "acme\4test\0\0\1\0\1\0\0\1\54\0\4\300\0\2\1", 24);
    m->size += 24;
    m->octets[7] = 2;
    found = parse_made(m);
    cr_expect_eq(found->result, DNS_OK);
    cr_expect(found->is_alias);
    free(found);
    m->octets[7] = 1;
    found = parse_made(m);
    cr_expect_eq(found->result, DNS_NO_DATA);
    cr_expect(found->is_alias);
    free(found);
}

Test(dns_packet, odd_octets_in_the_name_that_is_asked_for)
{
    static const char *const names[] = {"a b.acme.test", "\"q\".acme.test", "a\\b.acme.test",
                                        "\303\244.acme.test", "\1.acme.test"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct made *m = made_new(names[i], DNS_TYPE_A, 1);

        add(m, 1, "\300\0\2\1", 4);
        cr_expect_eq(result_of(parse_made(m)), DNS_OK, "%zu", i);
    }
}
