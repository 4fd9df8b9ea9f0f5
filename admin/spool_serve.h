/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reading verbs for who may use the keeper's sockets and not the spool's files: our arguments and
 * standard descriptors go to the keeper, which runs a relayctl as the spool's user with them.  What
 * that one reads of content is noted under the asker's name.
 */
#ifndef ADMIN_SPOOL_SERVE_H
#define ADMIN_SPOOL_SERVE_H

#include "admin/call.h"

/* True: the keeper's relayctl has done it, or this is explained; *status is what to exit with.
 * False: the spool is ours to read, or another node's is meant, or no keeper can be asked. */
bool spool_serve_ask(const struct call *call, enum command_status *status);

/* The other side: `relayctl --serve-reader CONFIG WHO`, with the connection as descriptor 3.  True:
 * *argc and *argv are the asker's command line now, of a reading verb and with that configuration,
 * and 0, 1 and 2 his descriptors.
 */
bool spool_serve_begin(int *argc, char ***argv, const char **who);
void spool_serve_end(enum command_status status);

#endif
