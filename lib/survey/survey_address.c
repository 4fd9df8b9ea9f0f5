/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses of a name, and what is known of an address.
 */
#include "survey/survey.h"

#include <stdio.h>

/* A name that has one kind of address need not have the other. */
static enum dns_result
both(enum dns_result a, enum dns_result b)
{
    if (a == DNS_OK || b == DNS_OK)
        return DNS_OK;
    if (a == DNS_TEMPORARY || b == DNS_TEMPORARY)
        return DNS_TEMPORARY;
    return a == DNS_NO_NAME ? DNS_NO_NAME : b;
}

void
survey_ask_addresses(struct survey *survey, const char *name, struct survey_addresses *addresses)
{
    const struct survey_answer *answers[] = {survey_ask(survey, name, DNS_TYPE_A),
                                             survey_ask(survey, name, DNS_TYPE_AAAA)};

    *addresses = (struct survey_addresses){
        .result = both(answers[0]->result, answers[1]->result),
        .is_alias = answers[0]->is_alias || answers[1]->is_alias,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
        for (unsigned j = 0; j < answers[i]->count && addresses->count < SURVEY_ADDRESSES_MAX; j++)
            addresses->items[addresses->count++] = answers[i]->items[j].address;
}

bool
survey_addresses_have(const struct survey_addresses *addresses, const struct inet_endpoint *address)
{
    struct inet_endpoint plain = *address;

    plain.port = 0;
    for (unsigned i = 0; i < addresses->count; i++)
        if (inet_endpoint_equal(&addresses->items[i], &plain))
            return true;
    return false;
}

const char *
survey_addresses_text(const struct survey_addresses *addresses, char dst[SURVEY_TEXT_SIZE])
{
    char text[INET_ENDPOINT_SIZE];
    size_t n = 0;

    dst[0] = '\0';
    for (unsigned i = 0; i < addresses->count && n < SURVEY_TEXT_SIZE; i++)
        n += (size_t)snprintf(dst + n, SURVEY_TEXT_SIZE - n, "%s%s", i ? ", " : "",
                              inet_address_text(&addresses->items[i], text));
    return dst;
}

bool
survey_is_public(const struct inet_endpoint *address)
{
    static const struct inet_network closed[] = {
        {.family = 4, .bits = 8, .addr = {0}},
        {.family = 4, .bits = 8, .addr = {10}},
        {.family = 4, .bits = 10, .addr = {100, 64}},
        {.family = 4, .bits = 32, .addr = {127, 0, 0, 1}},
        {.family = 4, .bits = 16, .addr = {169, 254}},
        {.family = 4, .bits = 12, .addr = {172, 16}},
        {.family = 4, .bits = 16, .addr = {192, 168}},
        {.family = 6, .bits = 127, .addr = {0}}, /* :: and ::1 */
        {.family = 6, .bits = 7, .addr = {0xfc}},
        {.family = 6, .bits = 10, .addr = {0xfe, 0x80}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(closed); i++)
        if (inet_network_has(&closed[i], address))
            return false;
    return true;
}
