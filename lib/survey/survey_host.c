/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The checks of sender policy (lib/sender has them for mail in passage), said to who runs the host.
 */
#include "survey/survey_host.h"

#include <stdio.h>
#include <strings.h>

#include "base/dnsbl_zone.h"
#include "dns/dns_reverse.h"
#include "sender/sender_dialin.h"
#include "sender/sender_helo.h"
#include "sender/sender_ptr.h"
#include "survey/survey_spf.h"

/* --- Its name. */

enum way_back { NO_WAY, WAY_BACK, NOT_KNOWN };

static enum way_back
leads_back(struct survey *survey, const char *name, const struct inet_endpoint *address)
{
    const struct survey_answer *answer =
        survey_ask(survey, name, address->family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA);

    if (answer->result == DNS_TEMPORARY)
        return NOT_KNOWN;
    for (unsigned i = 0; i < answer->count; i++)
        if (memcmp(answer->items[i].address.addr, address->addr, address->family == 4 ? 4 : 16) ==
            0)
            return WAY_BACK;
    return NO_WAY;
}

static void
judge_name(struct survey *survey, const struct inet_endpoint *address, const char *text,
           const char *name, const char *expected)
{
    const char *pattern = sender_dialin_match(survey_world(survey)->dialin, name, address);

    if (expected && strcasecmp(name, expected) != 0)
        survey_find(survey, SURVEY_PTR_OTHER, text, "%s", name);
    else if (pattern)
        survey_find(survey, SURVEY_PTR_DIALIN, text, "%s (by the pattern %s)", name, pattern);
    else
        survey_find(survey, SURVEY_PTR_OK, text, "%s", name);
}

/* Of the names that lead back the expected one, or else the first; NULL: none does. */
static const char *
confirmed(struct survey *survey, const struct survey_answer *ptr,
          const struct inet_endpoint *address, const char *expected, bool *is_unsure)
{
    const char *first = NULL;

    *is_unsure = false;
    for (unsigned i = 0; i < ptr->count && i < SENDER_PTR_NAMES_MAX; i++) {
        const char *name = ptr->items[i].name;
        enum way_back way = name[0] ? leads_back(survey, name, address) : NO_WAY;

        *is_unsure = *is_unsure || way == NOT_KNOWN;
        if (way == WAY_BACK && expected && strcasecmp(name, expected) == 0)
            return name;
        if (way == WAY_BACK && first == NULL)
            first = name;
    }
    return first;
}

void
survey_ptr_judge(struct survey *survey, const struct inet_endpoint *address, const char *expected)
{
    char reverse[DNS_REVERSE_SIZE], text[INET_ENDPOINT_SIZE];
    const struct survey_answer *ptr =
        survey_ask(survey, dns_reverse_name(address, reverse), DNS_TYPE_PTR);
    bool is_unsure;
    const char *name = confirmed(survey, ptr, address, expected, &is_unsure);

    inet_address_text(address, text);
    if (name)
        judge_name(survey, address, text, name, expected);
    else if (ptr->result == DNS_TEMPORARY || is_unsure)
        survey_find(survey, SURVEY_PTR_UNKNOWN, text, "%s", "");
    else if (ptr->count == 0)
        survey_find(survey, SURVEY_PTR_NONE, text, "%s", "");
    else
        survey_find(survey, SURVEY_PTR_MISMATCH, text, "%s",
                    ptr->items[0].name[0] ? ptr->items[0].name : "which is no host's");
}

/* --- Lists. */

enum said { CLEAN, LISTED, REFUSES, SILENT };

static enum said
ask_list(struct survey *survey, const struct dnsbl_zone *zone, const struct inet_endpoint *address,
         struct inet_endpoint *code)
{
    char name[DNS_REVERSE_SIZE + INET_DOMAIN_SIZE];
    const struct survey_answer *answer =
        survey_ask(survey, dns_zone_name(address, zone->zone, name), DNS_TYPE_A);

    if (answer->result == DNS_TEMPORARY)
        return SILENT;
    for (unsigned i = 0; i < answer->count; i++) {
        *code = answer->items[i].address;
        if (dnsbl_zone_is_refusal(code))
            return REFUSES;
        if (dnsbl_zone_has_code(zone, code))
            return LISTED;
    }
    return CLEAN;
}

/* The entries by which a list can be tested (RFC 5782 5), 127.0.0.2 and 127.0.0.1; for IPv6 in
 * their mapped forms. */
static struct inet_endpoint
test_address(unsigned family, uint8_t last)
{
    if (family == 6)
        return (struct inet_endpoint){.family = 6,
                                      .addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = last}};
    return (struct inet_endpoint){.family = 4, .addr = {127, 0, 0, last}};
}

/* Lists without the entries for IPv6 have no IPv6 addresses at all. */
static bool
knows_family(struct survey *survey, const struct dnsbl_zone *zone, unsigned family)
{
    struct inet_endpoint listed = test_address(family, 2), code;

    return family == 4 || !zone->is_tested || ask_list(survey, zone, &listed, &code) != CLEAN;
}

/* NULL: it can be believed. */
static const char *
trouble_of(struct survey *survey, const struct dnsbl_zone *zone, unsigned family)
{
    struct inet_endpoint listed = test_address(family, 2), clean = test_address(family, 1), code;
    enum said a, b;

    if (!zone->is_tested)
        return NULL;
    a = ask_list(survey, zone, &listed, &code);
    b = ask_list(survey, zone, &clean, &code);
    if (a == REFUSES || b == REFUSES)
        return "refuses our questions";
    if (a == SILENT || b == SILENT)
        return "does not answer";
    return a == LISTED && b == CLEAN ? NULL : "fails its own test (RFC 5782)";
}

static void
find_listing(struct survey *survey, const struct dnsbl_zone *zone,
             const struct inet_endpoint *address, const struct inet_endpoint *code)
{
    char name[DNS_REVERSE_SIZE + INET_DOMAIN_SIZE], text[INET_ENDPOINT_SIZE],
        answer[INET_ENDPOINT_SIZE];
    const struct survey_answer *reason =
        survey_ask(survey, dns_zone_name(address, zone->zone, name), DNS_TYPE_TXT);
    struct slice why = reason->count > 0 ? reason->items[0].data : SLICE("it gives no reason");

    survey_find(survey, SURVEY_LISTS_LISTED, inet_address_text(address, text),
                "%s (%s: " SLICE_FMT ")", zone->name, inet_address_text(code, answer),
                SLICE_ARG(why));
}

/* What it said; LISTED and troubles have been found. */
static enum said
judge_list(struct survey *survey, const struct dnsbl_zone *zone,
           const struct inet_endpoint *address)
{
    const char *trouble = trouble_of(survey, zone, address->family);
    struct inet_endpoint code;
    enum said said = trouble ? SILENT : ask_list(survey, zone, address, &code);

    if (said == LISTED)
        find_listing(survey, zone, address, &code);
    if (said == REFUSES || (said == SILENT && trouble == NULL))
        trouble = said == REFUSES ? "refuses our questions" : "does not answer";
    if (trouble)
        survey_find(survey, SURVEY_LISTS_SILENT, "", "%s %s", zone->name, trouble);
    return said;
}

void
survey_lists_judge(struct survey *survey, const struct inet_endpoint *address)
{
    const struct config_words *lists = &survey_world(survey)->config->dnsbl;
    char names[SURVEY_TEXT_SIZE] = "", text[INET_ENDPOINT_SIZE];
    struct dnsbl_zone zone;
    unsigned asked = 0;
    size_t n = 0;

    for (size_t i = 0; i < lists->count; i++) {
        if (dnsbl_zone_parse(lists->items[i], &zone) != NULL ||
            !knows_family(survey, &zone, address->family))
            continue;
        asked++;
        if (judge_list(survey, &zone, address) == CLEAN && n < sizeof names)
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", zone.name);
    }
    inet_address_text(address, text);
    if (asked == 0)
        survey_find(survey, SURVEY_LISTS_NONE, text, "%s", "");
    if (n > 0)
        survey_find(survey, SURVEY_LISTS_CLEAN, text, "%s", names);
}

/* --- HELO. */

static void
judge_helo(struct survey *survey, const struct survey_sender *sender)
{
    static const struct inet_endpoint nowhere = {.family = 0};
    char name[INET_DOMAIN_SIZE], text[SURVEY_TEXT_SIZE];
    enum sender_helo helo = sender_helo_of(slice_of(sender->helo), survey_world(survey)->config,
                                           &sender->address, &nowhere, name);
    struct survey_addresses addresses;

    if (helo == SENDER_HELO_LITERAL) {
        survey_find(survey, SURVEY_HELO_OK, sender->helo, "%s", "");
        return;
    }
    if (helo != SENDER_HELO_HOST) {
        survey_find(survey, SURVEY_HELO_FORM, sender->helo, "%s", sender_helo_text(helo));
        return;
    }
    survey_ask_addresses(survey, name, &addresses);
    if (addresses.result == DNS_TEMPORARY)
        survey_find(survey, SURVEY_HELO_UNKNOWN, name, "%s", "");
    else if (addresses.result != DNS_OK)
        survey_find(survey, SURVEY_HELO_MISSING, name, "%s", "");
    else if (survey_addresses_have(&addresses, &sender->address))
        survey_find(survey, SURVEY_HELO_OK, name, "%s", "");
    else
        survey_find(survey, SURVEY_HELO_ELSEWHERE, name, "%s",
                    survey_addresses_text(&addresses, text));
}

/* --- SPF. */

static void
judge_spf(struct survey *survey, const struct survey_sender *sender)
{
    static const enum survey_finding_id findings[] = {
        [SPF_NONE] = SURVEY_SPF_FOR_NONE,       [SPF_NEUTRAL] = SURVEY_SPF_FOR_SOFT,
        [SPF_PASS] = SURVEY_SPF_FOR_PASS,       [SPF_FAIL] = SURVEY_SPF_FOR_FAIL,
        [SPF_SOFTFAIL] = SURVEY_SPF_FOR_SOFT,   [SPF_TEMPERROR] = SURVEY_SPF_FOR_UNKNOWN,
        [SPF_PERMERROR] = SURVEY_SPF_FOR_ERROR,
    };
    struct spf_result result;

    survey_spf_check(survey, sender->domain, &sender->address, &result);
    survey_find(survey, findings[result.verdict], sender->domain, "%s",
                result.reason[0]      ? result.reason
                : result.mechanism[0] ? result.mechanism
                                      : "by default");
}

void
survey_sender_judge(struct survey *survey, const void *question)
{
    const struct survey_sender *sender = question;

    survey_ptr_judge(survey, &sender->address, NULL);
    if (sender->helo)
        judge_helo(survey, sender);
    survey_lists_judge(survey, &sender->address);
    if (sender->domain)
        judge_spf(survey, sender);
}
