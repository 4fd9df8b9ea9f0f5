/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parts of a domain's survey, in their order.
 */
#include "survey/survey_domain.h"

#include "survey/survey_spf.h"

void
survey_domain_judge(struct survey *survey, const void *question)
{
    const struct survey_domain *domain = question;

    if (survey_subject(survey)[0] == '.') {
        survey_find(survey, SURVEY_SUBDOMAINS, "", "%s", "");
        if (domain->token)
            survey_ownership_judge(survey, domain->token);
        return;
    }
    if (!survey_mx_judge(survey, domain))
        return;
    survey_spf_judge(survey);
    survey_dmarc_judge(survey);
    survey_sts_judge(survey);
    survey_dane_judge(survey);
    if (domain->token)
        survey_ownership_judge(survey, domain->token);
}
