/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Aliases are followed here; the answer says the data is the name's own.
 */
#define _GNU_SOURCE 1

#include "spf_zone_server.h"

#include <stdlib.h>
#include <unistd.h>

#include "dns_wire.h"
#include "spf_zone.h"

#define PACKET_MAX 4096

struct spf_zone_server {
    const json_t *zone;
    struct loop_watch *watch;
    int fd;
    unsigned asked;
    bool is_mute;
    struct sockaddr_in address;
    struct spf_zone_found found;
};

static size_t
add_item(uint8_t *p, size_t n, unsigned type, const struct spf_zone_item *item)
{
    struct slice octets = {item->octets, item->n};
    size_t length_at;

    n = add_u16(p, n, 0xc00c); /* the question's name */
    n = add_u16(p, n, type);
    n = add_u16(p, n, 1);
    n = add_u16(p, n, 0);
    length_at = n = add_u16(p, n, 300);
    n += 2;
    if (type == 15)
        n = add_u16(p, n, item->preference);
    if (type == 16)
        n = add_text(p, n, octets);
    else if (type == 15 || type == 12)
        n = add_name(p, n, octets);
    else
        n = add_octets(p, n, octets);
    add_u16(p, length_at, (unsigned)(n - length_at - 2));
    return n;
}

static void
find(struct spf_zone_server *s, const char *name, unsigned type)
{
    static const struct {
        unsigned number;
        enum spf_type type;
    } types[] = {{1, SPF_TYPE_A},
                 {28, SPF_TYPE_AAAA},
                 {15, SPF_TYPE_MX},
                 {16, SPF_TYPE_TXT},
                 {12, SPF_TYPE_PTR}};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].number == type)
            spf_zone_find(s->zone, name, types[i].type, &s->found);
}

static void
on_query(void *ctx)
{
    struct spf_zone_server *s = ctx;
    uint8_t query[PACKET_MAX], packet[PACKET_MAX * 20];
    struct sockaddr_storage from;
    socklen_t from_size = sizeof from;
    ssize_t got = recvfrom(s->fd, query, sizeof query, 0, (struct sockaddr *)&from, &from_size);
    char name[256];
    unsigned type;
    size_t n;

    if (got < 17)
        return;
    s->asked++;
    n = read_question(query, name, &type);
    find(s, name, type);
    if (s->is_mute || s->found.result == SPF_ZONE_TIMEOUT)
        return;
    memcpy(packet, query, n);
    add_u16(packet, 2, 0x8180 | (s->found.result == SPF_ZONE_NO_NAME ? 3 : 0));
    add_u16(packet, 6, s->found.count);
    add_u16(packet, 8, 0);
    add_u16(packet, 10, 0);
    for (unsigned i = 0; i < s->found.count; i++)
        n = add_item(packet, n, type, &s->found.items[i]);
    (void)!sendto(s->fd, packet, n, 0, (struct sockaddr *)&from, from_size);
}

struct spf_zone_server *
spf_zone_server_open(struct loop *loop, const json_t *zone)
{
    struct spf_zone_server *s = mem_alloc(sizeof *s);
    socklen_t size = sizeof s->address;
    int rc;

    s->zone = zone;
    s->address.sin_family = AF_INET;
    s->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = bind(s->fd, (struct sockaddr *)&s->address, size);
    CHECK(rc == 0);
    rc = getsockname(s->fd, (struct sockaddr *)&s->address, &size);
    CHECK(rc == 0);
    s->watch = loop_watch_start(loop, s->fd, on_query, s);
    return s;
}

void
spf_zone_server_close(struct spf_zone_server **held)
{
    struct spf_zone_server *s = *held;

    *held = NULL;
    loop_watch_cancel(&s->watch);
    close(s->fd);
    free(s);
}

struct inet_endpoint
spf_zone_server_endpoint(const struct spf_zone_server *s)
{
    struct inet_endpoint e;
    int rc = inet_endpoint_from_sockaddr((const struct sockaddr *)&s->address, &e);

    CHECK(rc == ERR_OK);
    return e;
}

unsigned
spf_zone_server_asked(const struct spf_zone_server *s)
{
    return s->asked;
}

void
spf_zone_server_mute(struct spf_zone_server *s, bool is_mute)
{
    s->is_mute = is_mute;
}
