/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Records of lib/dns as answers of SPF.
 */
#ifndef SPF_DNS_H
#define SPF_DNS_H

#include "dns/dns.h"
#include "spf/spf.h"

enum dns_type spf_dns_type(enum spf_type type);

/* Of at most DNS_RECORDS_MAX records; borrowed from them and from `items`. */
struct spf_answer spf_dns_answer(enum spf_type type, enum dns_result result,
                                 const struct dns_record *records, unsigned count,
                                 struct slice items[DNS_RECORDS_MAX]);

#endif
