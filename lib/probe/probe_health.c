/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An operator's probe is like any other: it claims, and tells its end.  Only that it needs no
 * overdue moment.
 */
#include "probe/probe_health.h"

void
probe_health_begin(struct shared_table *table, const struct inet_endpoint *endpoint,
                   int64_t wall_ms)
{
    shared_health_probe_now(table, endpoint, wall_ms);
    (void)shared_health_may_probe(table, endpoint, wall_ms);
}

static enum shared_health_reason
reason_of(const struct probe_report *report)
{
    if (report->timed_out)
        return SHARED_REASON_TIMEOUT;
    if (report->failed_phase == SMTP_PHASE_CONNECT)
        return SHARED_REASON_CONNECT;
    if (report->failed_phase == SMTP_PHASE_BANNER)
        return SHARED_REASON_BANNER;
    return report->failed_phase == SMTP_PHASE_STARTTLS ? SHARED_REASON_TLS : SHARED_REASON_EHLO;
}

struct probe_change
probe_health_end(struct shared_table *table, const struct inet_endpoint *endpoint,
                 const struct probe_report *report, int64_t wall_ms, int64_t probe_min_ms,
                 int64_t probe_max_ms)
{
    struct probe_change change = {.before = shared_health_state_of(table, endpoint, wall_ms)};

    if (!report->is_up)
        (void)shared_health_failed(table, endpoint, reason_of(report), wall_ms, probe_min_ms,
                                   probe_max_ms);
    else
        (void)shared_health_succeeded(table, endpoint, wall_ms);
    if (report->took_rcpt || (report->is_up && report->refused_rcpt))
        (void)shared_health_probed(table, endpoint, report->took_rcpt, wall_ms, probe_min_ms,
                                   probe_max_ms);
    else if (report->is_up) /* nothing was found of recipients: who else may know may probe */
        shared_health_probe_now(table, endpoint, wall_ms);
    change.after = shared_health_state_of(table, endpoint, wall_ms);
    return change;
}
