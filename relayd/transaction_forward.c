/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a backend is told besides the message: who the client is, if its customer has said that the
 * backend trusts us (XFORWARD), and to no other.
 */
#include "relayd/transaction_private.h"

void
transaction_forward(struct transaction *t)
{
    struct smtp_server *engine = t->session ? session_engine(t->session) : NULL;
    char helo[SMTP_HELO_SIZE];
    struct smtp_xforward forward = {.helo = helo, .ident = t->ref_text};

    if (engine == NULL || !transaction_destination(t)->trusts_us)
        return;
    if (!slice_to_text(smtp_server_helo_name(engine), helo, sizeof helo))
        helo[0] = '\0';
    forward.client = *session_peer(t->session);
    forward.protocol = smtp_server_is_esmtp(engine) ? "ESMTP" : "SMTP";
    smtp_client_xforward(backend_link_client(t->link), &forward);
}
