/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A reader with a place in the message and a flag that stays set once anything did not fit: so each
 * step is plain, and only the end asks whether all went well.  Names are compared as text in lower
 * case, odd octets written as \ddd (RFC 4343).
 */
#include "dns/dns_packet.h"

#include <stdio.h>
#include <stdlib.h>

#define HEADER_SIZE 12
#define TYPE_CNAME 5
#define TYPE_SOA 6
#define TYPE_OPT 41
#define CLASS_IN 1
#define FLAG_RESPONSE 0x8000
#define FLAG_TRUNCATED 0x0200
#define FLAG_RECURSION 0x0100
#define FLAG_AUTHENTIC 0x0020
#define RCODE_MASK 0x000f
#define RCODE_NAME 3
#define ALIASES_MAX 8
#define POINTERS_MAX 64
#define WIRE_NAME_MAX 255
#define NAME_TEXT_SIZE (WIRE_NAME_MAX * 4) /* every octet may need four characters */
#define ANSWERS_MAX 256                    /* looked at; more is no answer to our questions */

/* --- Reading. */

struct reader {
    const uint8_t *packet;
    size_t size, at;
    bool failed;
};

static unsigned
read_u8(struct reader *r)
{
    if (r->at >= r->size) {
        r->failed = true;
        return 0;
    }
    return r->packet[r->at++];
}

static unsigned
read_u16(struct reader *r)
{
    unsigned high = read_u8(r);

    return high << 8 | read_u8(r);
}

static uint32_t
read_u32(struct reader *r)
{
    uint32_t high = read_u16(r);

    return high << 16 | read_u16(r);
}

static void
skip(struct reader *r, size_t n)
{
    if (n > r->size - r->at)
        r->failed = true;
    else
        r->at += n;
}

static size_t
add_octet(char *text, size_t n, unsigned octet)
{
    if (octet >= 'A' && octet <= 'Z')
        octet += 'a' - 'A';
    if (octet > ' ' && octet < 0x7f && octet != '.' && octet != '\\') {
        text[n] = (char)octet;
        return n + 1;
    }
    return n + (size_t)snprintf(text + n, 5, "\\%03u", octet);
}

/* A name that may go on elsewhere in the message (RFC 1035 4.1.4); the reader stands behind it. */
static void
read_name(struct reader *r, char text[NAME_TEXT_SIZE])
{
    struct reader at = *r;
    unsigned jumps = 0, wire = 0;
    size_t n = 0;

    for (;;) {
        unsigned length = read_u8(&at);

        if ((length & 0xc0) == 0xc0) {
            size_t target = (length & 0x3fu) << 8 | read_u8(&at);

            if (jumps++ == 0)
                r->at = at.at;
            at.at = target;
            at.failed = at.failed || jumps > POINTERS_MAX;
        } else if (length > 63 || (wire += length + 1) > WIRE_NAME_MAX) {
            at.failed = true;
        } else if (length > 0) {
            if (n > 0)
                text[n++] = '.';
            while (length-- > 0)
                n = add_octet(text, n, read_u8(&at));
        } else
            break;
        if (at.failed)
            break;
    }
    text[n] = '\0';
    if (jumps == 0)
        r->at = at.at;
    r->failed = r->failed || at.failed;
}

/* --- What has been gathered of an answer, before it is known how much that is. */

struct gathered {
    struct dns_reply head;
    struct dns_record records[DNS_RECORDS_MAX];
    char data[DNS_DATA_MAX];
    size_t used;
    bool is_over; /* there was more than there is room for */
};

static char *
take_room(struct gathered *g, size_t size)
{
    char *room = g->data + g->used;

    if (size > sizeof g->data - g->used) {
        g->is_over = true;
        return NULL;
    }
    g->used += size;
    return room;
}

static struct dns_reply *
packed(const struct gathered *g)
{
    size_t records_size = g->head.count * sizeof g->records[0];
    size_t size = sizeof(struct dns_reply) + records_size + g->used;
    struct dns_reply *reply = mem_alloc(size);
    struct dns_record *records = (struct dns_record *)(reply + 1);
    char *data = (char *)records + records_size;

    *reply = g->head;
    reply->size_bytes = size;
    reply->records = records;
    memcpy(records, g->records, records_size);
    memcpy(data, g->data, g->used);
    for (unsigned i = 0; i < reply->count; i++) {
        struct dns_record *record = &records[i];

        if (record->data.p != NULL)
            record->data.p = data + (record->data.p - g->data);
        record->name = record->name != NULL ? data + (record->name - g->data) : "";
    }
    return reply;
}

/* --- The types: how the data of one record is read; false: it is of no use. */

static bool
read_ipv4(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    (void)g;
    record->address.family = 4;
    for (unsigned i = 0; i < 4; i++)
        record->address.addr[i] = (uint8_t)read_u8(r);
    return length == 4;
}

static bool
read_ipv6(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    (void)g;
    record->address.family = 6;
    for (unsigned i = 0; i < 16; i++)
        record->address.addr[i] = (uint8_t)read_u8(r);
    return length == 16;
}

static bool
is_host(const char *name)
{
    return name[0] != '\0' && strlen(name) < INET_DOMAIN_SIZE &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name);
}

static bool
read_host(struct reader *r, struct gathered *g, struct dns_record *record)
{
    char name[NAME_TEXT_SIZE], *kept;
    size_t size;

    read_name(r, name);
    record->is_root = name[0] == '\0';
    size = strlen(name) + 1;
    kept = take_room(g, size);
    if (kept == NULL)
        return false;
    memcpy(kept, name, size);
    if (is_host(name))
        record->name = kept;
    else
        record->data = (struct slice){kept, size - 1};
    return true;
}

static bool
read_mx(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    record->preference = (uint16_t)read_u16(r);
    return length > 2 && read_host(r, g, record);
}

static bool
read_ptr(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    return length > 0 && read_host(r, g, record);
}

static bool
read_text(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    char *text = take_room(g, length);
    size_t n = 0, end = r->at + length;

    while (text != NULL && r->at < end && !r->failed)
        for (unsigned left = read_u8(r); left > 0 && !r->failed; left--)
            text[n++] = (char)read_u8(r);
    if (text == NULL || length == 0)
        return false;
    g->used -= length - n; /* the lengths are not kept */
    record->data = (struct slice){text, n};
    return true;
}

static bool
read_raw(struct reader *r, size_t length, struct gathered *g, struct dns_record *record)
{
    char *data = take_room(g, length);

    for (size_t i = 0; data != NULL && i < length; i++)
        data[i] = (char)read_u8(r);
    record->data = (struct slice){data, length};
    return length > 0 && data != NULL;
}

static const struct type {
    unsigned number;    /* in messages */
    bool has_name;      /* in its data, which may go on elsewhere in the message */
    bool is_whole_only; /* a part of the records is worse than none */
    bool (*read)(struct reader *r, size_t length, struct gathered *g, struct dns_record *record);
} types[] = {
    [DNS_TYPE_A] = {1, false, false, read_ipv4},  [DNS_TYPE_AAAA] = {28, false, false, read_ipv6},
    [DNS_TYPE_MX] = {15, true, false, read_mx},   [DNS_TYPE_TXT] = {16, false, true, read_text},
    [DNS_TYPE_PTR] = {12, true, false, read_ptr}, [DNS_TYPE_TLSA] = {52, false, true, read_raw},
};
_Static_assert(ARRAY_SIZE(types) == DNS_TYPE_COUNT, "each type has its row");

/* --- The question. */

static size_t
add_u16(uint8_t *dst, size_t n, unsigned value)
{
    dst[n] = (uint8_t)(value >> 8);
    dst[n + 1] = (uint8_t)value;
    return n + 2;
}

static int
add_name(uint8_t *dst, size_t *n, const char *name)
{
    struct slice rest = slice_of(name);
    size_t began = *n;

    while (rest.p != NULL) {
        struct slice label = slice_split(&rest, '.');

        if (label.n == 0 || label.n > 63 || *n - began + label.n + 2 > WIRE_NAME_MAX)
            return ERR_SYNTAX;
        dst[(*n)++] = (uint8_t)label.n;
        memcpy(dst + *n, label.p, label.n);
        *n += label.n;
    }
    dst[(*n)++] = 0;
    return ERR_OK;
}

int
dns_packet_query(const char *name, enum dns_type type, uint16_t id, uint8_t dst[DNS_QUERY_SIZE],
                 size_t *size)
{
    static const unsigned counts[] = {1, 0, 0, 1}; /* the question; the OPT record */
    size_t n = add_u16(dst, 0, id);

    n = add_u16(dst, n, FLAG_RECURSION | FLAG_AUTHENTIC); /* RFC 6840 5.7 */
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        n = add_u16(dst, n, counts[i]);
    if (add_name(dst, &n, name) < 0)
        return ERR_SYNTAX;
    n = add_u16(dst, n, types[type].number);
    n = add_u16(dst, n, CLASS_IN);
    dst[n++] = 0; /* OPT: of the root, with our size, RFC 6891 6.1.2 */
    n = add_u16(dst, n, TYPE_OPT);
    n = add_u16(dst, n, DNS_UDP_SIZE);
    memset(dst + n, 0, 6);
    *size = n + 6;
    return ERR_OK;
}

/* --- The answer. */

struct answer {
    struct reader begin; /* stands at the first record of the answer */
    unsigned record_count;
    const struct type *type;
    struct gathered *found;
};

static void
take_ttl(struct dns_reply *found, uint32_t ttl_s, bool is_first)
{
    if (ttl_s > INT32_MAX) /* RFC 2181 8 */
        ttl_s = 0;
    if (is_first || ttl_s < found->ttl_s)
        found->ttl_s = ttl_s;
}

static void
take_record(const struct answer *a, struct reader r, size_t length)
{
    struct dns_record record = {.preference = 0};
    struct gathered *g = a->found;

    if (g->head.count == DNS_RECORDS_MAX) {
        g->is_over = true;
        return;
    }
    if (!a->type->has_name)
        r.size = r.at + length < r.size ? r.at + length : r.size;
    if (a->type->read(&r, length, g, &record) && !r.failed)
        g->records[g->head.count++] = record;
}

/* All records of `owner`; its alias, if it has one, replaces it (true). */
static bool
walk(const struct answer *a, char owner[NAME_TEXT_SIZE], bool *is_first, bool *failed)
{
    struct reader r = a->begin;
    char name[NAME_TEXT_SIZE], alias[NAME_TEXT_SIZE] = "";
    bool has_alias = false;

    for (unsigned i = 0; i < a->record_count && !r.failed; i++) {
        unsigned number, class;
        uint32_t ttl_s;
        size_t length;

        read_name(&r, name);
        number = read_u16(&r);
        class = read_u16(&r);
        ttl_s = read_u32(&r);
        length = read_u16(&r);
        if (!r.failed && class == CLASS_IN && strcmp(name, owner) == 0 &&
            (number == a->type->number || number == TYPE_CNAME)) {
            take_ttl(&a->found->head, ttl_s, *is_first);
            *is_first = false;
            if (number == TYPE_CNAME) {
                struct reader data = r;

                read_name(&data, alias);
                r.failed = data.failed;
                has_alias = true;
            } else
                take_record(a, r, length);
        }
        skip(&r, length);
    }
    *failed = r.failed;
    if (has_alias)
        memcpy(owner, alias, sizeof alias);
    return has_alias;
}

/* As read_name writes it. */
static void
canonical_name(const char *name, char text[NAME_TEXT_SIZE])
{
    size_t n = 0;

    for (; *name != '\0'; name++)
        if (*name == '.')
            text[n++] = '.';
        else
            n = add_octet(text, n, (unsigned char)*name);
    text[n] = '\0';
}

static enum dns_result
read_answer(const struct answer *a, const char *name)
{
    char owner[NAME_TEXT_SIZE];
    struct gathered *g = a->found;
    bool is_first = true, failed = false;

    snprintf(owner, sizeof owner, "%s", name);
    for (unsigned aliases = 0; walk(a, owner, &is_first, &failed);) {
        g->head.is_alias = true;
        if (g->head.count > 0)
            break;
        if (++aliases > ALIASES_MAX || failed)
            return DNS_TEMPORARY;
    }
    if (failed || (g->is_over && a->type->is_whole_only))
        return DNS_TEMPORARY;
    return g->head.count > 0 ? DNS_OK : DNS_NO_DATA;
}

static bool
is_question(struct reader *r, const char *name, const struct type *type)
{
    char asked[NAME_TEXT_SIZE];

    read_name(r, asked);
    return read_u16(r) == type->number && read_u16(r) == CLASS_IN && !r->failed &&
           strcmp(asked, name) == 0;
}

/* How long it may be remembered that there is nothing: by the SOA record (RFC 2308 5). */
static void
read_negative_ttl(const struct answer *a, unsigned authority_count, struct dns_reply *found)
{
    struct reader r = a->begin;
    char name[NAME_TEXT_SIZE];

    for (unsigned i = 0; i < a->record_count + authority_count && !r.failed; i++) {
        unsigned number;
        uint32_t ttl_s;
        size_t length;

        read_name(&r, name);
        number = read_u16(&r);
        read_u16(&r);
        ttl_s = read_u32(&r);
        length = read_u16(&r);
        if (!r.failed && i >= a->record_count && number == TYPE_SOA && length >= 22) {
            struct reader last = r;

            skip(&last, length - 4);
            take_ttl(found, ttl_s, true);
            take_ttl(found, read_u32(&last), false);
            found->has_ttl = !last.failed;
            return;
        }
        skip(&r, length);
    }
}

/* Do all its records end where the message does, or before? What was cut short says nothing. */
static bool
is_whole(struct reader r, unsigned record_count)
{
    char name[NAME_TEXT_SIZE];

    for (unsigned i = 0; i < record_count && !r.failed; i++) {
        read_name(&r, name);
        skip(&r, 8);
        skip(&r, read_u16(&r));
    }
    return !r.failed;
}

static void
read_message(struct reader r, const char *name, const struct type *type, struct gathered *g)
{
    struct answer answer = {.type = type, .found = g};
    struct dns_reply *head = &g->head;
    unsigned flags, questions, authorities, others;

    read_u16(&r); /* the id: the transport has seen to it */
    flags = read_u16(&r);
    questions = read_u16(&r);
    answer.record_count = read_u16(&r);
    authorities = read_u16(&r);
    others = read_u16(&r);
    if (r.failed || !(flags & FLAG_RESPONSE) || (flags & FLAG_TRUNCATED) || questions != 1 ||
        answer.record_count > ANSWERS_MAX || authorities > ANSWERS_MAX || others > ANSWERS_MAX ||
        !is_question(&r, name, type) || !is_whole(r, answer.record_count + authorities + others))
        return;
    head->is_authentic = (flags & FLAG_AUTHENTIC) != 0;
    answer.begin = r;
    if ((flags & RCODE_MASK) == RCODE_NAME)
        head->result = DNS_NO_NAME;
    else if ((flags & RCODE_MASK) == 0)
        head->result = read_answer(&answer, name);
    head->has_ttl = head->result == DNS_OK;
    if (head->result == DNS_NO_NAME || head->result == DNS_NO_DATA)
        read_negative_ttl(&answer, authorities, head);
}

struct dns_reply *
dns_packet_parse(const uint8_t *packet, size_t size, const char *name, enum dns_type type)
{
    char asked[NAME_TEXT_SIZE];
    struct gathered g;

    memset(&g.head, 0, sizeof g.head);
    g.head.result = DNS_TEMPORARY;
    g.used = 0;
    g.is_over = false;
    if (packet != NULL && strlen(name) < WIRE_NAME_MAX) {
        canonical_name(name, asked);
        read_message((struct reader){.packet = packet, .size = size}, asked, &types[type], &g);
    }
    if (g.head.result != DNS_OK) {
        g.head.count = 0;
        g.used = 0;
    }
    return packed(&g);
}
