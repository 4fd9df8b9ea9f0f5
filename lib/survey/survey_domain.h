/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer's domain as the world sees it: where its MX records lead, and what else it publishes
 * about its mail.
 */
#ifndef SURVEY_DOMAIN_H
#define SURVEY_DOMAIN_H

#include "survey/survey.h"

struct survey_backend {          /* a server of the customer's */
    char host[INET_DOMAIN_SIZE]; /* "": by its address */
    bool is_mx;                  /* the MX hosts of `host` are the servers */
    struct inet_endpoint address;
};

struct survey_domain {
    bool is_fallback; /* the customer's own server is first MX */
    bool greylists;
    const char *token; /* that must stand in a TXT record; NULL: none is wanted */
    const struct survey_backend *backends;
    unsigned backend_count;
};

/* A survey_judge: `question` is a struct survey_domain, the subject the domain's name. */
void survey_domain_judge(struct survey *survey, const void *question);

/* Its MX part: false if the domain does not exist, or nothing is known of it. */
bool survey_mx_judge(struct survey *survey, const struct survey_domain *domain);

/* The other parts, each with a finding at least. */
void survey_dmarc_judge(struct survey *survey);
void survey_sts_judge(struct survey *survey);
void survey_dane_judge(struct survey *survey); /* of those of our names that are MX */
#define SURVEY_OWNERSHIP_PREFIX "postern-verification="
void survey_ownership_judge(struct survey *survey, const char *token); /* of ".name": at name */

/* Is it one of our MX names? */
bool survey_is_our_name(const struct survey *survey, const char *name);

#endif
