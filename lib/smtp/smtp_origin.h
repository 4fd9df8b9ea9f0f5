/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who gave a message to the host before us: the client's address in the topmost Received field (RFC
 * 5321 4.4), as MTAs write it.  For a host that is trusted to have written that field itself, an
 * upstream filter.
 */
#ifndef SMTP_ORIGIN_H
#define SMTP_ORIGIN_H

#include "base/inet.h"

#define SMTP_ORIGIN_TEXT 1000 /* of the field; in what is longer nothing is found */

struct smtp_origin { /* fed with content in any cut */
    uint16_t length;
    uint8_t stage, matched;
    char text[SMTP_ORIGIN_TEXT]; /* behind "Received:", unfolded */
};

void smtp_origin_init(struct smtp_origin *origin);
void smtp_origin_feed(struct smtp_origin *origin, struct slice piece);
/* The address; false: there is no such field, or no one address in it that its writer and not the
 * client has put there, or one that no mail comes from (loopback, private).  The client's own
 * words (HELO) are passed over: what it says can only make the answer "none". */
bool smtp_origin_client(const struct smtp_origin *origin, struct inet_endpoint *client);

#endif
