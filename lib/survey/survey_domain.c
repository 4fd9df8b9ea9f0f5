/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parts of a domain's survey, in their order.
 */
#include "survey/survey_domain.h"

void
survey_domain_judge(struct survey *survey, const void *question)
{
    const struct survey_domain *domain = question;

    if (survey_subject(survey)[0] == '.') {
        survey_find(survey, SURVEY_SUBDOMAINS, "", "%s", "");
        return;
    }
    if (!survey_mx_judge(survey, domain))
        return;
}
