/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A name server over UDP on this host that has a zone as the RFC 7208 test suite writes it, run by
 * the test's own loop.
 */
#ifndef TESTS_SPF_ZONE_SERVER_H
#define TESTS_SPF_ZONE_SERVER_H

#include <jansson.h>

#include "base/inet.h"
#include "net/loop.h"

struct spf_zone_server;

struct spf_zone_server *spf_zone_server_open(struct loop *loop, const json_t *zone);
void spf_zone_server_close(struct spf_zone_server **server);
struct inet_endpoint spf_zone_server_endpoint(const struct spf_zone_server *server);
unsigned spf_zone_server_asked(const struct spf_zone_server *server);
void spf_zone_server_mute(struct spf_zone_server *server, bool is_mute); /* answers nothing */

#endif
