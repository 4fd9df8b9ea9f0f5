/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SPF as receivers evaluate it: lib/spf's own evaluator is asked, with the survey's facts as its
 * DNS.  For a domain it judges an address that nobody sends from (RFC 2544), so that the whole tree
 * of records is walked.
 */
#include "survey/survey_spf.h"

#include <stdio.h>

#include "spf/spf_dns.h"
#include "spf/spf_eval.h"

#define NEAR_LOOKUPS 9 /* of 10 */

static const struct inet_endpoint nobody = {.family = 4, .addr = {198, 18, 254, 254}};

/* --- Evaluation. */

static void
give(struct survey *survey, struct spf_eval *eval, const char *name, enum spf_type type)
{
    const struct survey_answer *known = survey_ask(survey, name, spf_dns_type(type));
    struct slice items[DNS_RECORDS_MAX];
    struct spf_answer answer =
        spf_dns_answer(type, known->result, known->items, known->count, items);

    spf_eval_give(eval, name, type, &answer);
}

/* What is not known yet is given as temporary: this run ends then, and its findings are thrown
 * away. */
void
survey_spf_check(struct survey *survey, const char *domain, const struct inet_endpoint *client,
                 struct spf_result *result)
{
    struct spf_question question = {
        .client = *client,
        .identity = SPF_MAIL_FROM,
        .helo = domain,
        .mail_from = domain,
    };
    struct spf_eval *eval = spf_eval_start(&question);
    enum spf_type type;
    const char *name;

    while (spf_eval_run(eval) == SPF_EVAL_NEEDS)
        while (spf_eval_needed(eval, 0, &name, &type))
            give(survey, eval, name, type);
    *result = *spf_eval_result(eval);
    spf_eval_free(&eval);
}

/* --- A domain's own. */

static void
judge_good(struct survey *survey, const struct spf_result *r)
{
    char text[64];

    snprintf(text, sizeof text, "%u %s", r->mechanisms,
             r->mechanisms == 1 ? "look-up" : "look-ups");
    if (r->verdict == SPF_NEUTRAL)
        survey_find(survey, SURVEY_SPF_OPEN, "", "%s",
                    r->mechanism[0] && strcmp(r->mechanism, "default") != 0 ? r->mechanism
                                                                            : "it has no \"all\"");
    else if (r->mechanisms >= NEAR_LOOKUPS)
        survey_find(survey, SURVEY_SPF_NEAR, "", "%u", r->mechanisms);
    else
        survey_find(survey, SURVEY_SPF_OK, "", "%s of 10, then %s", text, r->mechanism);
}

void
survey_spf_judge(struct survey *survey)
{
    struct spf_result r;

    survey_spf_check(survey, survey_subject(survey), &nobody, &r);
    switch (r.verdict) {
    case SPF_NONE:
        survey_find(survey, SURVEY_SPF_NONE, "", "%s", "");
        return;
    case SPF_TEMPERROR:
        survey_find(survey, SURVEY_SPF_UNKNOWN, "", "%s", r.reason);
        return;
    case SPF_PERMERROR:
        survey_find(survey, SURVEY_SPF_ERROR, "", "%s", r.reason);
        return;
    case SPF_PASS:
        survey_find(survey, SURVEY_SPF_ALL, "", "%s", r.mechanism);
        return;
    case SPF_NEUTRAL:
    case SPF_FAIL:
    case SPF_SOFTFAIL:
        judge_good(survey, &r);
        return;
    }
}
