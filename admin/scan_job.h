/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Commands of our own, run one after the other as programs of their own, a few at once and not
 * faster than a rate: a test that hangs or dies ends no other.
 */
#ifndef ADMIN_SCAN_JOB_H
#define ADMIN_SCAN_JOB_H

#include "admin/call.h"

#define SCAN_PARALLEL 2

/* Of --per-minute: between two starts. */
enum command_status scan_job_pause(const struct call *call, int64_t *pause_ms);

struct scan_job_settings {
    const char *noun, *verb; /* run as: relayctl -c FILE NOUN VERB NAME --json */
    const char *const *names;
    size_t count;
    int64_t pause_ms; /* between two starts */
};

/* `output`: what it printed, "" if it did not end by itself in time.  False: no more are to be
 * started. */
typedef bool (*scan_job_result)(void *ctx, const char *name, struct slice output);
/* on_result once for each name, in the order in which they end.  Returns when all have ended that
 * were started. */
void scan_job_run(const struct call *call, const struct scan_job_settings *settings,
                  scan_job_result on_result, void *ctx);

#endif
