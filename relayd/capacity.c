/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The kernel spreads connections over the workers by a hash, and a worker that has died leaves its
 * share to the others for a moment: so each worker must be able to hold all of max-connections.
 *
 * The table of descriptors a worker: clients, connections to backends, files of large messages in
 * passage, to content scanners, its own.  When there are too few, the first three share what there
 * is in the same proportion.
 */
#include "relayd/capacity.h"

#include <stdio.h>
#include <sys/resource.h>

#include "relayd/scanners.h"

/* What a worker has open beside its clients: listening sockets, channels, segments, libraries. */
#define OWN_DESCRIPTORS 128

/* Any message may have a file while memory is short; beyond so many there is no room (452). */
#define SPILLS_AT_LEAST 256

static uint64_t
for_clients(const struct config *config)
{
    return config->max_connections;
}

/* Each client with mail may hold a connection to a backend, whose number is bounded for each
 * backend and not in all; half as many is more than a node at work has been seen to use. */
static uint64_t
for_backends(const struct config *config)
{
    return config->max_connections / 2;
}

static uint64_t
for_spill(const struct config *config)
{
    uint64_t n = config->max_connections / 16;

    if (n >= SPILLS_AT_LEAST)
        return n;
    return config->max_connections < SPILLS_AT_LEAST ? config->max_connections : SPILLS_AT_LEAST;
}

static uint64_t
shared(const struct config *config)
{
    return for_clients(config) + for_backends(config) + for_spill(config);
}

static uint64_t
needed(const struct config *config)
{
    return shared(config) + OWN_DESCRIPTORS + CAPACITY_LINGERING + config->listen.count +
           config->milters.count * SCANNERS_AT_ONCE;
}

/* What is left of `wanted`, at least 1. */
static unsigned
scaled(const struct config *config, uint64_t wanted)
{
    uint64_t need = needed(config), own = need - shared(config), n;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return (unsigned)wanted;
    n = limit.rlim_cur <= own ? 0 : (limit.rlim_cur - own) * wanted / shared(config);
    return n > 0 ? (unsigned)n : 1;
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
    return scaled(config, for_clients(config));
}

unsigned
capacity_of_spill(const struct config *config)
{
    return scaled(config, for_spill(config));
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
