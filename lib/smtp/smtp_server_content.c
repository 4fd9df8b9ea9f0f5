/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content of a message: its octets handed on, and its end answered.
 *
 * Invariants: of a message that is too big exactly max_size_bytes are handed on, however it was
 * cut; content with a bare line end, or that is too big, is never accepted, whatever its owner says
 * (P7).
 */
#include "smtp/smtp_server_private.h"

static bool
is_too_big(const struct smtp_server *server)
{
    uint64_t max = server->settings->max_size_bytes;

    return max > 0 && server->data.size_bytes > max;
}

static enum smtp_step
run_dot(struct smtp_server *server, struct smtp_reply *reply)
{
    enum smtp_verdict verdict = server->data.fault   ? SMTP_VERDICT_BARE_LINE_END
                                : is_too_big(server) ? SMTP_VERDICT_TOO_BIG
                                                     : SMTP_VERDICT_LOCAL_PROBLEM;

    *reply = smtp_verdict_reply(verdict);
    return server->ops->end(server->ctx, verdict != SMTP_VERDICT_LOCAL_PROBLEM, reply);
}

static void
settle_dot(struct smtp_server *server, bool accepted)
{
    CHECK(!accepted || !(server->data.fault || is_too_big(server))); /* P7 */
    server->idle_commands = 0;
    smtp_server_end_transaction(server, SMTP_RESET_DONE);
}

static void
write_dot(struct smtp_server *server, const struct smtp_reply *reply)
{
    smtp_reply_write(reply, server->out); /* a 421 closes only after the transaction's end */
}

/* No command, but answered as one. */
const struct smtp_server_row smtp_server_dot = {
    .run = run_dot, .write = write_dot, .settle = settle_dot};

static void
on_piece(void *ctx, struct slice piece)
{
    struct smtp_server *server = ctx;

    if (!server->content_wanted)
        return;
    if (is_too_big(server)) {
        piece.n -= (size_t)(server->data.size_bytes - server->settings->max_size_bytes);
        server->content_wanted = false;
    }
    if (piece.n > 0 && !server->ops->content(server->ctx, piece))
        server->content_wanted = false;
}

size_t
smtp_server_take_content(struct smtp_server *server, struct slice input)
{
    size_t n;

    server->inside = true;
    n = smtp_data_feed(&server->data, input, on_piece, server);
    server->inside = false;
    if (smtp_data_ended(&server->data)) {
        smtp_server_set_state(server, STATE_DOT);
        smtp_server_run_row(server, &smtp_server_dot);
    }
    return n;
}
