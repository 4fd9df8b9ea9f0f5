/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Words of a setting into a value, each with a sentence for what is wrong.
 */
#include "base/dnsbl_zone.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"

#define CODE_FIRST 0x7f000002u
#define CODE_LAST 0x7ffffeffu /* behind it are refusals: 127.255.255.0/24 */
#define WRONG_CODES                                                                    \
    "has codes outside 127.0.0.1 to 127.255.254.255, or that are no addresses; write " \
    "codes=127.0.0.2-127.0.0.11,127.0.0.20"

static uint32_t
code_of(const struct inet_endpoint *e)
{
    return (uint32_t)e->addr[0] << 24 | (uint32_t)e->addr[1] << 16 | (uint32_t)e->addr[2] << 8 |
           e->addr[3];
}

static bool
parse_code(struct slice s, uint32_t *code)
{
    struct inet_endpoint e;

    if (inet_endpoint_parse(s, 1, &e) < 0 || e.family != 4 || e.port != 1)
        return false;
    *code = code_of(&e);
    return *code > 0x7f000000u && *code <= CODE_LAST;
}

static const char *
parse_codes(struct slice rest, struct dnsbl_zone *zone)
{
    while (rest.p != NULL) {
        struct slice range = slice_split(&rest, ','), first = slice_split(&range, '-');
        struct dnsbl_codes codes;

        if (zone->code_count == DNSBL_CODES_MAX)
            return "has more than 16 ranges of codes; write fewer and wider ones";
        if (!parse_code(first, &codes.first) ||
            !parse_code(range.p != NULL ? range : first, &codes.last))
            return WRONG_CODES;
        if (codes.first > codes.last)
            return "has a range of codes that ends before it begins; turn it round";
        zone->codes[zone->code_count++] = codes;
    }
    return NULL;
}

static const char *
parse_name(struct slice s, struct dnsbl_zone *zone)
{
    const char *why;

    return inet_domain_normalize(s, zone->name, &why) == ERR_OK
               ? NULL
               : "has a name= that is no domain name; write one such as name=zen.example";
}

static const char *
parse_test(struct slice s, struct dnsbl_zone *zone)
{
    return parse_bool(s, &zone->is_tested) == ERR_OK
               ? NULL
               : "has a test= that is neither yes nor no; write test=no for a list without the "
                 "entries of RFC 5782";
}

static const char *
parse_attribute(struct slice word, struct dnsbl_zone *zone)
{
    static const struct {
        const char *key;
        const char *(*parse)(struct slice s, struct dnsbl_zone *zone);
    } attributes[] = {{"codes", parse_codes}, {"name", parse_name}, {"test", parse_test}};
    struct slice value = word, key = slice_split(&value, '=');

    for (size_t i = 0; i < ARRAY_SIZE(attributes) && value.p != NULL; i++)
        if (slice_equal(key, slice_of(attributes[i].key)))
            return attributes[i].parse(value, zone);
    return "has a word that is unknown; write ZONE, and behind it codes=, name= or test=no";
}

const char *
dnsbl_zone_parse(const char *text, struct dnsbl_zone *zone)
{
    struct slice rest = slice_trim(slice_of(text)), word = slice_split(&rest, ' ');
    const char *wrong = NULL, *why;

    memset(zone, 0, sizeof *zone);
    zone->is_tested = true;
    if (inet_domain_normalize(word, zone->zone, &why) < 0 || strlen(zone->zone) > DNSBL_ZONE_MAX)
        return "does not begin with a list's zone; write one such as bl.example codes=127.0.0.2";
    snprintf(zone->name, sizeof zone->name, "%s", zone->zone);
    while (rest.p != NULL && wrong == NULL) {
        word = slice_split(&rest, ' ');
        if (word.n > 0)
            wrong = parse_attribute(word, zone);
    }
    if (zone->code_count == 0)
        zone->codes[zone->code_count++] = (struct dnsbl_codes){CODE_FIRST, CODE_LAST};
    return wrong;
}

bool
dnsbl_zone_is_refusal(const struct inet_endpoint *answer)
{
    return answer->family == 4 && code_of(answer) >> 8 == (CODE_LAST >> 8) + 1;
}

bool
dnsbl_zone_has_code(const struct dnsbl_zone *zone, const struct inet_endpoint *answer)
{
    for (unsigned i = 0; i < zone->code_count && answer->family == 4; i++)
        if (code_of(answer) >= zone->codes[i].first && code_of(answer) <= zone->codes[i].last)
            return true;
    return false;
}
