/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What relayd would find in a message, for `relayctl simulate --message`: the file is read here, by
 * the code that reads it there, so that no content leaves the caller's hands.
 */
#ifndef ADMIN_SIMULATE_MESSAGE_H
#define ADMIN_SIMULATE_MESSAGE_H

#include <jansson.h>

#include "admin/call.h"

/* *message: {"size" (octets, each line end as CR LF), "received", "own_received" (for the domain of
 * `rcpt`), "damaged" (a bare CR or a NUL), "origin" (the client in the topmost Received field; ""
 * there is none)}.  Lines of the file may end in LF alone, as files have them.  `path` may be "-".
 * `content` gets all of it, as long as it is no larger than max-message-size.  Anything but
 * COMMAND_DONE has been explained. */
enum command_status simulate_message_read(const struct call *call, const char *path,
                                          const char *rcpt, json_t **message, struct buf *content);

#endif
