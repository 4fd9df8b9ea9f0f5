/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which addresses this host has is asked of the kernel's routing, by a UDP socket that is connected
 * and sends nothing: the way to an own address begins at that address.  A worker's sandbox has
 * neither netlink nor files, and what is asked at start would not be true for long.
 */
#define _GNU_SOURCE 1

#include "route/destination_own.h"

#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define KNOWN_MS 60000

static bool
is_zero(const struct inet_endpoint *e)
{
    static const uint8_t zero[16];

    return memcmp(e->addr, zero, e->family == 4 ? 4 : 16) == 0;
}

static bool
is_same_address(const struct inet_endpoint *a, const struct inet_endpoint *b)
{
    return a->family == b->family && memcmp(a->addr, b->addr, a->family == 4 ? 4 : 16) == 0;
}

static bool
ask_kernel(const struct inet_endpoint *e)
{
    struct inet_endpoint probe = *e, from;
    struct sockaddr_storage ss;
    socklen_t size;
    int fd = socket(e->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_local = false;

    if (fd < 0)
        return false;
    probe.port = 9;
    size = inet_endpoint_to_sockaddr(&probe, &ss);
    if (connect(fd, (struct sockaddr *)&ss, size) == 0) {
        size = sizeof ss;
        is_local = getsockname(fd, (struct sockaddr *)&ss, &size) == 0 &&
                   inet_endpoint_from_sockaddr((struct sockaddr *)&ss, &from) == ERR_OK &&
                   is_same_address(&from, e);
    }
    close(fd);
    return is_local;
}

static bool
is_local(struct destination_own *own, const struct inet_endpoint *e, int64_t now_ms)
{
    unsigned i = 0;

    if (is_zero(e) || (e->family == 4 && e->addr[0] == 127))
        return true;
    while (i < DESTINATION_OWN_ADDRESSES &&
           !(now_ms < own->known[i].until_ms && is_same_address(&own->known[i].address, e)))
        i++;
    if (i == DESTINATION_OWN_ADDRESSES) {
        i = own->next++ % DESTINATION_OWN_ADDRESSES;
        own->known[i].address = *e;
        own->known[i].until_ms = now_ms + KNOWN_MS;
        own->known[i].is_local = ask_kernel(e);
    }
    return own->known[i].is_local;
}

bool
destination_own_endpoint(struct destination_own *own, const struct config *config,
                         const struct inet_endpoint *e, int64_t now_ms)
{
    for (size_t i = 0; i < config->listen.count; i++) {
        const struct inet_endpoint *listen = &config->listen.items[i];

        if (listen->port != e->port)
            continue;
        if (is_same_address(listen, e) || (is_zero(e) && listen->family == e->family))
            return true;
        if (is_zero(listen) && listen->family == e->family && is_local(own, e, now_ms))
            return true;
    }
    return false;
}

bool
destination_own_name(const struct config *config, const char *name)
{
    return strcasecmp(config->hostname, name) == 0;
}
