/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A DNS answer: the first octet says of which type it is asked.  Whatever comes, there are records
 * exactly if the result says so, and a name is a host's or empty.
 */
#include <stdint.h>

#include "dns/dns_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_records found;

    if (size == 0)
        return 0;
    dns_packet_parse(data + 1, size - 1, "acme.test", data[0] % DNS_TYPE_COUNT, &found);
    CHECK(found.count <= DNS_RECORDS_MAX);
    CHECK((found.result == DNS_OK) == (found.count > 0));
    for (unsigned i = 0; i < found.count; i++) {
        const char *name = found.records[i].name;

        CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
        CHECK(data[0] % DNS_TYPE_COUNT == DNS_TYPE_MX || found.records[i].address.family != 0);
    }
    return 0;
}
