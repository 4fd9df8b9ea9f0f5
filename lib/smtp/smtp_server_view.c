/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What can be seen of the server engine from without: its owner's questions, and the invariants
 * that tests and fuzzing check after each step.  Changes nothing.
 */
#include "smtp/smtp_server_private.h"

bool
smtp_server_is_waiting(const struct smtp_server *server)
{
    return server->waiting != NULL;
}

bool
smtp_server_wants_tls(const struct smtp_server *server)
{
    return server->state == STATE_TLS;
}

unsigned
smtp_server_notes(const struct smtp_server *server)
{
    return server->notes;
}

bool
smtp_server_is_finished(const struct smtp_server *server)
{
    return server->state == STATE_CLOSED;
}

bool
smtp_server_in_data(const struct smtp_server *server)
{
    return server->state == STATE_CONTENT;
}

bool
smtp_server_in_transaction(const struct smtp_server *server)
{
    return smtp_server_in_states(server, IN_TRANSACTION);
}

uint64_t
smtp_server_content_size(const struct smtp_server *server)
{
    return server->data.size_bytes;
}

const char *
smtp_server_content_fault(const struct smtp_server *server)
{
    return smtp_data_fault_text(server->data.fault);
}

struct slice
smtp_server_helo_name(const struct smtp_server *server)
{
    return slice_of(server->helo_name);
}

unsigned
smtp_server_command_count(const struct smtp_server *server)
{
    return server->command_count;
}

unsigned
smtp_server_error_count(const struct smtp_server *server)
{
    return server->error_count;
}

unsigned
smtp_server_last_code(const struct smtp_server *server)
{
    return server->last_code;
}

bool
smtp_server_is_esmtp(const struct smtp_server *server)
{
    return server->is_esmtp;
}

void
smtp_server_check(const struct smtp_server *server)
{
    bool reads_lines = smtp_server_in_states(server, IN_SESSION) && server->waiting == NULL;
    unsigned max = server->settings->max_errors;

    CHECK(!server->inside);
    CHECK(server->state < STATE_COUNT);
    CHECK(server->waiting == NULL || smtp_server_in_states(server, IN_SESSION | BIT(STATE_DOT)));
    CHECK((server->waiting == &smtp_server_dot) == (server->state == STATE_DOT));
    CHECK(server->close_reply == NULL || server->waiting != NULL);
    CHECK((server->command != NULL) ==
          (server->waiting != NULL && server->waiting != &smtp_server_dot));
    CHECK(server->state != STATE_TLS || (!server->is_tls && server->waiting == NULL));
    CHECK(smtp_line_kept(&server->line) < SMTP_COMMAND_LINE_MAX);
    CHECK(smtp_line_is_empty(&server->line) || reads_lines || server->state == STATE_CLOSED);
    CHECK(server->state != STATE_CONTENT || !smtp_data_ended(&server->data));
    CHECK(server->helo_name[0] != '\0' ||
          smtp_server_in_states(server, BIT(STATE_GREETING) | BIT(STATE_HELO) | BIT(STATE_TLS) |
                                            BIT(STATE_CLOSED)));
    CHECK(server->settings->max_idle_commands == 0 ||
          server->idle_commands <= server->settings->max_idle_commands ||
          server->state == STATE_CLOSED);
    CHECK(max == 0 || server->errors < max || server->state == STATE_CLOSED);
}
