/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The server engine.  One table (smtp_server_commands.c) says when a command is permitted, what its
 * arguments are, what runs it and what its acceptance changes; one dispatcher (run_line) answers
 * everything that is wrong before an operation is asked.
 *
 * The one idea: at most one thing is unanswered.  While an operation waits, no octet is consumed,
 * so replies leave in order whatever was pipelined (RFC 2920), and the parsed command stays where
 * it is until it was answered.
 *
 * A line is used where it lies in the caller's input if it is there whole; only one that was cut is
 * gathered (smtp_line.c).  Lines end in CR LF and nothing else: a CR, LF or NUL inside one is
 * refused with it, so that no two hosts can read different commands out of the same octets (P7).
 *
 * Memory: an idle session holds this struct and nothing else; a command's arguments live from its
 * line to its reply.
 *
 * Not here: policy, limits of customers, timeouts, the TLS handshake.
 */
#include <stdlib.h>

#include "smtp/smtp_server_private.h"

static const unsigned predecessors[STATE_COUNT] = {
    [STATE_HELO] = BIT(STATE_GREETING) | BIT(STATE_TLS) | OUTSIDE,
    [STATE_READY] = BIT(STATE_HELO) | BIT(STATE_READY) | IN_TRANSACTION,
    [STATE_MAIL] = BIT(STATE_READY),
    [STATE_RCPT] = BIT(STATE_MAIL) | BIT(STATE_RCPT),
    [STATE_CONTENT] = BIT(STATE_RCPT),
    [STATE_DOT] = BIT(STATE_CONTENT),
    [STATE_TLS] = OUTSIDE,
    [STATE_CLOSED] = BIT(STATE_GREETING) | BIT(STATE_TLS) | OUTSIDE,
};

/* --- States and the ends of things. */

bool
smtp_server_in_states(const struct smtp_server *server, unsigned states)
{
    return (BIT(server->state) & states) != 0;
}

void
smtp_server_set_state(struct smtp_server *server, enum smtp_server_state state)
{
    CHECK(BIT(server->state) & predecessors[state]);
    server->state = state;
}

void
smtp_server_end_transaction(struct smtp_server *server, enum smtp_reset why)
{
    if (!smtp_server_in_states(server, IN_TRANSACTION))
        return;
    smtp_server_set_state(server, STATE_READY);
    server->inside = true;
    server->ops->reset(server->ctx, why);
    server->inside = false;
}

void
smtp_server_end_session(struct smtp_server *server)
{
    smtp_server_end_transaction(server, SMTP_RESET_CLOSED);
    smtp_server_set_state(server, STATE_CLOSED);
    smtp_line_fini(&server->line);
}

static void
keep_reply(struct smtp_reply **kept, const struct smtp_reply *reply)
{
    if (*kept == NULL)
        *kept = mem_alloc(sizeof **kept);
    **kept = *reply;
}

static void
free_reply(struct smtp_reply **kept)
{
    free(*kept);
    *kept = NULL;
}

void
smtp_server_say(struct smtp_server *server, const struct smtp_reply *reply)
{
    smtp_reply_write(reply, server->out);
    server->last_code = reply->code;
    if (reply->code == 421)
        smtp_server_end_session(server);
}

static void
say_verdict(struct smtp_server *server, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    smtp_server_say(server, &reply);
}

/* A refusal of the engine's own. */
static void
refuse(struct smtp_server *server, enum smtp_verdict verdict)
{
    unsigned max = server->settings->max_errors;

    server->errors++;
    server->error_count++;
    if (max > 0 && server->errors >= max)
        verdict = SMTP_VERDICT_TOO_MANY_ERRORS;
    say_verdict(server, verdict);
}

bool
smtp_server_is_offered(const struct smtp_server *server, unsigned offer)
{
    return (server->offers & offer) == offer;
}

void
smtp_server_begin_anew(struct smtp_server *server)
{
    smtp_server_set_state(server, STATE_HELO);
    server->helo_name[0] = '\0';
    server->is_esmtp = false;
}

void
smtp_server_write_greeting(struct smtp_server *server)
{
    buf_printf(server->out, "220 %s ESMTP Postern\r\n", server->settings->hostname);
}

/* --- The dispatcher. */

static void
free_command(struct smtp_server *server)
{
    free(server->command);
    server->command = NULL;
}

static void
finish(struct smtp_server *server, const struct smtp_server_row *row,
       const struct smtp_reply *reply)
{
    bool accepted = row->accept ? reply->code == row->accept : reply->code / 100 == 2;

    CHECK(reply->code >= 200 && reply->code <= 599);
    server->errors = 0;
    if (row == &smtp_server_rows[SMTP_VERB_RCPT] && reply->code / 100 == 4 &&
        server->idle_commands > 0)
        server->idle_commands--; /* no fault of the client's */
    (row->write ? row->write : smtp_server_say)(server, reply);
    if (row->settle != NULL && server->state != STATE_CLOSED)
        row->settle(server, accepted);
    if (reply->code == 421 && server->state != STATE_CLOSED)
        smtp_server_end_session(server);
    free_command(server);
}

void
smtp_server_run_row(struct smtp_server *server, const struct smtp_server_row *row)
{
    struct smtp_reply reply = smtp_verdict_reply(row->verdict);
    enum smtp_step step = SMTP_SERVER_DONE;

    server->inside = true;
    if (row->run != NULL)
        step = row->run(server, &reply);
    server->inside = false;
    if (step == SMTP_SERVER_WAIT)
        server->waiting = row;
    else
        finish(server, row, &reply);
}

static void
refuse_sequence(struct smtp_server *server, const struct smtp_server_row *row)
{
    bool no_recipients = row == &smtp_server_rows[SMTP_VERB_DATA] && server->state == STATE_MAIL;
    enum smtp_verdict verdict =
        no_recipients ? SMTP_VERDICT_NO_VALID_RECIPIENTS : SMTP_VERDICT_BAD_SEQUENCE;

    if (row->may_follow_refusal)
        say_verdict(server, verdict);
    else
        refuse(server, verdict);
}

static bool
has_bare_octet(struct slice line)
{
    return line.n > 0 && (memchr(line.p, '\r', line.n) || memchr(line.p, '\n', line.n) ||
                          memchr(line.p, '\0', line.n));
}

/* The verb is known and offered; `early`: there is more input behind its line. */
static void
run_verb(struct smtp_server *server, enum smtp_verb verb, struct slice args, bool early)
{
    const struct smtp_server_row *row = &smtp_server_rows[verb];
    enum smtp_verdict verdict;

    if (!smtp_server_in_states(server, row->states) ||
        (verb == SMTP_VERB_STARTTLS && server->is_tls)) {
        refuse_sequence(server, row);
        return;
    }
    server->command = mem_alloc(sizeof *server->command);
    server->command->verb = verb;
    server->command->smtputf8 = server->smtputf8;
    verdict = row->parse(args, server->command);
    if (verdict != SMTP_VERDICT_OK) {
        free_command(server);
        refuse(server, verdict);
        return;
    }
    if (early)
        server->notes |= row->early;
    smtp_server_run_row(server, row);
}

/* What ends the session instead of the command; NULL: nothing does. */
static const struct smtp_reply *
last_word(struct smtp_server *server, enum smtp_verb verb, struct smtp_reply *scratch)
{
    unsigned max = server->settings->max_idle_commands;

    if (verb == SMTP_VERB_QUIT)
        return NULL;
    if (server->next_reply != NULL)
        return server->next_reply;
    if (verb == SMTP_VERB_OTHER_PROTOCOL) {
        server->notes |= SMTP_NOTE_OTHER_PROTOCOL;
        *scratch = smtp_verdict_reply(SMTP_VERDICT_NOT_SMTP);
        return scratch;
    }
    if (max == 0 || ++server->idle_commands <= max)
        return NULL;
    *scratch = smtp_verdict_reply(SMTP_VERDICT_TOO_MANY_COMMANDS);
    return scratch;
}

/* `line` is without its CR LF. */
static void
run_line(struct smtp_server *server, struct slice line, bool early)
{
    struct smtp_reply scratch;
    struct slice args;
    enum smtp_verb verb = smtp_verb_parse(line, &args);
    const struct smtp_reply *end = last_word(server, verb, &scratch);

    server->command_count++;
    if (end != NULL)
        smtp_server_say(server, end);
    else if (line.n + 2 > smtp_verb_line_max(verb))
        refuse(server, SMTP_VERDICT_LINE_TOO_LONG);
    else if (has_bare_octet(line)) {
        server->notes |= SMTP_NOTE_BARE_OCTET;
        refuse(server, SMTP_VERDICT_UNKNOWN_COMMAND);
    } else if (verb == SMTP_VERB_UNKNOWN)
        refuse(server, SMTP_VERDICT_UNKNOWN_COMMAND);
    else if (verb == SMTP_VERB_NOT_OFFERED ||
             !smtp_server_is_offered(server, smtp_server_rows[verb].offer))
        refuse(server, SMTP_VERDICT_NOT_IMPLEMENTED);
    else
        run_verb(server, verb, args, early);
}

static void
refuse_long_line(struct smtp_server *server)
{
    if (server->next_reply != NULL)
        smtp_server_say(server, server->next_reply);
    else
        refuse(server, SMTP_VERDICT_LINE_TOO_LONG);
}

/* --- Octets to lines. */

static size_t
take_line(struct smtp_server *server, struct slice input)
{
    struct buf whole;
    struct slice line;
    size_t used;

    switch (smtp_line_take(&server->line, input, &used, &line, &whole)) {
    case SMTP_LINE_NONE:
        break;
    case SMTP_LINE_TOO_LONG:
        refuse_long_line(server);
        break;
    case SMTP_LINE_WHOLE:
        run_line(server, line, input.n > used);
        buf_fini(&whole);
        break;
    }
    return used;
}

static bool
wants_input(const struct smtp_server *server)
{
    return server->waiting == NULL &&
           smtp_server_in_states(server, IN_SESSION | BIT(STATE_CONTENT));
}

size_t
smtp_server_input(struct smtp_server *server, struct slice input)
{
    size_t used = 0;

    CHECK(!server->inside);
    if (input.n > 0 && server->state == STATE_GREETING)
        server->notes |= SMTP_NOTE_EARLY_TALK;
    if (input.n > 0 && server->waiting != NULL)
        server->notes |= server->waiting->early;
    if (input.n > 0 && server->state == STATE_TLS)
        server->notes |= SMTP_NOTE_EARLY_STARTTLS;
    while (used < input.n && wants_input(server)) {
        struct slice rest = {input.p + used, input.n - used};

        used += server->state == STATE_CONTENT ? smtp_server_take_content(server, rest)
                                               : take_line(server, rest);
    }
    return used;
}

/* --- Life. */

struct smtp_server *
smtp_server_new(const struct smtp_server_settings *settings, const struct smtp_server_ops *ops,
                void *ctx, struct buf *out)
{
    struct smtp_server *server = mem_alloc(sizeof *server);

    server->settings = settings;
    server->ops = ops;
    server->ctx = ctx;
    server->out = out;
    return server;
}

void
smtp_server_free(struct smtp_server **handle)
{
    struct smtp_server *server = *handle;

    if (server == NULL)
        return;
    CHECK(!server->inside);
    *handle = NULL;
    smtp_server_end_transaction(server, SMTP_RESET_CLOSED);
    smtp_line_fini(&server->line);
    free_reply(&server->close_reply);
    free_reply(&server->next_reply);
    free_command(server);
    free(server);
}

void
smtp_server_greet(struct smtp_server *server)
{
    CHECK(server->state == STATE_GREETING);
    smtp_server_set_state(server, STATE_HELO);
    smtp_server_write_greeting(server);
}

/* Between 220 to STARTTLS and the handshake nothing may be said, in plain text least of all. */
static void
say_last(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (server->state == STATE_TLS)
        smtp_server_end_session(server);
    else
        smtp_server_say(server, reply);
}

void
smtp_server_answer(struct smtp_server *server, const struct smtp_reply *reply)
{
    const struct smtp_server_row *row = server->waiting;

    CHECK(row != NULL && !server->inside);
    server->waiting = NULL;
    finish(server, row, reply);
    if (server->close_reply != NULL && server->state != STATE_CLOSED)
        say_last(server, server->close_reply);
    free_reply(&server->close_reply);
}

void
smtp_server_close(struct smtp_server *server, const struct smtp_reply *reply)
{
    CHECK(reply->code == 421 && !server->inside);
    if (server->waiting != NULL)
        keep_reply(&server->close_reply, reply);
    else if (server->state != STATE_CLOSED)
        say_last(server, reply);
}

void
smtp_server_close_next(struct smtp_server *server, const struct smtp_reply *reply)
{
    CHECK(reply->code == 421);
    keep_reply(&server->next_reply, reply);
}

void
smtp_server_set_offers(struct smtp_server *server, unsigned offers)
{
    server->offers = offers;
}

void
smtp_server_tls_started(struct smtp_server *server)
{
    CHECK(server->state == STATE_TLS && !server->inside);
    smtp_server_begin_anew(server);
    server->is_tls = true;
}

void
smtp_server_set_normalise(struct smtp_server *server, bool normalise)
{
    server->normalise = normalise;
}
