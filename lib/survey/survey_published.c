/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a domain publishes about its mail besides MX and SPF: DMARC, MTA-STS, the TLSA records of
 * its MX hosts that are ours, and the token by which its owner is known.
 */
#include "survey/survey_domain.h"

#include <stdio.h>
#include <strings.h>

#include "net/tls_certificate.h"
#include "survey/survey_text.h"

#define NAME_SIZE (INET_DOMAIN_SIZE + 16)
#define SHORT_AGE_S 86400

static const char *
prefixed(const char *prefix, const char *name, char dst[NAME_SIZE])
{
    snprintf(dst, NAME_SIZE, "%s%s", prefix, name);
    return dst;
}

/* The TXT records of which `is` says that they are meant; *one: the first. */
static unsigned
count_texts(const struct survey_answer *answer, bool (*is)(struct slice text), struct slice *one)
{
    unsigned count = 0;

    for (unsigned i = 0; i < answer->count; i++)
        if (is(answer->items[i].data) && count++ == 0)
            *one = answer->items[i].data;
    return count;
}

/* --- DMARC. */

static void
judge_dmarc_record(struct survey *survey, const char *name, struct slice text)
{
    struct survey_dmarc dmarc;
    char why[SURVEY_WHY_SIZE], share[24] = "";

    if (survey_dmarc_parse(text, &dmarc, why) < 0) {
        survey_find(survey, SURVEY_DMARC_SYNTAX, name, "%s", why);
        return;
    }
    if (dmarc.percent < 100)
        snprintf(share, sizeof share, ", for %u %% of it", dmarc.percent);
    survey_find(survey, dmarc.policy == SURVEY_POLICY_NONE ? SURVEY_DMARC_WATCH : SURVEY_DMARC_OK,
                name, "p=%s%s", survey_dmarc_word(dmarc.policy), share);
}

/* A subdomain without one has that of a domain above it; which one is the organisation's is not
 * known here, so each is asked, nearest first, down to two labels. */
void
survey_dmarc_judge(struct survey *survey)
{
    char name[NAME_SIZE];

    for (const char *domain = survey_subject(survey); domain && strchr(domain, '.');
         domain = strchr(domain, '.') ? strchr(domain, '.') + 1 : NULL) {
        const struct survey_answer *answer =
            survey_ask(survey, prefixed("_dmarc.", domain, name), DNS_TYPE_TXT);
        struct slice text = SLICE("");
        unsigned count = count_texts(answer, survey_dmarc_is, &text);

        if (answer->result == DNS_TEMPORARY) {
            survey_find(survey, SURVEY_DMARC_UNKNOWN, name, "%s", "");
            return;
        }
        if (count > 1)
            survey_find(survey, SURVEY_DMARC_MANY, name, "%u", count);
        else if (count == 1)
            judge_dmarc_record(survey, name, text);
        if (count > 0)
            return;
    }
    survey_find(survey, SURVEY_DMARC_NONE, "", "%s", "");
}

/* --- MTA-STS. */

/* Those of our names that the domain's MX records have. */
static bool
is_our_mx(struct survey *survey, const char *name)
{
    const struct survey_answer *mx = survey_ask(survey, survey_subject(survey), DNS_TYPE_MX);

    for (unsigned i = 0; i < mx->count; i++)
        if (strcasecmp(mx->items[i].name, name) == 0)
            return true;
    return false;
}

static bool
covers_us(struct survey *survey, const struct survey_sts_policy *policy)
{
    const struct config_words *names = &survey_world(survey)->config->mx_names;
    bool all = true;

    for (size_t i = 0; i < names->count; i++) {
        if (!is_our_mx(survey, names->items[i]) || survey_sts_policy_has(policy, names->items[i]))
            continue;
        survey_find(survey,
                    policy->mode == SURVEY_STS_MODE_ENFORCE ? SURVEY_STS_NOT_US
                                                            : SURVEY_STS_NOT_US_YET,
                    names->items[i], "%s", "");
        all = false;
    }
    return all;
}

static void
judge_policy(struct survey *survey, const char *host, struct slice text)
{
    struct survey_sts_policy policy;
    char why[SURVEY_WHY_SIZE];

    if (survey_sts_policy_parse(text, &policy, why) < 0) {
        survey_find(survey, SURVEY_STS_POLICY, host, "%s", why);
        return;
    }
    if (policy.mode == SURVEY_STS_MODE_NONE) {
        survey_find(survey, SURVEY_STS_OFF, host, "%s", "");
        return;
    }
    if (covers_us(survey, &policy))
        survey_find(survey, SURVEY_STS_OK, host, "mode %s", survey_sts_mode_word(policy.mode));
    if (policy.max_age_s < SHORT_AGE_S)
        survey_find(survey, SURVEY_STS_SHORT, host, "%u", policy.max_age_s);
}

static void
judge_policy_host(struct survey *survey)
{
    char host[NAME_SIZE];
    struct survey_page page;
    struct survey_addresses addresses;

    prefixed("mta-sts.", survey_subject(survey), host);
    survey_ask_addresses(survey, host, &addresses);
    if (addresses.result == DNS_TEMPORARY) {
        survey_find(survey, SURVEY_STS_UNKNOWN, host, "DNS gives no answer about %s", host);
        return;
    }
    if (addresses.result != DNS_OK) {
        survey_find(survey, SURVEY_STS_NO_HOST, host, "%s", "");
        return;
    }
    survey_ask_page(survey, &addresses.items[0], host, "/.well-known/mta-sts.txt", &page);
    if (page.state == SURVEY_PAGE_OK)
        judge_policy(survey, host, page.content);
    else
        survey_find(survey,
                    page.state == SURVEY_PAGE_REFUSED ? SURVEY_STS_PAGE : SURVEY_STS_UNKNOWN, host,
                    "%s", page.why);
}

void
survey_sts_judge(struct survey *survey)
{
    char name[NAME_SIZE], id[SURVEY_STS_ID_SIZE], why[SURVEY_WHY_SIZE];
    const struct survey_answer *answer =
        survey_ask(survey, prefixed("_mta-sts.", survey_subject(survey), name), DNS_TYPE_TXT);
    struct slice text = SLICE("");
    unsigned count = count_texts(answer, survey_sts_is, &text);

    if (answer->result == DNS_TEMPORARY)
        survey_find(survey, SURVEY_STS_UNKNOWN, name, "DNS gives no answer about %s", name);
    else if (count == 0)
        survey_find(survey, SURVEY_STS_NONE, name, "%s", "");
    else if (count > 1)
        survey_find(survey, SURVEY_STS_MANY, name, "%u", count);
    else if (survey_sts_parse(text, id, why) < 0)
        survey_find(survey, SURVEY_STS_SYNTAX, name, "%s", why);
    else
        judge_policy_host(survey);
}

/* --- TLSA. */

/* RFC 7672 3.1: what a sender can use. */
static bool
is_useful(struct slice tlsa)
{
    return tlsa.n > 3 && (tlsa.p[0] == 2 || tlsa.p[0] == 3);
}

static bool
has_certificate_for(const struct survey_world *world, const char *host)
{
    for (size_t i = 0; i < world->certificate_count; i++)
        if (tls_certificate_is_for(world->certificates[i], host))
            return true;
    return strcasecmp(world->config->hostname, host) == 0 && world->certificate_count > 0;
}

static bool
fits_any(const struct survey_world *world, struct slice tlsa)
{
    for (size_t i = 0; i < world->certificate_count; i++)
        if (tls_certificate_fits_tlsa(world->certificates[i], tlsa))
            return true;
    return false;
}

static enum survey_finding_id
judge_records(const struct survey_world *world, const struct survey_answer *answer,
              const char *host)
{
    bool is_of_use = false;

    if (!answer->is_authentic)
        return SURVEY_DANE_UNSIGNED;
    for (unsigned i = 0; i < answer->count; i++)
        is_of_use = is_of_use || is_useful(answer->items[i].data);
    if (!is_of_use)
        return SURVEY_DANE_USELESS;
    if (!has_certificate_for(world, host))
        return SURVEY_DANE_ELSEWHERE;
    for (unsigned i = 0; i < answer->count; i++)
        if (is_useful(answer->items[i].data) && fits_any(world, answer->items[i].data))
            return SURVEY_DANE_OK;
    return SURVEY_DANE_MISMATCH;
}

static void
judge_host(struct survey *survey, const char *host)
{
    char name[NAME_SIZE];
    const struct survey_answer *answer =
        survey_ask(survey, prefixed("_25._tcp.", host, name), DNS_TYPE_TLSA);

    if (answer->result == DNS_TEMPORARY)
        survey_find(survey, SURVEY_DANE_UNKNOWN, host, "%s", "");
    else if (answer->count == 0)
        survey_find(survey, SURVEY_DANE_NONE, host, "%s", "");
    else
        survey_find(survey, judge_records(survey_world(survey), answer, host), host, "%s",
                    "their usage is neither 2 nor 3");
}

void
survey_dane_judge(struct survey *survey)
{
    const struct config_words *names = &survey_world(survey)->config->mx_names;

    for (size_t i = 0; i < names->count; i++)
        if (is_our_mx(survey, names->items[i]))
            judge_host(survey, names->items[i]);
}

/* --- Ownership. */

void
survey_ownership_judge(struct survey *survey, const char *token)
{
    const char *subject = survey_subject(survey), *name = subject + (subject[0] == '.');
    const struct survey_answer *answer = survey_ask(survey, name, DNS_TYPE_TXT);
    char wanted[SURVEY_TEXT_SIZE];
    bool has_other = false;

    snprintf(wanted, sizeof wanted, SURVEY_OWNERSHIP_PREFIX "%s", token);
    if (answer->result == DNS_TEMPORARY) {
        survey_find(survey, SURVEY_OWNERSHIP_UNKNOWN, "", "%s", "");
        return;
    }
    for (unsigned i = 0; i < answer->count; i++) {
        struct slice text = slice_trim(answer->items[i].data);

        if (slice_equal(text, slice_of(wanted))) {
            survey_find(survey, SURVEY_OWNED, "", "%s", "");
            return;
        }
        has_other = has_other || slice_starts_nocase(text, SLICE(SURVEY_OWNERSHIP_PREFIX));
    }
    survey_find(survey, SURVEY_NOT_OWNED, "", "%s",
                has_other ? "the TXT record has another token" : "there is no such TXT record");
}
