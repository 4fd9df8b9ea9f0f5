/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SPF in a survey, by the evaluator that mail is judged by.
 */
#ifndef SURVEY_SPF_H
#define SURVEY_SPF_H

#include "spf/spf.h"
#include "survey/survey.h"

/* The result for mail from that address in the domain's name; SPF_TEMPERROR while anything is not
 * known. */
void survey_spf_check(struct survey *survey, const char *domain, const struct inet_endpoint *client,
                      struct spf_result *result);

/* The subject's own record: is it there, right, bounded, and does it say anything? */
void survey_spf_judge(struct survey *survey);

#endif
