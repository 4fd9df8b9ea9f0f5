/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A name server that does as it is told, over UDP and TCP on one port of this host, run by the
 * test's own loop.
 */
#ifndef TESTS_DNS_SERVER_H
#define TESTS_DNS_SERVER_H

#include "net/loop.h"

#include "base/inet.h"

enum { SERVER_A = 1, SERVER_CNAME = 5, SERVER_MX = 15, SERVER_AAAA = 28 };

struct dns_server_record {
    const char *owner;
    unsigned type;
    const char *data; /* an address; a name ("" is the root) */
    uint32_t ttl_s;
    uint16_t preference;
};

#define DNS_SERVER_RECORDS 20
struct dns_server_script { /* what is answered to one question */
    const char *name;
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

#endif
