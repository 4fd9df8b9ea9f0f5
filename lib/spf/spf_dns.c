/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Types, results and records of DNS, each to its counterpart.
 */
#include "spf/spf_dns.h"

enum dns_type
spf_dns_type(enum spf_type type)
{
    static const enum dns_type types[] = {
        [SPF_TYPE_A] = DNS_TYPE_A,     [SPF_TYPE_AAAA] = DNS_TYPE_AAAA, [SPF_TYPE_MX] = DNS_TYPE_MX,
        [SPF_TYPE_TXT] = DNS_TYPE_TXT, [SPF_TYPE_PTR] = DNS_TYPE_PTR,
    };

    return types[type];
}

static struct slice
item_of(enum spf_type type, const struct dns_record *record)
{
    switch (type) {
    case SPF_TYPE_A:
        return (struct slice){(const char *)record->address.addr, 4};
    case SPF_TYPE_AAAA:
        return (struct slice){(const char *)record->address.addr, 16};
    case SPF_TYPE_MX:
        return record->name[0] != '\0' ? slice_of(record->name) : record->data;
    case SPF_TYPE_PTR:
        return slice_of(record->name);
    case SPF_TYPE_TXT:
        return record->data;
    }
    return (struct slice){NULL, 0};
}

struct spf_answer
spf_dns_answer(enum spf_type type, enum dns_result result, const struct dns_record *records,
               unsigned count, struct slice items[DNS_RECORDS_MAX])
{
    static const enum spf_answer_result results[] = {
        [DNS_OK] = SPF_ANSWER_OK,
        [DNS_NO_NAME] = SPF_ANSWER_NO_NAME,
        [DNS_NO_DATA] = SPF_ANSWER_NO_DATA,
        [DNS_TEMPORARY] = SPF_ANSWER_TEMPORARY,
    };
    struct spf_answer answer = {.result = results[result], .items = items};

    for (; answer.count < count && answer.count < DNS_RECORDS_MAX; answer.count++)
        items[answer.count] = item_of(type, &records[answer.count]);
    return answer;
}
