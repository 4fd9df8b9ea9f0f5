/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What domains publish about their mail as text: DMARC records (RFC 7489 6.3), MTA-STS records and
 * policies (RFC 8461 3).  Pure; strangers have written it.
 *
 * ERR_SYNTAX comes with a part of a sentence in `why` that says what is wrong; it may quote.
 */
#ifndef SURVEY_TEXT_H
#define SURVEY_TEXT_H

#include <stdint.h>

#include "base/inet.h"

#define SURVEY_WHY_SIZE 160

/* --- DMARC. */

enum survey_dmarc_policy { SURVEY_POLICY_NONE, SURVEY_POLICY_QUARANTINE, SURVEY_POLICY_REJECT };

struct survey_dmarc {
    enum survey_dmarc_policy policy, subdomains;
    unsigned percent;
    bool has_reports;
};

const char *survey_dmarc_word(enum survey_dmarc_policy policy);
bool survey_dmarc_is(struct slice text); /* it says that it is one */
MUST_USE int survey_dmarc_parse(struct slice text, struct survey_dmarc *dmarc,
                                char why[SURVEY_WHY_SIZE]);

/* --- MTA-STS. */

#define SURVEY_STS_ID_SIZE 33
bool survey_sts_is(struct slice text);
MUST_USE int survey_sts_parse(struct slice text, char id[SURVEY_STS_ID_SIZE],
                              char why[SURVEY_WHY_SIZE]);

enum survey_sts_mode { SURVEY_STS_MODE_NONE, SURVEY_STS_MODE_TESTING, SURVEY_STS_MODE_ENFORCE };

#define SURVEY_STS_HOSTS_MAX 32
struct survey_sts_policy {
    enum survey_sts_mode mode;
    uint32_t max_age_s;
    unsigned host_count;
    char hosts[SURVEY_STS_HOSTS_MAX][INET_DOMAIN_SIZE]; /* as written; "*.isp.example" too */
};

const char *survey_sts_mode_word(enum survey_sts_mode mode);
MUST_USE int survey_sts_policy_parse(struct slice text, struct survey_sts_policy *policy,
                                     char why[SURVEY_WHY_SIZE]);
/* By name, or by an asterisk for its first label (RFC 8461 4.1). */
bool survey_sts_policy_has(const struct survey_sts_policy *policy, const char *host);

#endif
