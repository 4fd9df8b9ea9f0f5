/* SPDX-License-Identifier: BSD-2-Clause
 *
 * MX records: whose each host is, whether it can be reached by its name, and whether the order is
 * the one that was agreed on.  A host is ours by its name, or because it leads to our addresses;
 * the customer's, if it is one of the domain's backends by name or address; or else foreign.
 */
#include "survey/survey_domain.h"

#include <stdio.h>
#include <strings.h>

#define HOSTS_MAX 32

enum whose { BAD, OURS, OURS_BY_ADDRESS, THEIRS, FOREIGN };

struct host {
    const char *name;
    unsigned preference;
    enum whose whose;
    struct survey_addresses addresses;
};

struct look {
    struct survey *survey;
    const struct survey_domain *domain;
    struct host hosts[HOSTS_MAX];
    unsigned count;
    struct survey_addresses ours, theirs;
    const struct host *first_ours, *first_theirs, *first_foreign; /* with the lowest preference */
};

bool
survey_is_our_name(const struct survey *survey, const char *name)
{
    const struct config_words *names = &survey_world(survey)->config->mx_names;

    for (size_t i = 0; i < names->count; i++)
        if (strcasecmp(names->items[i], name) == 0)
            return true;
    return false;
}

/* --- Whose addresses are whose. */

static void
add_address(struct survey_addresses *all, const struct inet_endpoint *address)
{
    if (all->count < SURVEY_ADDRESSES_MAX && !survey_addresses_have(all, address)) {
        all->items[all->count] = *address;
        all->items[all->count++].port = 0;
    }
}

static void
add_addresses_of(struct survey *survey, struct survey_addresses *all, const char *name)
{
    struct survey_addresses some;

    survey_ask_addresses(survey, name, &some);
    for (unsigned i = 0; i < some.count; i++)
        add_address(all, &some.items[i]);
}

static void
find_ours(struct look *look)
{
    const struct config_words *names = &survey_world(look->survey)->config->mx_names;

    for (size_t i = 0; i < names->count; i++)
        add_addresses_of(look->survey, &look->ours, names->items[i]);
}

static void
find_theirs(struct look *look)
{
    for (unsigned i = 0; i < look->domain->backend_count; i++) {
        const struct survey_backend *b = &look->domain->backends[i];
        const struct survey_answer *mx;

        if (b->host[0] == '\0')
            add_address(&look->theirs, &b->address);
        else if (!b->is_mx)
            add_addresses_of(look->survey, &look->theirs, b->host);
        else {
            mx = survey_ask(look->survey, b->host, DNS_TYPE_MX);
            for (unsigned j = 0; j < mx->count; j++)
                if (mx->items[j].name[0])
                    add_addresses_of(look->survey, &look->theirs, mx->items[j].name);
        }
    }
}

static bool
meet(const struct survey_addresses *a, const struct survey_addresses *b)
{
    for (unsigned i = 0; i < a->count; i++)
        if (survey_addresses_have(b, &a->items[i]))
            return true;
    return false;
}

static bool
is_their_name(const struct look *look, const char *name)
{
    for (unsigned i = 0; i < look->domain->backend_count; i++)
        if (!look->domain->backends[i].is_mx &&
            strcasecmp(look->domain->backends[i].host, name) == 0)
            return true;
    return false;
}

/* Ours goes before theirs: a backend that is us would be a loop, and is found elsewhere. */
static enum whose
whose(const struct look *look, const struct host *host)
{
    if (survey_is_our_name(look->survey, host->name))
        return OURS;
    if (meet(&host->addresses, &look->ours))
        return OURS_BY_ADDRESS;
    if (is_their_name(look, host->name) || meet(&host->addresses, &look->theirs))
        return THEIRS;
    return FOREIGN;
}

/* --- Targets. */

static bool
is_literal(const char *name)
{
    struct inet_endpoint e;

    return inet_endpoint_parse(slice_of(name), 25, &e) == ERR_OK;
}

static bool
has_public(const struct survey_addresses *addresses)
{
    for (unsigned i = 0; i < addresses->count; i++)
        if (survey_is_public(&addresses->items[i]))
            return true;
    return false;
}

static void
judge_target(struct look *look, const struct host *h)
{
    char text[SURVEY_TEXT_SIZE];
    static const enum survey_finding_id missing[] = {
        [DNS_NO_NAME] = SURVEY_TARGET_MISSING,
        [DNS_NO_DATA] = SURVEY_TARGET_NO_ADDRESS,
        [DNS_TEMPORARY] = SURVEY_TARGET_UNKNOWN,
    };

    if (h->addresses.result != DNS_OK && h->addresses.result != DNS_TEMPORARY && h->whose == OURS)
        survey_find(look->survey, SURVEY_TARGET_OURS, h->name, "%s", "");
    else if (h->addresses.result != DNS_OK)
        survey_find(look->survey, missing[h->addresses.result], h->name, "%s", "");
    else if (!has_public(&h->addresses))
        survey_find(look->survey, SURVEY_TARGET_PRIVATE, h->name, "%s",
                    survey_addresses_text(&h->addresses, text));
    else if (h->addresses.is_alias)
        survey_find(look->survey, SURVEY_TARGET_ALIAS, h->name, "%s", "");
    else if (h->whose == OURS_BY_ADDRESS)
        survey_find(look->survey, SURVEY_TARGET_OTHER_NAME, h->name, "%s", "");
    else
        survey_find(look->survey, SURVEY_TARGET_OK, h->name, "%s%s",
                    h->addresses.count == 1 ? "the address " : "the addresses ",
                    survey_addresses_text(&h->addresses, text));
}

static void
keep_first(const struct host **first, const struct host *host)
{
    if (*first == NULL || host->preference < (*first)->preference)
        *first = host;
}

static void
add_host(struct look *look, const struct dns_record *record)
{
    struct host *h = &look->hosts[look->count];
    char text[SURVEY_TEXT_SIZE];

    if (look->count == HOSTS_MAX || record->is_root)
        return;
    if (record->name[0] == '\0' || is_literal(record->name)) {
        snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(record->data));
        survey_find(look->survey,
                    is_literal(record->name) ? SURVEY_TARGET_LITERAL : SURVEY_TARGET_BAD,
                    record->name[0] ? record->name : text, "%s", "");
        return;
    }
    h->name = record->name;
    h->preference = record->preference;
    survey_ask_addresses(look->survey, h->name, &h->addresses);
    h->whose = whose(look, h);
    look->count++;
    if (h->whose == OURS || h->whose == OURS_BY_ADDRESS)
        keep_first(&look->first_ours, h);
    else if (h->whose == THEIRS)
        keep_first(&look->first_theirs, h);
    else if (h->addresses.result == DNS_OK) /* else it is not known whose it is */
        keep_first(&look->first_foreign, h);
}

/* --- Order. */

/* A stranger before us, or beside us, is wrong in either mode. */
static bool
judge_strangers(struct look *look)
{
    const struct host *us = look->first_ours, *stranger = look->first_foreign;

    if (stranger == NULL || stranger->preference > us->preference)
        return false;
    survey_find(look->survey, SURVEY_MX_FOREIGN_FIRST, stranger->name, "%u, ours is %u",
                stranger->preference, us->preference);
    return true;
}

static const char *
order_text(const struct look *look, char dst[SURVEY_TEXT_SIZE])
{
    size_t n = 0;

    dst[0] = '\0';
    for (unsigned i = 0; i < look->count && n < SURVEY_TEXT_SIZE; i++)
        n += (size_t)snprintf(dst + n, SURVEY_TEXT_SIZE - n, "%s%s (%u)", i ? ", " : "",
                              look->hosts[i].name, look->hosts[i].preference);
    return dst[0] ? dst : "none that can be used";
}

static void
judge_fallback(struct look *look)
{
    const struct host *us = look->first_ours, *they = look->first_theirs;
    char text[SURVEY_TEXT_SIZE];

    if (they == NULL)
        survey_find(look->survey, SURVEY_MX_FALLBACK_ALONE, "", "%s", "");
    else if (they->preference == us->preference)
        survey_find(look->survey, SURVEY_MX_EQUAL, they->name, "%u", us->preference);
    else if (they->preference > us->preference)
        survey_find(look->survey, SURVEY_MX_FALLBACK_FIRST, they->name, "%s", "");
    else
        survey_find(look->survey, SURVEY_MX_FALLBACK, us->name, "%s", order_text(look, text));
}

static void
judge_first(struct look *look)
{
    const struct host *us = look->first_ours, *they = look->first_theirs;
    char text[SURVEY_TEXT_SIZE];

    if (they && they->preference < us->preference)
        survey_find(look->survey, SURVEY_MX_NOT_FIRST, they->name, "%u, ours is %u",
                    they->preference, us->preference);
    else if (they && they->preference == us->preference)
        survey_find(look->survey, SURVEY_MX_EQUAL, they->name, "%u", us->preference);
    else
        survey_find(look->survey, SURVEY_MX_FIRST, us->name, "%s", order_text(look, text));
}

static bool
is_listed(const struct look *look, const char *name)
{
    for (unsigned i = 0; i < look->count; i++)
        if (strcasecmp(look->hosts[i].name, name) == 0)
            return true;
    return false;
}

static void
judge_partial(struct look *look)
{
    const struct config_words *names = &survey_world(look->survey)->config->mx_names;

    for (size_t i = 0; i < names->count; i++)
        if (!is_listed(look, names->items[i]) && look->first_ours->whose == OURS)
            survey_find(look->survey, SURVEY_MX_PARTIAL, names->items[i], "%s", "");
}

/* --- The others. */

static enum survey_greeting
best_greeting(struct look *look, const struct host *h, char where[INET_ENDPOINT_SIZE])
{
    enum survey_greeting best = SURVEY_GREETING_NONE, one;

    where[0] = '\0';
    for (unsigned i = 0; i < h->addresses.count; i++) {
        struct inet_endpoint e = h->addresses.items[i];

        if (!survey_addresses_have(&look->theirs, &e))
            continue; /* whoever owns the zone could have us knock anywhere */
        e.port = 25;
        one = survey_ask_greeting(look->survey, &e);
        if (where[0] == '\0' || one == SURVEY_GREETING_OK)
            inet_address_text(&e, where);
        if (one == SURVEY_GREETING_OK)
            return one;
        if (one != SURVEY_GREETING_NONE)
            best = one;
    }
    return best;
}

/* What we could not try says nothing: then there is no finding. */
static void
judge_theirs(struct look *look, const struct host *h)
{
    bool is_primary = look->domain->is_fallback && h == look->first_theirs;
    char where[INET_ENDPOINT_SIZE];
    enum survey_greeting greeting = best_greeting(look, h, where);
    bool is_up = greeting == SURVEY_GREETING_OK;

    if (greeting == SURVEY_GREETING_UNKNOWN || h->addresses.count == 0)
        return;
    if (is_primary)
        survey_find(look->survey, is_up ? SURVEY_PRIMARY_UP : SURVEY_PRIMARY_DOWN, h->name, "%s",
                    where);
    else if (!is_up)
        survey_find(look->survey, SURVEY_OTHER_CLOSED, h->name, "%s", where);
    else
        survey_find(look->survey,
                    look->domain->greylists ? SURVEY_OTHER_OPEN_GREYLIST : SURVEY_OTHER_OPEN,
                    h->name, "%s", where);
}

static void
judge_foreign(struct look *look, const struct host *h)
{
    if (h->addresses.result == DNS_OK && h->preference > look->first_ours->preference)
        survey_find(look->survey, SURVEY_OTHER_FOREIGN, h->name, "%u", h->preference);
}

static void
judge_hosts(struct look *look)
{
    char text[SURVEY_TEXT_SIZE];

    if (look->first_ours == NULL)
        survey_find(look->survey, SURVEY_MX_NOT_OURS, "", "%s", order_text(look, text));
    else if (!judge_strangers(look))
        (look->domain->is_fallback ? judge_fallback : judge_first)(look);
    if (look->first_ours)
        judge_partial(look);
    for (unsigned i = 0; i < look->count; i++)
        judge_target(look, &look->hosts[i]);
    for (unsigned i = 0; i < look->count && look->first_ours; i++)
        if (look->hosts[i].whose == THEIRS)
            judge_theirs(look, &look->hosts[i]);
        else if (look->hosts[i].whose == FOREIGN)
            judge_foreign(look, &look->hosts[i]);
}

bool
survey_mx_judge(struct survey *survey, const struct survey_domain *domain)
{
    const struct survey_answer *mx = survey_ask(survey, survey_subject(survey), DNS_TYPE_MX);
    struct look look = {.survey = survey, .domain = domain};

    if (mx->result == DNS_TEMPORARY)
        survey_find(survey, SURVEY_MX_UNKNOWN, "", "%s", "");
    if (mx->result == DNS_NO_NAME)
        survey_find(survey, SURVEY_MX_NO_DOMAIN, "", "%s", "");
    if (mx->result == DNS_NO_DATA)
        survey_find(survey, SURVEY_MX_MISSING, "", "%s", "");
    if (mx->result != DNS_OK)
        return mx->result == DNS_NO_DATA;
    if (mx->count == 1 && mx->items[0].is_root) {
        survey_find(survey, SURVEY_MX_NULL, "", "%s", "");
        return true;
    }
    find_ours(&look);
    find_theirs(&look);
    for (unsigned i = 0; i < mx->count; i++)
        add_host(&look, &mx->items[i]);
    judge_hosts(&look);
    return true;
}
