/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A command line of RFC 5321 4.1.1 as a value: the verb, and what stands behind it parsed.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include "smtp/smtp_path.h"
#include "smtp/smtp_reply.h"
#include "smtp/smtp_xclient.h"

#define SMTP_COMMAND_LINE_MAX                                                             \
    2048                   /* octets with the CR LF; RFC 5321 4.5.3.1.4 says 512 and more \
                              for each extension */
#define SMTP_HELO_SIZE 256 /* a host name or literal with its NUL (RFC 5321 4.5.3.1.2) */

enum smtp_verb {
    SMTP_VERB_EHLO,
    SMTP_VERB_HELO,
    SMTP_VERB_MAIL,
    SMTP_VERB_RCPT,
    SMTP_VERB_DATA,
    SMTP_VERB_RSET,
    SMTP_VERB_NOOP,
    SMTP_VERB_VRFY,
    SMTP_VERB_HELP,
    SMTP_VERB_QUIT,
    SMTP_VERB_STARTTLS,
    SMTP_VERB_ETRN,
    SMTP_VERB_XCLIENT,
    SMTP_VERB_COUNT,
    SMTP_VERB_NOT_OFFERED = SMTP_VERB_COUNT, /* exists in SMTP, but not here: 502 */
    SMTP_VERB_UNKNOWN,                       /* 500 */
    SMTP_VERB_OTHER_PROTOCOL,                /* a line of HTTP */
};

/* What the verb takes; the value of a verb is valid after its own parser has said OK. */
struct smtp_command {
    enum smtp_verb verb;
    bool smtputf8; /* for the parser of RCPT: MAIL had the parameter */
    union {
        char helo[SMTP_HELO_SIZE]; /* printable ASCII without a space */
        char etrn[SMTP_HELO_SIZE]; /* the same */
        struct smtp_mail mail;
        struct smtp_rcpt rcpt;
        struct smtp_xclient xclient;
    };
};

/* Cuts the verb off `line` (which has no CR LF) and leaves its arguments in *args, without spaces
 * and tabs at either end (RFC 5321 4.1.1 tolerates trailing ones). */
enum smtp_verb smtp_verb_parse(struct slice line, struct slice *args);
const char *smtp_verb_word(enum smtp_verb verb); /* "MAIL"; "" for the two last */

/* Parsers of arguments.  SMTP_VERDICT_OK, or what the client is told: BAD_PARAMETER,
 * BAD_SENDER_SYNTAX, BAD_RECIPIENT_SYNTAX, PARAMETER_NOT_OFFERED. */
enum smtp_verdict smtp_parse_nothing(struct slice args, struct smtp_command *command);
enum smtp_verdict smtp_parse_anything(struct slice args, struct smtp_command *command);
enum smtp_verdict smtp_parse_something(struct slice args, struct smtp_command *command);
/* Any one word of printable ASCII: whether it is a good name is policy (RFC 5321 4.1.4). */
enum smtp_verdict smtp_parse_helo(struct slice args, struct smtp_command *command);
/* FROM:<path> [SIZE=n] [BODY=7BIT|8BITMIME], keywords in any case and order, each at most once;
 * spaces behind the colon are tolerated.  SIZE beyond 64 bits is UINT64_MAX. */
enum smtp_verdict smtp_parse_mail(struct slice args, struct smtp_command *command);
/* TO:<path>; no parameter is offered for it. */
enum smtp_verdict smtp_parse_rcpt(struct slice args, struct smtp_command *command);
/* One word of printable ASCII (RFC 1985 5). */
enum smtp_verdict smtp_parse_etrn(struct slice args, struct smtp_command *command);
/* BAD_PARAMETER without an attribute, else XCLIENT_SYNTAX. */
enum smtp_verdict smtp_parse_xclient(struct slice args, struct smtp_command *command);

#endif
