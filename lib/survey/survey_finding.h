/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Findings as a list, and how a row's words are filled in.
 */
#ifndef SURVEY_FINDING_H
#define SURVEY_FINDING_H

#include "survey/survey.h"

struct survey_findings {
    struct survey_finding *items;
    unsigned count, room;
};

struct survey_words {
    const char *domain, *host, *ours, *detail;
};

void survey_findings_add(struct survey_findings *list, enum survey_finding_id id,
                         const struct survey_words *words);
void survey_findings_clear(struct survey_findings *list);

/* A sentence of survey.def with its words filled in. */
void survey_fill(struct buf *dst, const char *text, const struct survey_words *words);

#endif
