/* SPDX-License-Identifier: BSD-2-Clause
 *
 * From what was seen of the connections to findings: reachability, greeting, capabilities, TLS.
 * Pure: no clock, no sockets.
 */
#include "conformance/conformance_judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CERTIFICATE_WARN_MS (14 * 86400000LL)

const struct finding_row conformance_rows[CONFORMANCE_ID_COUNT] = {
#define FINDING(id, check, word, verdict, text, remedy) \
    [CONFORMANCE_##id] = {check, word, FINDING_##verdict, text, remedy},
#include "conformance/conformance.def"
#undef FINDING
};

void
conformance_say(const struct conformance_judge *j, enum conformance_id id, const char *fmt, ...)
{
    struct conformance_finding finding = {.id = id};
    va_list args;

    va_start(args, fmt);
    vsnprintf(finding.detail, sizeof finding.detail, fmt, args);
    va_end(args);
    j->each(j->ctx, &finding);
}

static void
say_reply(const struct conformance_judge *j, enum conformance_id id, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];

    conformance_say(j, id, "%s", smtp_reply_text(reply, text, sizeof text));
}

static bool
is_ok(const struct smtp_reply *reply)
{
    return reply->code / 100 == 2;
}

/* --- Connection, greeting, EHLO.  false: there is no more to judge. */

static bool
judge_connection(const struct conformance_judge *j)
{
    const struct conformance_talk_result *r = &j->seen->first;

    if (!r->connected) {
        conformance_say(j, CONFORMANCE_NO_CONNECTION, "%s", r->failure);
        return false;
    }
    conformance_say(j, CONFORMANCE_CONNECTS, "%" PRId64 " ms", r->connect_ms);
    return true;
}

static bool
is_our_name(const struct conformance_seen *seen, const struct smtp_reply *banner)
{
    size_t n = strcspn(banner->text, " ");

    return slice_equal_nocase((struct slice){banner->text, n}, slice_of(seen->hostname));
}

static bool
judge_greeting(const struct conformance_judge *j)
{
    const struct conformance_talk_result *r = &j->seen->first;

    if (r->banner.code == 0 && r->is_garbage)
        conformance_say(j, CONFORMANCE_NO_SMTP, "%s", r->failure);
    else if (r->banner.code == 0 && r->timed_out)
        conformance_say(j, CONFORMANCE_SILENT, "no greeting within %" PRId64 " s",
                        j->seen->timeout_ms / 1000);
    else if (r->banner.code == 0)
        conformance_say(j, CONFORMANCE_HANGS_UP, "%s", r->failure);
    else if (!is_ok(&r->banner))
        say_reply(j, CONFORMANCE_TURNS_AWAY, &r->banner);
    else if (is_our_name(j->seen, &r->banner))
        say_reply(j, CONFORMANCE_IS_US, &r->banner);
    else {
        say_reply(j, CONFORMANCE_GREETS, &r->banner);
        return true;
    }
    return false;
}

static bool
judge_ehlo(const struct conformance_judge *j)
{
    const struct conformance_talk_result *r = &j->seen->first;

    if (is_ok(&r->ehlo))
        say_reply(j, CONFORMANCE_EHLO, &r->ehlo);
    else if (is_ok(&r->helo))
        say_reply(j, CONFORMANCE_HELO_ONLY, &r->ehlo);
    else if (r->ehlo.code != 0)
        say_reply(j, CONFORMANCE_EHLO_REFUSED, &r->ehlo);
    else if (!r->is_garbage) /* that is said of the protocol */
        conformance_say(j, CONFORMANCE_HANGS_UP_LATER, "%s behind EHLO", r->failure);
    return is_ok(&r->ehlo) || is_ok(&r->helo);
}

/* What is odd or lost in the conversations behind. */
static void
judge_protocol(const struct conformance_judge *j)
{
    const char *odd = j->seen->first.odd, *lost = "", *garbage = "";
    enum smtp_phase phase = SMTP_PHASE_EHLO;

    if (j->seen->first.is_garbage)
        garbage = j->seen->first.failure;
    for (unsigned i = 0; i < j->seen->session_count; i++) {
        const struct conformance_talk_result *r = &j->seen->sessions[i].result;

        if (odd[0] == '\0')
            odd = r->odd;
        if (r->is_garbage)
            garbage = r->failure;
        else if ((r->ready || r->tls_works) && r->failure[0] && lost[0] == '\0') {
            lost = r->failure;
            phase = r->failed_phase;
        }
    }
    if (garbage[0])
        conformance_say(j, CONFORMANCE_NO_SMTP, "%s", garbage);
    else if (lost[0])
        conformance_say(j, CONFORMANCE_HANGS_UP_LATER, "%s, at %s", lost, smtp_phase_word(phase));
    else if (odd[0])
        conformance_say(j, CONFORMANCE_ODD_ANSWERS, "%s", odd);
    else
        conformance_say(j, CONFORMANCE_SPEAKS_SMTP, "%s", "");
}

/* --- What it offers. */

static void
judge_size(const struct conformance_judge *j, const struct smtp_capabilities *caps)
{
    uint64_t needed = j->seen->size_needed_bytes;

    if (!caps->has_size)
        conformance_say(j, CONFORMANCE_SIZE_UNSAID, "%s", "");
    else if (caps->size_max_bytes == 0)
        conformance_say(j, CONFORMANCE_SIZE_ENOUGH, "no limit of its own");
    else if (needed != UINT64_MAX && caps->size_max_bytes < needed)
        conformance_say(j, CONFORMANCE_SIZE_SMALL, "%" PRIu64 " octets; the limit is %" PRIu64,
                        caps->size_max_bytes, needed);
    else
        conformance_say(j, CONFORMANCE_SIZE_ENOUGH, "%" PRIu64 " octets", caps->size_max_bytes);
}

static void
judge_capabilities(const struct conformance_judge *j)
{
    const struct smtp_capabilities *caps = &j->seen->first.caps;

    if (!is_ok(&j->seen->first.ehlo))
        return; /* HELO: nothing is offered, and that has been said */
    judge_size(j, caps);
    conformance_say(j, caps->pipelining ? CONFORMANCE_PIPELINING : CONFORMANCE_NO_PIPELINING, "%s",
                    "");
    conformance_say(j, caps->eightbitmime ? CONFORMANCE_EIGHTBIT : CONFORMANCE_NO_EIGHTBIT, "%s",
                    "");
    conformance_say(j, caps->smtputf8 ? CONFORMANCE_UTF8 : CONFORMANCE_NO_UTF8, "%s", "");
    conformance_say(j, caps->dsn ? CONFORMANCE_DSN : CONFORMANCE_NO_DSN, "%s", "");
}

/* --- TLS, against the backend's policy. */

static void
judge_certificate(const struct conformance_judge *j)
{
    const struct conformance_certificate *c = &j->seen->first.certificate;
    int64_t left_ms = c->end_ms - j->seen->wall_ms;
    bool must = j->seen->tls == TLS_POLICY_VERIFY;

    if (!c->is_seen)
        return;
    if (must && c->trouble[0])
        conformance_say(j, CONFORMANCE_CERTIFICATE_REFUSED, "%s", c->trouble);
    else if (left_ms < 0)
        conformance_say(j, CONFORMANCE_CERTIFICATE_EXPIRED, "%" PRId64 " days ago",
                        -left_ms / 86400000);
    else if (left_ms < CERTIFICATE_WARN_MS)
        conformance_say(j, CONFORMANCE_CERTIFICATE_ENDS, "in %" PRId64 " days", left_ms / 86400000);
    else if (c->trouble[0])
        conformance_say(j, CONFORMANCE_CERTIFICATE_UNTRUSTED, "%s", c->trouble);
    else
        conformance_say(j, CONFORMANCE_CERTIFICATE, "for %" PRId64 " days more",
                        left_ms / 86400000);
}

static void
judge_tls(const struct conformance_judge *j)
{
    const struct conformance_talk_result *r = &j->seen->first;
    bool must = j->seen->tls == TLS_POLICY_ENCRYPT || j->seen->tls == TLS_POLICY_VERIFY;

    if (j->seen->tls == TLS_POLICY_NONE)
        conformance_say(j, r->tls_offered ? CONFORMANCE_TLS_UNUSED : CONFORMANCE_TLS_NOT_USED, "%s",
                        "");
    else if (!r->tls_offered)
        conformance_say(j, must ? CONFORMANCE_TLS_NEEDED : CONFORMANCE_TLS_MISSING, "%s", "");
    else if (!r->tls_works)
        conformance_say(j, must ? CONFORMANCE_TLS_FAILS : CONFORMANCE_TLS_BROKEN, "%s",
                        r->tls_text);
    else
        conformance_say(j, CONFORMANCE_TLS, "%s", r->tls_text);
    if (r->injected_bytes > 0)
        conformance_say(j, CONFORMANCE_TLS_INJECTED, "%zu octets", r->injected_bytes);
    judge_certificate(j);
}

static void
judge_parallel(const struct conformance_judge *j)
{
    unsigned tried = j->seen->parallel_tried, ready = j->seen->parallel_ready;

    if (tried < 2)
        conformance_say(j, CONFORMANCE_PARALLEL_UNTRIED, "%s", "");
    else
        conformance_say(j, ready == tried ? CONFORMANCE_PARALLEL : CONFORMANCE_PARALLEL_ONE,
                        "%u of %u", ready, tried);
}

void
conformance_judge(const struct conformance_seen *seen, conformance_each each, void *ctx)
{
    struct conformance_judge j = {seen, each, ctx};

    if (!judge_connection(&j) || !judge_greeting(&j))
        return;
    if (judge_ehlo(&j)) {
        judge_capabilities(&j);
        judge_tls(&j);
        if (seen->session_count > 0 && seen->first.ready) {
            conformance_judge_answers(&j);
            judge_parallel(&j);
        }
        judge_protocol(&j);
    } else if (seen->first.is_garbage)
        judge_protocol(&j);
}
