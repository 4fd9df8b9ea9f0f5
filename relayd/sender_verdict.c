/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One row a check: the verdict, and what of the facts its sentence names in brackets.  Who is put
 * off by the policy's word hears the sentence that would refuse him; who is put off since a look-up
 * failed hears what could not be looked up.
 */
#include "relayd/sender_verdict.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MINUTE_MS 60000

static const struct verdict_row {
    enum smtp_verdict refusal;
    const char *lookup; /* what could not be looked up */
} rows[] = {
    [POLICY_BAN] = {SMTP_VERDICT_BACKSCATTER_BAN, ""},
    [POLICY_PTR_NONE] = {SMTP_VERDICT_PTR_NONE, "the name (PTR) of the sending server's address"},
    [POLICY_PTR_MISMATCH] = {SMTP_VERDICT_PTR_MISMATCH,
                             "the address of the sending server's name (PTR)"},
    [POLICY_DIALIN] = {SMTP_VERDICT_DIALIN, "the name (PTR) of the sending server's address"},
    [POLICY_HELO] = {SMTP_VERDICT_HELO_ODD, "the name in HELO"},
    [POLICY_DNSBL] = {SMTP_VERDICT_DNSBL, "a block list"},
    [POLICY_SENDER] = {SMTP_VERDICT_SENDER_NO_DOMAIN, "the sender's domain"},
    [POLICY_SPF] = {SMTP_VERDICT_SPF_FAIL, "the SPF record of the sender's domain"},
    [POLICY_SPF_SOFT] = {SMTP_VERDICT_SPF_SOFTFAIL, "the SPF record of the sender's domain"},
    [POLICY_SPF_PERM] = {SMTP_VERDICT_SPF_PERMERROR, "the SPF record of the sender's domain"},
    [POLICY_SPF_TEMP] = {SMTP_VERDICT_SPF_TEMPERROR, "the SPF record of the sender's domain"},
    [POLICY_GREYLIST] = {SMTP_VERDICT_GREYLISTED, ""},
    [POLICY_MILTER] = {SMTP_VERDICT_MILTER_REFUSED, ""}, /* said by transaction_scan.c */
};
_Static_assert(ARRAY_SIZE(rows) == POLICY_CHECK_COUNT, "one row each");

/* The verdict that the check itself calls for. */
static enum smtp_verdict
refusal_of(enum policy_check check, const struct sender_facts *facts)
{
    const struct policy_facts *f = sender_facts_known(facts);

    if (check == POLICY_HELO && f->of[check] == POLICY_FACT_FORGED)
        return SMTP_VERDICT_HELO_FORGED;
    if (check == POLICY_SENDER && sender_facts_has_null_mx(facts))
        return SMTP_VERDICT_SENDER_NULL_MX;
    return rows[check].refusal;
}

enum smtp_verdict
sender_verdict_of(const struct policy_judgement *j, const struct sender_facts *facts)
{
    if (j->is_deferred_by_fact)
        return SMTP_VERDICT_LOOKUP_FAILED;
    if (j->verdict == POLICY_TRY_LATER && j->check != POLICY_SPF_TEMP &&
        j->check != POLICY_GREYLIST)
        return sender_facts_known(facts)->of[j->check] == POLICY_FACT_TEMPORARY
                   ? SMTP_VERDICT_LOOKUP_FAILED
                   : SMTP_VERDICT_POLICY_LATER;
    return refusal_of(j->check, facts);
}

/* What was looked up, as the sender can use it. */
static void
put_detail(enum policy_check check, const struct sender_facts *facts, char *dst, size_t size)
{
    char address[INET_ENDPOINT_SIZE];
    const char *input = sender_facts_input(facts, check);
    const struct sender_dnsbl_found *dnsbl = sender_facts_dnsbl(facts);
    const struct spf_result *spf = sender_facts_deciding_spf(facts);

    inet_address_text(sender_facts_client(facts), address);
    dst[0] = '\0';
    if (check == POLICY_DNSBL && dnsbl)
        snprintf(dst, size, "%s on %s%s%.120s", address, input, dnsbl->reason[0] ? ": " : "",
                 dnsbl->reason);
    else if (check == POLICY_HELO || check == POLICY_SENDER)
        snprintf(dst, size, "%.100s", input);
    else if (policy_check_bit(check) & POLICY_CHECKS_OF_SPF && spf && spf->identity == SPF_HELO)
        snprintf(dst, size, "%s, HELO %.100s", address, input);
    else if (input[0])
        snprintf(dst, size, "%s, %.100s", address, input);
    else
        snprintf(dst, size, "%s", address);
}

static void
put_sentence(const struct policy_judgement *j, enum smtp_verdict verdict,
             const struct sender_facts *facts, const char *text, char *dst, size_t size)
{
    struct smtp_reply refusal;
    char detail[SMTP_REPLY_TEXT_SIZE];

    put_detail(j->check, facts, detail, sizeof detail);
    if (verdict == SMTP_VERDICT_LOOKUP_FAILED) {
        snprintf(dst, size, "Cannot look up %s now, try again later (%.150s)",
                 rows[j->check].lookup, detail);
        return;
    }
    if (verdict == SMTP_VERDICT_POLICY_LATER) {
        refusal = smtp_verdict_reply(refusal_of(j->check, facts));
        snprintf(dst, size, "%.150s, try again later (%.150s)", refusal.text, detail);
        return;
    }
    snprintf(dst, size, "%.150s (%.150s)", text, detail);
}

struct smtp_reply
sender_verdict_reply(const struct policy_judgement *j, const struct sender_facts *facts)
{
    enum smtp_verdict verdict = sender_verdict_of(j, facts);
    struct smtp_reply reply = smtp_verdict_reply(verdict);
    char text[SMTP_REPLY_TEXT_SIZE], enhanced[16];

    put_sentence(j, verdict, facts, reply.text, text, sizeof text);
    snprintf(enhanced, sizeof enhanced, "%u.%u.%u", reply.enhanced.class, reply.enhanced.subject,
             reply.enhanced.detail);
    return smtp_reply_make(reply.code, enhanced, text);
}

struct smtp_reply
sender_verdict_first_contact(enum smtp_verdict verdict, int64_t wait_ms)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);
    long long minutes = (long long)((wait_ms + MINUTE_MS - 1) / MINUTE_MS);
    char text[SMTP_REPLY_TEXT_SIZE];

    snprintf(text, sizeof text, "%.160s in %lld minute%s", reply.text, minutes,
             minutes == 1 ? "" : "s");
    snprintf(reply.text, sizeof reply.text, "%s", text);
    return reply;
}
