/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spf process's side: keeps the checks of each worker while answers are fetched, and runs them.
 */
#ifndef SPF_SERVER_H
#define SPF_SERVER_H

#include "net/loop.h"

struct spf_server;

struct spf_server *spf_server_new(struct loop *loop);
/* Owns the descriptor of a channel to a worker. What a worker had asked goes with its channel. */
void spf_server_add(struct spf_server *server, int channel_fd);
void spf_server_free(struct spf_server **server);
unsigned spf_server_checks(const struct spf_server *server); /* that wait for answers */

#endif
