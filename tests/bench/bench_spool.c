/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Group commit by itself: N records from S logical sessions, each of which hands in its next record
 * when the last one is durable.  Prints records a second, CPU and flushes.  The
 * work is real: the envelope's encoding, the checksums, the writes and the syncs; there is no SMTP.
 *
 * usage: bench_spool DIRECTORY [RECORDS [SESSIONS [BODY_BYTES]]]   (the directory must be empty)
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "tests/unit/spool_fixture.h"

static struct {
    struct spool_parent parent;
    uint64_t records, started, done, failed;
    char *body;
    size_t body_bytes;
    int64_t *latencies_us;
} bench;

struct session {
    int64_t started_us;
};

static void start_next(struct session *session);

static void
on_commit(void *ctx, int rc)
{
    struct session *session = ctx;

    bench.latencies_us[bench.done++] = clock_monotonic_us() - session->started_us;
    bench.failed += rc < 0;
    start_next(session);
}

static void
start_next(struct session *session)
{
    struct spool_envelope e = spool_fixture_envelope(bench.started);
    struct iovec body = {bench.body, bench.body_bytes};

    if (bench.started == bench.records)
        return;
    bench.started++;
    session->started_us = clock_monotonic_us();
    spool_commit_start(bench.parent.writer, &e, &body, 1, on_commit, session);
}

static uint64_t
argument(int argc, char **argv, int at, uint64_t otherwise)
{
    uint64_t v = otherwise;

    if (at < argc && parse_u64(slice_of(argv[at]), &v) < 0) {
        fprintf(stderr, "bench_spool: %s is not a number\n", argv[at]);
        exit(2);
    }
    return v;
}

static int
by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double
cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
report(double seconds, double cpu)
{
    double n = (double)bench.done;

    qsort(bench.latencies_us, bench.done, sizeof *bench.latencies_us, by_value);
    printf("records=%.0f failed=%llu seconds=%.3f records_per_s=%.0f cpu_s_per_1000=%.4f "
           "flushes_per_record=%.4f p50_ms=%.2f p99_ms=%.2f segments=%u\n",
           n, (unsigned long long)bench.failed, seconds, n / seconds, cpu / n * 1000,
           (spool_counts.fdatasyncs + spool_counts.fsyncs) / n,
           (double)bench.latencies_us[bench.done / 2] / 1000,
           (double)bench.latencies_us[bench.done * 99 / 100] / 1000, bench.parent.next_number);
}

int
main(int argc, char **argv)
{
    uint64_t session_count = argument(argc, argv, 3, 50);
    struct session *sessions = mem_alloc(session_count * sizeof *sessions);
    int dir_fd = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int64_t start_us;
    double cpu;

    if (dir_fd < 0) {
        fprintf(stderr, "usage: bench_spool DIRECTORY [RECORDS [SESSIONS [BODY_BYTES]]]\n");
        return 2;
    }
    bench.records = argument(argc, argv, 2, 10000);
    bench.body_bytes = argument(argc, argv, 4, 10240);
    bench.body = spool_fixture_body(1, bench.body_bytes);
    bench.latencies_us = mem_alloc((bench.records + 1) * sizeof *bench.latencies_us);
    spool_parent_begin(&bench.parent, &spool_io_counting, dir_fd);
    start_us = clock_monotonic_us();
    cpu = cpu_seconds();
    for (uint64_t i = 0; i < session_count; i++)
        start_next(&sessions[i]);
    while (bench.done < bench.records)
        spool_parent_turn_for(&bench.parent, 10);
    report((double)(clock_monotonic_us() - start_us) / 1e6, cpu_seconds() - cpu);
    spool_parent_end(&bench.parent);
    free(bench.body);
    free(bench.latencies_us);
    free(sessions);
    return bench.failed > 0;
}
