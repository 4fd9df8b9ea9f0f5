/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the server engine, shared by its files: smtp_server.c (the dispatcher, octets to
 * lines, life), smtp_server_commands.c (what each command does and changes), smtp_server_content.c
 * (octets to content, and its end) and smtp_server_view.c (questions, and what must be true).
 */
#ifndef SMTP_SERVER_PRIVATE_H
#define SMTP_SERVER_PRIVATE_H

#include "smtp/smtp_command.h"
#include "smtp/smtp_data.h"
#include "smtp/smtp_line.h"
#include "smtp/smtp_server.h"

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
enum smtp_server_state {
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

struct smtp_server {
    const struct smtp_server_settings *settings;
    const struct smtp_server_ops *ops;
    void *ctx;
    struct buf *out;

    enum smtp_server_state state;
    const struct smtp_server_row *waiting; /* whose operation waits; NULL: none */
    struct smtp_command *command;          /* the one that runs or waits; NULL: none */
    bool inside;                           /* an operation runs: the engine must not be called */

    struct smtp_line line; /* one whose CR LF is still to come */

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

struct smtp_server_row {
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

/* --- smtp_server_commands.c */
extern const struct smtp_server_row smtp_server_rows[SMTP_VERB_COUNT];

/* --- smtp_server_content.c */
extern const struct smtp_server_row smtp_server_dot; /* of the end of data */
/* How much of the input was content; behind its end the next line begins. */
size_t smtp_server_take_content(struct smtp_server *server, struct slice input);

/* --- smtp_server.c */
/* Runs its operation and answers, or waits. */
void smtp_server_run_row(struct smtp_server *server, const struct smtp_server_row *row);
bool smtp_server_in_states(const struct smtp_server *server, unsigned states);
void smtp_server_set_state(struct smtp_server *server,
                           enum smtp_server_state state); /* the only setter */
void smtp_server_end_transaction(struct smtp_server *server, enum smtp_reset why);
void smtp_server_end_session(struct smtp_server *server);
/* As behind the greeting, whatever the client was before. */
void smtp_server_begin_anew(struct smtp_server *server);
void smtp_server_write_greeting(struct smtp_server *server);
/* Every reply of one line passes here; a 421 is always the last one (RFC 5321 3.8). */
void smtp_server_say(struct smtp_server *server, const struct smtp_reply *reply);
bool smtp_server_is_offered(const struct smtp_server *server, unsigned offer);

#endif
