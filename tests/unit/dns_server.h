/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A name server that does as it is told, over UDP and TCP on one port of this host, run by the
 * test's own loop.
 */
#ifndef TESTS_DNS_SERVER_H
#define TESTS_DNS_SERVER_H

#include "net/loop.h"

#include "base/inet.h"

enum {
    SERVER_A = 1,
    SERVER_CNAME = 5,
    SERVER_SOA = 6, /* the last of a script; for the authority section: its minimum is its ttl_s */
    SERVER_PTR = 12,
    SERVER_MX = 15,
    SERVER_TXT = 16,
    SERVER_AAAA = 28,
    SERVER_TLSA = 52,
};

struct dns_server_record {
    const char *owner; /* "*": the name that was asked for */
    unsigned type;
    const char *data; /* an address; a name ("" is the root); of TXT and TLSA octets */
    uint32_t ttl_s;
    uint16_t preference; /* of TXT and TLSA: how many octets; 0: up to the NUL */
};

#define DNS_SERVER_RECORDS 80
struct dns_server_script { /* what is answered to one question */
    const char *name;      /* "*.test": whatever ends so */
    unsigned type, rcode;
    bool is_silent;
    bool is_truncated; /* over UDP */
    bool is_forged;    /* wrong ids and a wrong question come first */
    bool is_authentic;
    struct dns_server_record records[DNS_SERVER_RECORDS];
    unsigned asked, asked_by_tcp; /* counted */
};

struct dns_server;
/* Without a script: REFUSED. Scripts end with a row without a name. */
struct dns_server *dns_server_open(struct loop *loop, struct dns_server_script *scripts);
void dns_server_close(struct dns_server **server);
struct inet_endpoint dns_server_endpoint(const struct dns_server *server);
void dns_server_mute(struct dns_server *server, bool is_mute); /* answers nothing */
void dns_server_mute_others(struct dns_server *server); /* answers nothing without a script */

#endif
