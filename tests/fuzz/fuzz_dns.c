/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A DNS answer: the first octet says of which type it is asked.  Whatever comes, there are records
 * exactly if the result says so, a name is a host's, or empty and escaped as data, and all lies
 * within the limits.
 */
#include <stdint.h>
#include <stdlib.h>

#include "dns/dns_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_record(enum dns_type type, const struct dns_record *record)
{
    bool is_address = type == DNS_TYPE_A || type == DNS_TYPE_AAAA;
    static char copy[DNS_DATA_MAX];
    bool is_name = type == DNS_TYPE_MX || type == DNS_TYPE_PTR;

    CHECK(strlen(record->name) < INET_DOMAIN_SIZE);
    CHECK(strspn(record->name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(record->name));
    CHECK(is_address == (record->address.family != 0));
    CHECK(is_address || is_name || record->data.p != NULL);
    CHECK(!is_address || record->data.p == NULL);
    CHECK(!is_name || (record->name[0] != '\0') == (record->data.p == NULL));
    CHECK(record->data.n <= DNS_DATA_MAX);
    if (record->data.p != NULL)
        memcpy(copy, record->data.p, record->data.n);      /* all of it is there to be read */
    for (size_t i = 0; is_name && i < record->data.n; i++) /* a name that is no host's is escaped */
        CHECK(record->data.p[i] > ' ' && record->data.p[i] < 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_reply *found;
    enum dns_type type;

    if (size == 0)
        return 0;
    type = data[0] % DNS_TYPE_COUNT;
    found = dns_packet_parse(data + 1, size - 1, "acme.test", type);
    CHECK(found->count <= DNS_RECORDS_MAX);
    CHECK((found->result == DNS_OK) == (found->count > 0));
    for (unsigned i = 0; i < found->count; i++)
        check_record(type, &found->records[i]);
    free(found);
    return 0;
}
