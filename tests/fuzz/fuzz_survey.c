/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What strangers publish about their mail: DMARC and MTA-STS records, policies, pages of HTTP.  The
 * first octet says which.  What is wrong is said in one printable line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "survey/survey_fetch.h"
#include "survey/survey_finding.h"
#include "survey/survey_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_why(int rc, const char *why)
{
    CHECK((rc < 0) == (why[0] != '\0'));
    for (; *why; why++)
        CHECK(*why >= 0x20 && *why < 0x7f);
}

static void
try_dmarc(struct slice text)
{
    struct survey_dmarc dmarc;
    char why[SURVEY_WHY_SIZE] = "";
    int rc = survey_dmarc_parse(text, &dmarc, why);

    check_why(rc, why);
    CHECK(rc < 0 || (dmarc.percent <= 100 && survey_dmarc_word(dmarc.policy)[0]));
}

static void
try_sts(struct slice text)
{
    char id[SURVEY_STS_ID_SIZE], why[SURVEY_WHY_SIZE] = "";
    int rc = survey_sts_parse(text, id, why);

    check_why(rc, why);
    CHECK(rc < 0 || strlen(id) > 0);
}

static void
try_policy(struct slice text)
{
    struct survey_sts_policy policy;
    char why[SURVEY_WHY_SIZE] = "";
    int rc = survey_sts_policy_parse(text, &policy, why);

    check_why(rc, why);
    CHECK(policy.host_count <= SURVEY_STS_HOSTS_MAX);
    (void)survey_sts_policy_has(&policy, "mx1.isp.example");
}

static void
try_page(struct slice text)
{
    struct survey_page page;

    survey_fetch_read(text, &page);
    CHECK((page.state == SURVEY_PAGE_OK) == (page.why[0] == '\0'));
    CHECK(page.state != SURVEY_PAGE_OK || page.content.n <= text.n);
    (void)survey_fetch_is_whole(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct slice text) = {try_dmarc, try_sts, try_policy, try_page};

    if (size == 0)
        return 0;
    tries[data[0] % ARRAY_SIZE(tries)]((struct slice){(const char *)data + 1, size - 1});
    return 0;
}
