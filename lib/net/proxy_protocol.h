/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The header of the PROXY protocol, version 1 (a line) or 2 (binary), as a load balancer puts it in
 * front of a connection (haproxy, doc/proxy-protocol.txt).  Pure: octets in, a value out.
 */
#ifndef NET_PROXY_PROTOCOL_H
#define NET_PROXY_PROTOCOL_H

#include "base/inet.h"

#define PROXY_PROTOCOL_MAX 4096 /* octets of a header; version 2 could name 65551 */

struct proxy_protocol_header {
    /* The client speaks to the proxy itself (LOCAL), or its addresses are of no kind that we know
     * (UNKNOWN, unix sockets, datagrams): the connection's own are to be used. */
    bool is_own;
    struct inet_endpoint source, destination; /* family 0 if is_own */
};

/* `input` is all that has come so far.  ERR_OK: the header is whole, its *size octets are to be
 * consumed; ERR_AGAIN: more is needed; ERR_SYNTAX: this is no header, and no further octet can make
 * it one; ERR_LIMIT: longer than PROXY_PROTOCOL_MAX. */
MUST_USE int proxy_protocol_parse(struct slice input, struct proxy_protocol_header *header,
                                  size_t *size);

#endif
