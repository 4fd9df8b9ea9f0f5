/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses count without regard to case: who wants more must own more addresses.
 */
#include "notice/notice_rate.h"

#include <ctype.h>
#include <string.h>

#define HOUR_MS (3600 * INT64_C(1000))

void
notice_rate_init(struct notice_rate *rate)
{
    *rate = (struct notice_rate){.hour = 0};
    random_bytes(rate->key, sizeof rate->key);
}

static uint32_t *
slot_of(const struct notice_rate *rate, uint32_t *slots, const char *text)
{
    char lower[320];
    size_t n = 0;

    for (; text[n] != '\0' && n < sizeof lower; n++)
        lower[n] = (char)tolower((unsigned char)text[n]);
    return &slots[siphash(lower, n, rate->key) % NOTICE_RATE_SLOTS];
}

static void
begin_hour(struct notice_rate *rate, int64_t hour)
{
    memset(rate->by_address, 0, sizeof rate->by_address);
    memset(rate->by_domain, 0, sizeof rate->by_domain);
    rate->all = 0;
    rate->hour = hour;
}

bool
notice_rate_take(struct notice_rate *rate, const struct config *config, const char *address,
                 int64_t now_ms)
{
    const char *at = strrchr(address, '@');
    uint32_t *of_address = slot_of(rate, rate->by_address, address);
    uint32_t *of_domain = slot_of(rate, rate->by_domain, at ? at + 1 : address);

    if (now_ms / HOUR_MS != rate->hour)
        begin_hour(rate, now_ms / HOUR_MS);
    if (*of_address >= config->notices_per_sender || *of_domain >= config->notices_per_domain ||
        rate->all >= config->notices_per_hour) {
        rate->withheld++;
        return false;
    }
    ++*of_address;
    ++*of_domain;
    rate->all++;
    return true;
}
