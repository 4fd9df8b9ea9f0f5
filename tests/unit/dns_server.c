/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A TCP connection gets one answer, one after the other.
 */
#define _GNU_SOURCE 1

#include "dns_server.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dns_wire.h"

#define PACKET_MAX 65536

struct dns_server {
    struct loop *loop;
    struct dns_server_script *scripts;
    struct loop_watch *udp_watch, *tcp_watch, *stream_watch;
    int udp, tcp, stream; /* the stream: one connection at a time */
    bool is_mute, is_mute_for_others;
    struct sockaddr_in address;
};

static size_t
add_soa(uint8_t *p, size_t n, uint32_t minimum_s)
{
    n = add_name(p, n, SLICE("ns.test"));
    n = add_name(p, n, SLICE("hostmaster.test"));
    for (unsigned i = 0; i < 8; i++) /* serial, refresh, retry, expire */
        n = add_u16(p, n, 1);
    n = add_u16(p, n, minimum_s >> 16);
    return add_u16(p, n, minimum_s & 0xffff);
}

static size_t
add_data(uint8_t *p, size_t n, const struct dns_server_record *r)
{
    size_t size = r->preference > 0 ? r->preference : strlen(r->data);

    switch (r->type) {
    case SERVER_A:
    case SERVER_AAAA:
        inet_pton(r->type == SERVER_A ? AF_INET : AF_INET6, r->data, p + n);
        return n + (r->type == SERVER_A ? 4 : 16);
    case SERVER_SOA:
        return add_soa(p, n, r->ttl_s);
    case SERVER_TXT:
        return add_text(p, n, (struct slice){r->data, size});
    case SERVER_TLSA:
        return add_octets(p, n, (struct slice){r->data, size});
    case SERVER_MX:
        n = add_u16(p, n, r->preference);
        return add_name(p, n, slice_of(r->data));
    default:
        return add_name(p, n, slice_of(r->data));
    }
}

static size_t
add_record(uint8_t *p, size_t n, const struct dns_server_record *r)
{
    size_t length_at;

    if (strcmp(r->owner, "*") == 0)
        n = add_u16(p, n, 0xc00c);
    else
        n = add_name(p, n, slice_of(r->owner));
    n = add_u16(p, n, r->type);
    n = add_u16(p, n, 1);
    n = add_u16(p, n, r->ttl_s >> 16);
    n = add_u16(p, n, r->ttl_s & 0xffff);
    length_at = n;
    n += 2;
    n = add_data(p, n, r);
    add_u16(p, length_at, (unsigned)(n - length_at - 2));
    return n;
}

static bool
matches(const char *pattern, const char *name)
{
    size_t n = strlen(name), end = strlen(pattern) - 1;

    if (pattern[0] != '*')
        return strcasecmp(pattern, name) == 0;
    return n > end && strcasecmp(pattern + 1, name + n - end) == 0;
}

static struct dns_server_script *
find(struct dns_server *s, const char *name, unsigned type)
{
    for (struct dns_server_script *script = s->scripts; script->name != NULL; script++)
        if (script->type == type && matches(script->name, name))
            return script;
    return NULL;
}

static size_t
answer(const struct dns_server_script *script, const uint8_t *query, size_t question_end,
       bool is_tcp, uint8_t *p)
{
    unsigned count = 0, authorities = 0, flags = 0x8180;
    size_t n = question_end;

    memcpy(p, query, question_end);
    if (script != NULL && !(script->is_truncated && !is_tcp))
        for (; count < DNS_SERVER_RECORDS && script->records[count].owner; count++)
            n = add_record(p, n, &script->records[count]);
    if (count > 0 && script->records[count - 1].type == SERVER_SOA) {
        count--;
        authorities++;
    }
    flags |= script ? script->rcode : 5;
    if (script != NULL && script->is_truncated && !is_tcp)
        flags |= 0x0200;
    if (script != NULL && script->is_authentic)
        flags |= 0x0020;
    add_u16(p, 2, flags);
    add_u16(p, 4, 1);
    add_u16(p, 6, count);
    add_u16(p, 8, authorities);
    add_u16(p, 10, 0);
    return n;
}

static struct dns_server_script *
ask(struct dns_server *s, const uint8_t *query, size_t *question_end)
{
    char name[256];
    unsigned type;
    struct dns_server_script *script;

    *question_end = read_question(query, name, &type);
    script = find(s, name, type);
    if (script != NULL)
        script->asked++;
    return script;
}

/* The right answer's beginning with another id; then with another question. */
static void
forge(struct dns_server *s, const uint8_t *query, size_t question_end, const struct sockaddr *to,
      socklen_t to_size)
{
    static const struct dns_server_record lie = {"forged.test", SERVER_A, "203.0.113.66", 3600, 0};
    uint8_t packet[PACKET_MAX];
    struct dns_server_script script = {.records = {lie}};
    size_t n;

    script.records[0].owner = "target.test";
    n = answer(&script, query, question_end, false, packet);
    for (unsigned i = 1; i < 4; i++) {
        packet[1] = (uint8_t)(query[1] + i);
        (void)!sendto(s->udp, packet, n, 0, to, to_size);
    }
    packet[1] = query[1];
    packet[13] ^= 1;
    (void)!sendto(s->udp, packet, n, 0, to, to_size);
}

static void
on_udp(void *ctx)
{
    struct dns_server *s = ctx;
    uint8_t query[PACKET_MAX], packet[PACKET_MAX];
    struct sockaddr_storage from;
    socklen_t from_size = sizeof from;
    ssize_t got = recvfrom(s->udp, query, sizeof query, 0, (struct sockaddr *)&from, &from_size);
    struct dns_server_script *script;
    size_t question_end, n;

    if (got < 17)
        return;
    script = ask(s, query, &question_end);
    if (s->is_mute || (script ? script->is_silent : s->is_mute_for_others))
        return;
    if (script && script->is_forged)
        forge(s, query, question_end, (struct sockaddr *)&from, from_size);
    n = answer(script, query, question_end, false, packet);
    (void)!sendto(s->udp, packet, n, 0, (struct sockaddr *)&from, from_size);
}

static void
end_stream(struct dns_server *s)
{
    loop_watch_cancel(&s->stream_watch);
    if (s->stream >= 0)
        close(s->stream);
    s->stream = -1;
}

static void
on_stream(void *ctx)
{
    struct dns_server *s = ctx;
    uint8_t query[PACKET_MAX], packet[PACKET_MAX];
    struct dns_server_script *script;
    size_t question_end, n;

    if (recv(s->stream, query, sizeof query, 0) > 19) {
        script = ask(s, query + 2, &question_end);
        if (script)
            script->asked_by_tcp++;
        n = answer(script, query + 2, question_end, true, packet + 2);
        add_u16(packet, 0, (unsigned)n);
        (void)!send(s->stream, packet, n + 2, MSG_NOSIGNAL);
    }
    end_stream(s);
}

static void
on_tcp(void *ctx)
{
    struct dns_server *s = ctx;

    end_stream(s);
    s->stream = accept4(s->tcp, NULL, NULL, SOCK_CLOEXEC);
    if (s->stream >= 0)
        s->stream_watch = loop_watch_start(s->loop, s->stream, on_stream, s);
}

struct dns_server *
dns_server_open(struct loop *loop, struct dns_server_script *scripts)
{
    struct dns_server *s = mem_alloc(sizeof *s);
    socklen_t size = sizeof s->address;
    int rc;

    s->loop = loop;
    s->stream = -1;
    s->scripts = scripts;
    s->address.sin_family = AF_INET;
    s->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = bind(s->tcp, (struct sockaddr *)&s->address, size);
    CHECK(rc == 0 && listen(s->tcp, 5) == 0);
    rc = getsockname(s->tcp, (struct sockaddr *)&s->address, &size);
    CHECK(rc == 0);
    s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    rc = bind(s->udp, (struct sockaddr *)&s->address, size);
    CHECK(rc == 0);
    rc = setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &(int){1 << 20}, sizeof(int));
    CHECK(rc == 0);
    s->udp_watch = loop_watch_start(loop, s->udp, on_udp, s);
    s->tcp_watch = loop_watch_start(loop, s->tcp, on_tcp, s);
    return s;
}

void
dns_server_close(struct dns_server **held)
{
    struct dns_server *s = *held;

    *held = NULL;
    end_stream(s);
    loop_watch_cancel(&s->udp_watch);
    loop_watch_cancel(&s->tcp_watch);
    close(s->udp);
    close(s->tcp);
    free(s);
}

struct inet_endpoint
dns_server_endpoint(const struct dns_server *s)
{
    struct inet_endpoint e;
    int rc = inet_endpoint_from_sockaddr((const struct sockaddr *)&s->address, &e);

    CHECK(rc == ERR_OK);
    return e;
}

void
dns_server_mute(struct dns_server *s, bool is_mute)
{
    s->is_mute = is_mute;
}

void
dns_server_mute_others(struct dns_server *s)
{
    s->is_mute_for_others = true;
}
