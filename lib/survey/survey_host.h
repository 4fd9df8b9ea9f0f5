/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A host that sends mail as those see it that it sends to: its name, its HELO, lists, SPF.
 */
#ifndef SURVEY_HOST_H
#define SURVEY_HOST_H

#include "survey/survey.h"

struct survey_sender {
    struct inet_endpoint address;
    const char *helo;   /* NULL: not asked about */
    const char *domain; /* in whose name it sends; NULL: not asked about */
};

/* A survey_judge: `question` is a struct survey_sender, the subject its address. */
void survey_sender_judge(struct survey *survey, const void *question);

/* Does the address have a name that leads back to it, and is that `expected` (NULL: any)? */
void survey_ptr_judge(struct survey *survey, const struct inet_endpoint *address,
                      const char *expected);
/* Is it on one of the lists of the setting dnsbl? */
void survey_lists_judge(struct survey *survey, const struct inet_endpoint *address);

#endif
