/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the crowd prints: one line of JSON, with each reply by phase and code, and each connection
 * that ended otherwise by phase and how.
 */
#include "crowd.h"

#define X_TEXT(name, text) text,
static const char *const phase_names[PHASE_COUNT] = {CROWD_PHASES(X_TEXT)};

static const char *const loss_names[LOSS_COUNT] = {"refused", "reset", "eof",
                                                   "timeout", "tls",   "other"};

static void
print_replies(void)
{
    const char *comma = "";
    printf(", \"replies\": {");
    for (int p = 0; p < PHASE_COUNT; p++) {
        for (int c = 0; c < CROWD_CODES; c++) {
            if (crowd_run.replies[p][c] == 0)
                continue;
            printf("%s\"%s %d\": %lu", comma, phase_names[p], c,
                   (unsigned long)crowd_run.replies[p][c]);
            comma = ", ";
        }
    }
    printf("}");
}

static void
print_losses(void)
{
    const char *comma = "";
    printf(", \"losses\": {");
    for (int p = 0; p < PHASE_COUNT; p++) {
        for (int l = 0; l < LOSS_COUNT; l++) {
            if (crowd_run.losses[p][l] == 0)
                continue;
            printf("%s\"%s %s\": %lu", comma, phase_names[p], loss_names[l],
                   (unsigned long)crowd_run.losses[p][l]);
            comma = ", ";
        }
    }
    printf("}");
}

void
crowd_print_counts(const char *event)
{
    sort_times(crowd_run.latency_us, crowd_run.accepted);
    printf("{\"event\": \"%s\", \"begun\": %zu, \"ended\": %zu, \"standing\": %zu, "
           "\"accepted\": %zu, \"octets\": %lu, \"seconds\": %.3f, \"p50_ms\": %.2f, "
           "\"p99_ms\": %.2f, \"max_ms\": %.2f",
           event, crowd_run.begun, crowd_run.ended, crowd_run.standing, crowd_run.accepted,
           (unsigned long)crowd_run.octets, (double)(now_us() - crowd_run.begun_us) / 1e6,
           percentile_ms(crowd_run.latency_us, crowd_run.accepted, 50),
           percentile_ms(crowd_run.latency_us, crowd_run.accepted, 99),
           percentile_ms(crowd_run.latency_us, crowd_run.accepted, 100));
    print_replies();
    print_losses();
    printf("}\n");
    fflush(stdout);
}
