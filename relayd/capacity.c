/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The kernel spreads connections over the workers by a hash, and a worker that has died leaves its
 * share to the others for a moment: so each worker must be able to hold all of max-connections.
 */
#include "relayd/capacity.h"

#include <stdio.h>
#include <sys/resource.h>

/* What a worker has open beside its clients: listening sockets, channels, segments, libraries. */
#define OWN_DESCRIPTORS 128

static uint64_t
needed(const struct config *config)
{
    /* Each client with mail may hold a connection to a backend, whose number is bounded for each
     * backend and not in all; half as many is more than a node at work has been seen to use. */
    return (uint64_t)config->max_connections + config->max_connections / 2 + OWN_DESCRIPTORS +
           CAPACITY_LINGERING + config->listen.count;
}

void
capacity_raise(const struct config *config)
{
    rlim_t need = needed(config);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    if (limit.rlim_max < need) {
        struct rlimit higher = {need, need};

        if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
            return;
    }
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

unsigned
capacity_of_worker(const struct config *config)
{
    uint64_t need = needed(config),
             own = need - config->max_connections - config->max_connections / 2;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return config->max_connections;
    /* The same proportion of clients and backends in what there is. */
    return limit.rlim_cur <= own ? 1 : (unsigned)((limit.rlim_cur - own) * 2 / 3);
}

const char *
capacity_problem(const struct config *config, char dst[CAPACITY_TEXT_SIZE])
{
    struct rlimit limit;

    dst[0] = '\0';
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max >= needed(config))
        return dst;
    snprintf(
        dst, CAPACITY_TEXT_SIZE,
        "max-connections: %u needs %llu descriptors a worker, and the limit here is %llu (room "
        "for %u connections a worker); raise it (LimitNOFILE= of the systemd unit, or ulimit "
        "-n), or lower max-connections",
        config->max_connections, (unsigned long long)needed(config),
        (unsigned long long)limit.rlim_max, capacity_of_worker(config));
    return dst;
}
