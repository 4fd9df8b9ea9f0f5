/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Queries on their way: c-ares on our loop.  It sends over UDP, asks again, goes over to TCP when
 * an answer was truncated, and takes an answer only with the query's id and question from the
 * resolver that was asked.  It reads nothing of the system: no file, no environment.
 */
#ifndef DNS_TRANSPORT_H
#define DNS_TRANSPORT_H

#include <stdint.h>

#include "base/inet.h"
#include "net/loop.h"

struct dns_transport;

/* packet NULL: there was no answer.  May be called from inside dns_transport_send, and from
 * dns_transport_free for all that is in flight. */
typedef void (*dns_transport_on_answer)(void *ctx, const uint8_t *packet, size_t size);

struct dns_transport *dns_transport_new(struct loop *loop, const struct inet_endpoint *resolver);
void dns_transport_free(struct dns_transport **transport); /* never inside an on_answer */
/* The query's id must not be in flight. */
void dns_transport_send(struct dns_transport *transport, const uint8_t *query, size_t size,
                        dns_transport_on_answer on_answer, void *ctx);

#endif
