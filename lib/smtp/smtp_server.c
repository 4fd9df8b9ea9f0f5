/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The server engine.  One table says when a command is permitted, what its arguments are, what runs
 * it and what its acceptance changes; one dispatcher (run_line) answers everything that is wrong
 * before an operation is asked.
 *
 * The one idea: at most one thing is unanswered.  While an operation waits, no octet is consumed,
 * so replies leave in order whatever was pipelined (RFC 2920), and the parsed command stays where
 * it is until it was answered.
 *
 * A line is used where it lies in the caller's input if it is there whole; only one that was cut is
 * gathered here.  Lines end in CR LF and nothing else: a CR, LF or NUL inside one is refused with
 * it, so that no two hosts can read different commands out of the same octets (P7).
 *
 * Memory: an idle session holds this struct and nothing else; a command's arguments live from its
 * line to its reply.
 *
 * Not here: policy, limits of customers, timeouts, the TLS handshake.
 */
#include "smtp/smtp_server.h"

#include <stdlib.h>

#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"

/*           greet        EHLO, HELO         MAIL        RCPT        354 to DATA
 *  GREETING -----> HELO -----------> READY -----> MAIL -----> RCPT -----------> CONTENT
 *                                    ^ ^ ^         |          | |                  |
 *                                    | | +--RSET---+     RCPT +-+                  | CR LF
 *                                    | |    EHLO              |                    | . CR LF
 *                                    | +-----RSET, EHLO-------+                    v
 *                                    +----------- `end` was answered ------------ DOT
 *
 *                 220 to STARTTLS           smtp_server_tls_started
 *  HELO, READY --------------------> TLS ---------------------------> HELO
 *                 220 to XCLIENT
 *  HELO, READY --------------------> HELO, or READY if it told the HELO name
 *
 * CLOSED is reached from all: QUIT, a 421, smtp_server_close. A transaction is open from MAIL to
 * DOT; leaving that part is what ops->reset tells. EHLO in READY stays there.
 */
enum state {
    STATE_GREETING, /* nothing was said yet; input waits for the greeting */
    STATE_HELO,     /* greeted, no EHLO yet */
    STATE_READY,    /* no transaction */
    STATE_MAIL,     /* MAIL was accepted, no RCPT yet */
    STATE_RCPT,     /* at least one RCPT was accepted */
    STATE_CONTENT,  /* 354 was said; octets are content */
    STATE_DOT,      /* the content is whole; ops->end is at work */
    STATE_TLS,      /* 220 was said to STARTTLS; nothing is read until the handshake is done */
    STATE_CLOSED,   /* the last reply is in `out` */
    STATE_COUNT
};

#define BIT(state) (1u << (state))
/* Commands are read; a transaction is open. */
#define OUTSIDE (BIT(STATE_HELO) | BIT(STATE_READY))
#define IN_SESSION (BIT(STATE_HELO) | BIT(STATE_READY) | BIT(STATE_MAIL) | BIT(STATE_RCPT))
#define IN_TRANSACTION (BIT(STATE_MAIL) | BIT(STATE_RCPT) | BIT(STATE_CONTENT) | BIT(STATE_DOT))

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

enum line_mode {
    LINE_KEEP,    /* `line` holds the beginning of one, maybe nothing */
    LINE_SKIP,    /* it was too long and has been answered: away with it */
    LINE_SKIP_CR, /* the same, behind a CR */
};

struct smtp_server {
    const struct smtp_server_settings *settings;
    const struct smtp_server_ops *ops;
    void *ctx;
    struct buf *out;

    enum state state;
    const struct row *waiting;    /* whose operation waits; NULL: none */
    struct smtp_command *command; /* the one that runs or waits; NULL: none */
    bool inside;                  /* an operation runs: the engine must not be called */

    enum line_mode line_mode;
    struct buf line; /* a line whose CR LF is still to come */

    struct smtp_data data;
    bool content_wanted; /* ops->content has not returned false, and the size is held */
    bool normalise;      /* of this message, from its DATA on */
    bool smtputf8;       /* of this transaction */

    char helo_name[SMTP_HELO_SIZE];
    bool is_esmtp;
    bool is_tls;
    unsigned offers, notes;
    unsigned errors;                     /* in a row */
    unsigned command_count, error_count; /* all */
    uint16_t last_code;
    unsigned idle_commands;         /* since the last progress */
    struct smtp_reply *close_reply; /* said as soon as the waiting one is answered; NULL: none */
    struct smtp_reply *next_reply;  /* said to the next command; NULL: none */
};

struct row {
    unsigned states; /* where it is permitted; elsewhere 503 */
    enum smtp_verdict (*parse)(struct slice args, struct smtp_command *command);
    enum smtp_step (*run)(struct smtp_server *server, struct smtp_reply *reply); /* NULL: none */
    enum smtp_verdict verdict;                                                   /* then this */
    void (*write)(struct smtp_server *server, const struct smtp_reply *reply); /* NULL: one line */
    /* After its reply was written; NULL: nothing changes. */
    void (*settle)(struct smtp_server *server, bool accepted);
    uint16_t accept;         /* the reply code that accepts; 0: any 2xx */
    bool may_follow_refusal; /* pipelined behind a refused MAIL: its 503 or 554 is no error */
    unsigned offer;          /* must be offered; 0: always is */
    unsigned early;          /* the note when more input is there already */
};

/* --- States and the ends of things. */

static bool
in_states(const struct smtp_server *server, unsigned states)
{
    return (BIT(server->state) & states) != 0;
}

static void
set_state(struct smtp_server *server, enum state state)
{
    CHECK(BIT(server->state) & predecessors[state]);
    server->state = state;
}

static void
end_transaction(struct smtp_server *server, enum smtp_reset why)
{
    if (!in_states(server, IN_TRANSACTION))
        return;
    set_state(server, STATE_READY);
    server->inside = true;
    server->ops->reset(server->ctx, why);
    server->inside = false;
}

static void
end_session(struct smtp_server *server)
{
    end_transaction(server, SMTP_RESET_CLOSED);
    set_state(server, STATE_CLOSED);
    buf_release(&server->line);
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

/* Every reply passes here; a 421 is always the last one (RFC 5321 3.8). */
static void
say(struct smtp_server *server, const struct smtp_reply *reply)
{
    smtp_reply_write(reply, server->out);
    server->last_code = reply->code;
    if (reply->code == 421)
        end_session(server);
}

static void
say_verdict(struct smtp_server *server, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    say(server, &reply);
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

/* --- The commands.  What *reply is preset to: see smtp_server.h. */

static enum smtp_step
run_helo(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_reply_make(250, NULL, "");
    return server->ops->helo(server->ctx, slice_of(server->command->helo),
                             server->command->verb == SMTP_VERB_EHLO, reply);
}

/* LIMITS (RFC 9422): only what is held to. */
static void
write_limits(struct buf *out, const struct smtp_server_settings *settings)
{
    if (settings->recipients_announced == 0 && settings->messages_announced == 0)
        return;
    buf_add_text(out, "250-LIMITS");
    if (settings->recipients_announced > 0)
        buf_printf(out, " RCPTMAX=%u", settings->recipients_announced);
    if (settings->messages_announced > 0)
        buf_printf(out, " MAILMAX=%u", settings->messages_announced);
    buf_add_text(out, " RCPTDOMAINMAX=1\r\n");
}

static bool
is_offered(const struct smtp_server *server, unsigned offer)
{
    return (server->offers & offer) == offer;
}

static void
write_offers(struct smtp_server *server)
{
    if (is_offered(server, SMTP_OFFER_STARTTLS) && !server->is_tls)
        buf_add_text(server->out, "250-STARTTLS\r\n");
    if (is_offered(server, SMTP_OFFER_ETRN))
        buf_add_text(server->out, "250-ETRN\r\n");
    if (is_offered(server, SMTP_OFFER_XCLIENT))
        buf_add_text(server->out, "250-XCLIENT " SMTP_XCLIENT_ATTRIBUTES "\r\n");
}

static void
write_helo(struct smtp_server *server, const struct smtp_reply *reply)
{
    const struct smtp_server_settings *settings = server->settings;
    const char *gap = reply->text[0] ? " " : "";

    if (reply->code / 100 != 2) {
        say(server, reply);
        return;
    }
    if (server->command->verb == SMTP_VERB_HELO) {
        buf_printf(server->out, "250 %s%s%s\r\n", settings->hostname, gap, reply->text);
        return;
    }
    buf_printf(server->out,
               "250-%s%s%s\r\n250-SIZE %llu\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
               "",
               settings->hostname, gap, reply->text, (unsigned long long)settings->max_size_bytes);
    write_limits(server->out, settings);
    write_offers(server);
    buf_add_text(server->out, "250 ENHANCEDSTATUSCODES\r\n");
}

static void
settle_helo(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return; /* the state is as if it had not been said (RFC 5321 4.1.4) */
    end_transaction(server, SMTP_RESET_RSET);
    set_state(server, STATE_READY);
    memcpy(server->helo_name, server->command->helo, sizeof server->helo_name);
    server->is_esmtp = server->command->verb == SMTP_VERB_EHLO;
}

static enum smtp_step
run_mail(struct smtp_server *server, struct smtp_reply *reply)
{
    const struct smtp_mail *mail = &server->command->mail;
    uint64_t max = server->settings->max_size_bytes;

    if (mail->has_size && max > 0 && mail->size_bytes > max) { /* RFC 1870 6.1 */
        *reply = smtp_verdict_reply(SMTP_VERDICT_TOO_BIG);
        return SMTP_SERVER_DONE;
    }
    *reply = smtp_verdict_reply(SMTP_VERDICT_SENDER_OK);
    return server->ops->mail(server->ctx, mail, reply);
}

static void
settle_mail(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return;
    set_state(server, STATE_MAIL);
    server->smtputf8 = server->command->mail.smtputf8;
}

static enum smtp_step
run_rcpt(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_LOCAL_PROBLEM);
    return server->ops->rcpt(server->ctx, &server->command->rcpt, reply);
}

static void
settle_rcpt(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return;
    set_state(server, STATE_RCPT);
    server->idle_commands = 0;
}

static enum smtp_step
run_data(struct smtp_server *server, struct smtp_reply *reply)
{
    server->normalise = false;
    *reply = smtp_verdict_reply(SMTP_VERDICT_START_MAIL);
    return server->ops->data(server->ctx, reply);
}

static void
settle_data(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return; /* the transaction stays, RSET ends it (RFC 5321 4.1.4) */
    set_state(server, STATE_CONTENT);
    smtp_data_init(&server->data, server->normalise);
    server->content_wanted = true;
}

/* --- STARTTLS, ETRN, XCLIENT. */

/* Behind the greeting, of whatever the client was before. */
static void
begin_anew(struct smtp_server *server)
{
    set_state(server, STATE_HELO);
    server->helo_name[0] = '\0';
    server->is_esmtp = false;
}

static enum smtp_step
run_starttls(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_TLS_READY);
    return server->ops->starttls(server->ctx, reply);
}

static void
settle_starttls(struct smtp_server *server, bool accepted)
{
    if (accepted)
        set_state(server, STATE_TLS);
}

static enum smtp_step
run_etrn(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_LOCAL_PROBLEM);
    return server->ops->etrn(server->ctx, slice_of(server->command->etrn), reply);
}

static enum smtp_step
run_xclient(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_XCLIENT_DENIED);
    return server->ops->xclient(server->ctx, &server->command->xclient, reply);
}

static void
write_greeting(struct smtp_server *server)
{
    buf_printf(server->out, "220 %s ESMTP Postern\r\n", server->settings->hostname);
}

static void
write_xclient(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (reply->code == 220)
        write_greeting(server);
    else
        say(server, reply);
}

/* With a HELO name the client may go on with MAIL, as Postfix has it. */
static void
settle_xclient(struct smtp_server *server, bool accepted)
{
    const struct smtp_xclient *x = &server->command->xclient;

    if (!accepted)
        return;
    begin_anew(server);
    if (x->helo[0] == '\0')
        return;
    set_state(server, STATE_READY);
    memcpy(server->helo_name, x->helo, sizeof server->helo_name);
    server->is_esmtp = !(x->given & SMTP_XCLIENT_PROTO) || x->is_esmtp;
}

static void
settle_rset(struct smtp_server *server, bool accepted)
{
    (void)accepted;
    end_transaction(server, SMTP_RESET_RSET);
}

static void
settle_quit(struct smtp_server *server, bool accepted)
{
    (void)accepted;
    end_session(server);
}

static const struct row rows[SMTP_VERB_COUNT] = {
    [SMTP_VERB_EHLO] = {.states = IN_SESSION,
                        .parse = smtp_parse_helo,
                        .run = run_helo,
                        .write = write_helo,
                        .settle = settle_helo,
                        .early = SMTP_NOTE_EARLY_EHLO},
    [SMTP_VERB_HELO] = {.states = IN_SESSION,
                        .parse = smtp_parse_helo,
                        .run = run_helo,
                        .write = write_helo,
                        .settle = settle_helo,
                        .early = SMTP_NOTE_EARLY_EHLO},
    [SMTP_VERB_MAIL] = {.states = BIT(STATE_READY),
                        .parse = smtp_parse_mail,
                        .run = run_mail,
                        .settle = settle_mail},
    [SMTP_VERB_RCPT] = {.states = BIT(STATE_MAIL) | BIT(STATE_RCPT),
                        .parse = smtp_parse_rcpt,
                        .run = run_rcpt,
                        .settle = settle_rcpt,
                        .may_follow_refusal = true},
    [SMTP_VERB_DATA] = {.states = BIT(STATE_RCPT),
                        .parse = smtp_parse_nothing,
                        .run = run_data,
                        .settle = settle_data,
                        .accept = 354,
                        .may_follow_refusal = true,
                        .early = SMTP_NOTE_EARLY_DATA},
    [SMTP_VERB_RSET] = {.states = IN_SESSION, .parse = smtp_parse_nothing, .settle = settle_rset},
    [SMTP_VERB_NOOP] = {.states = IN_SESSION, .parse = smtp_parse_anything},
    [SMTP_VERB_VRFY] = {.states = IN_SESSION,
                        .parse = smtp_parse_something,
                        .verdict = SMTP_VERDICT_VRFY},
    [SMTP_VERB_HELP] = {.states = IN_SESSION,
                        .parse = smtp_parse_anything,
                        .verdict = SMTP_VERDICT_HELP},
    [SMTP_VERB_QUIT] = {.states = IN_SESSION,
                        .parse = smtp_parse_nothing,
                        .verdict = SMTP_VERDICT_BYE,
                        .settle = settle_quit},
    [SMTP_VERB_STARTTLS] = {.states = OUTSIDE,
                            .parse = smtp_parse_nothing,
                            .run = run_starttls,
                            .settle = settle_starttls,
                            .accept = 220,
                            .offer = SMTP_OFFER_STARTTLS,
                            .early = SMTP_NOTE_EARLY_STARTTLS},
    [SMTP_VERB_ETRN] = {.states = BIT(STATE_READY),
                        .parse = smtp_parse_etrn,
                        .run = run_etrn,
                        .offer = SMTP_OFFER_ETRN},
    [SMTP_VERB_XCLIENT] = {.states = OUTSIDE,
                           .parse = smtp_parse_xclient,
                           .run = run_xclient,
                           .write = write_xclient,
                           .settle = settle_xclient,
                           .accept = 220,
                           .offer = SMTP_OFFER_XCLIENT},
};

/* --- The end of data: no command, but answered as one. */

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
    end_transaction(server, SMTP_RESET_DONE);
}

static void
write_dot(struct smtp_server *server, const struct smtp_reply *reply)
{
    smtp_reply_write(reply, server->out); /* a 421 closes only after the transaction's end */
}

static const struct row dot = {.run = run_dot, .write = write_dot, .settle = settle_dot};

/* --- The dispatcher. */

static void
free_command(struct smtp_server *server)
{
    free(server->command);
    server->command = NULL;
}

static void
finish(struct smtp_server *server, const struct row *row, const struct smtp_reply *reply)
{
    bool accepted = row->accept ? reply->code == row->accept : reply->code / 100 == 2;

    CHECK(reply->code >= 200 && reply->code <= 599);
    server->errors = 0;
    if (row == &rows[SMTP_VERB_RCPT] && reply->code / 100 == 4 && server->idle_commands > 0)
        server->idle_commands--; /* no fault of the client's */
    (row->write ? row->write : say)(server, reply);
    if (row->settle != NULL && server->state != STATE_CLOSED)
        row->settle(server, accepted);
    if (reply->code == 421 && server->state != STATE_CLOSED)
        end_session(server);
    free_command(server);
}

static void
run_row(struct smtp_server *server, const struct row *row)
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
refuse_sequence(struct smtp_server *server, const struct row *row)
{
    bool no_recipients = row == &rows[SMTP_VERB_DATA] && server->state == STATE_MAIL;
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
    const struct row *row = &rows[verb];
    enum smtp_verdict verdict;

    if (!in_states(server, row->states) || (verb == SMTP_VERB_STARTTLS && server->is_tls)) {
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
    run_row(server, row);
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
        say(server, end);
    else if (has_bare_octet(line)) {
        server->notes |= SMTP_NOTE_BARE_OCTET;
        refuse(server, SMTP_VERDICT_UNKNOWN_COMMAND);
    } else if (verb == SMTP_VERB_UNKNOWN)
        refuse(server, SMTP_VERDICT_UNKNOWN_COMMAND);
    else if (verb == SMTP_VERB_NOT_OFFERED || !is_offered(server, rows[verb].offer))
        refuse(server, SMTP_VERDICT_NOT_IMPLEMENTED);
    else
        run_verb(server, verb, args, early);
}

/* --- Octets to lines. */

/* Behind the first CR LF in `input`; `after_cr`: the octet before it was a CR.  0: there is none.
 */
static size_t
find_line_end(struct slice input, bool after_cr)
{
    const char *p = input.p, *end = input.p + input.n;

    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        if (p > input.p ? p[-1] == '\r' : after_cr)
            return (size_t)(p + 1 - input.p);
        p++;
    }
    return 0;
}

static size_t
skip_line(struct smtp_server *server, struct slice input)
{
    size_t n = find_line_end(input, server->line_mode == LINE_SKIP_CR);

    if (n > 0)
        server->line_mode = LINE_KEEP;
    else
        server->line_mode = input.p[input.n - 1] == '\r' ? LINE_SKIP_CR : LINE_SKIP;
    return n > 0 ? n : input.n;
}

/* The line's end is not here yet. */
static size_t
keep_line(struct smtp_server *server, struct slice input)
{
    if (buf_size(&server->line) + input.n < SMTP_COMMAND_LINE_MAX) {
        buf_add_slice(&server->line, input);
        return input.n;
    }
    buf_release(&server->line);
    skip_line(server, input);
    refuse(server, SMTP_VERDICT_LINE_TOO_LONG);
    return input.n;
}

static bool
ends_in_cr(const struct buf *b)
{
    struct slice s = buf_slice(b);

    return s.n > 0 && s.p[s.n - 1] == '\r';
}

static size_t
take_line(struct smtp_server *server, struct slice input)
{
    struct slice line = input;

    if (server->line_mode != LINE_KEEP)
        return skip_line(server, input);
    line.n = find_line_end(input, ends_in_cr(&server->line));
    if (line.n == 0)
        return keep_line(server, input);
    if (buf_size(&server->line) + line.n > SMTP_COMMAND_LINE_MAX) {
        buf_release(&server->line);
        refuse(server, SMTP_VERDICT_LINE_TOO_LONG);
    } else if (buf_size(&server->line) == 0)
        run_line(server, (struct slice){line.p, line.n - 2}, input.n > line.n);
    else {
        struct buf whole = server->line;

        buf_init(&server->line, 0);
        buf_add_slice(&whole, line);
        run_line(server, (struct slice){buf_slice(&whole).p, buf_size(&whole) - 2},
                 input.n > line.n);
        buf_fini(&whole);
    }
    return line.n;
}

/* --- Octets to content. */

/* Exactly max_size_bytes of a message that is too big are handed on, however it was cut. */
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

static size_t
take_content(struct smtp_server *server, struct slice input)
{
    size_t n;

    server->inside = true;
    n = smtp_data_feed(&server->data, input, on_piece, server);
    server->inside = false;
    if (smtp_data_ended(&server->data)) {
        set_state(server, STATE_DOT);
        run_row(server, &dot);
    }
    return n;
}

static bool
wants_input(const struct smtp_server *server)
{
    return server->waiting == NULL && in_states(server, IN_SESSION | BIT(STATE_CONTENT));
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

        used +=
            server->state == STATE_CONTENT ? take_content(server, rest) : take_line(server, rest);
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
    end_transaction(server, SMTP_RESET_CLOSED);
    buf_fini(&server->line);
    free_reply(&server->close_reply);
    free_reply(&server->next_reply);
    free_command(server);
    free(server);
}

void
smtp_server_greet(struct smtp_server *server)
{
    CHECK(server->state == STATE_GREETING);
    set_state(server, STATE_HELO);
    write_greeting(server);
}

/* Between 220 to STARTTLS and the handshake nothing may be said, in plain text least of all. */
static void
say_last(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (server->state == STATE_TLS)
        end_session(server);
    else
        say(server, reply);
}

void
smtp_server_answer(struct smtp_server *server, const struct smtp_reply *reply)
{
    const struct row *row = server->waiting;

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
    begin_anew(server);
    server->is_tls = true;
}

void
smtp_server_set_normalise(struct smtp_server *server, bool normalise)
{
    server->normalise = normalise;
}

/* --- Questions. */

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
    return in_states(server, IN_TRANSACTION);
}

uint64_t
smtp_server_content_size(const struct smtp_server *server)
{
    return server->data.size_bytes;
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
    bool reads_lines = in_states(server, IN_SESSION) && server->waiting == NULL;
    unsigned max = server->settings->max_errors;

    CHECK(!server->inside);
    CHECK(server->state < STATE_COUNT);
    CHECK(server->waiting == NULL || in_states(server, IN_SESSION | BIT(STATE_DOT)));
    CHECK((server->waiting == &dot) == (server->state == STATE_DOT));
    CHECK(server->close_reply == NULL || server->waiting != NULL);
    CHECK((server->command != NULL) == (server->waiting != NULL && server->waiting != &dot));
    CHECK(server->state != STATE_TLS || (!server->is_tls && server->waiting == NULL));
    CHECK(buf_size(&server->line) < SMTP_COMMAND_LINE_MAX);
    CHECK(buf_size(&server->line) == 0 || (reads_lines && server->line_mode == LINE_KEEP));
    CHECK(server->line_mode == LINE_KEEP || reads_lines || server->state == STATE_CLOSED);
    CHECK(server->state != STATE_CONTENT || !smtp_data_ended(&server->data));
    CHECK(server->helo_name[0] != '\0' ||
          in_states(server,
                    BIT(STATE_GREETING) | BIT(STATE_HELO) | BIT(STATE_TLS) | BIT(STATE_CLOSED)));
    CHECK(server->settings->max_idle_commands == 0 ||
          server->idle_commands <= server->settings->max_idle_commands ||
          server->state == STATE_CLOSED);
    CHECK(max == 0 || server->errors < max || server->state == STATE_CLOSED);
}
