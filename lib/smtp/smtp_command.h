/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A command line of RFC 5321 4.1.1 as a value: the verb, and what stands behind it parsed.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include "smtp/smtp_path.h"
#include "smtp/smtp_reply.h"
#include "smtp/smtp_xclient.h"

/* Octets of a command line with its CR LF: 512 (RFC 5321 4.5.3.1.4), more for MAIL and RCPT, by
 * what each extension adds. */
#define SMTP_LINE_MAX 512
#define SMTP_LINE_MAX_MAIL \
    (SMTP_LINE_MAX + 26 + 17 + 10 + 9 + 7 + 100)          /* SIZE, BODY, SMTPUTF8, RET, ENVID */
#define SMTP_LINE_MAX_RCPT (SMTP_LINE_MAX + 29 + 7 + 500) /* NOTIFY, ORCPT */
#define SMTP_COMMAND_LINE_MAX SMTP_LINE_MAX_RCPT          /* of any */
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
size_t smtp_verb_line_max(enum smtp_verb verb);  /* octets, with the CR LF */
const char *smtp_verb_word(enum smtp_verb verb); /* "MAIL"; "" for the two last */

/* Parsers of arguments.  SMTP_VERDICT_OK, or what the client is told: BAD_PARAMETER,
 * BAD_SENDER_SYNTAX, BAD_RECIPIENT_SYNTAX, PARAMETER_NOT_OFFERED, and what stands beside them. */
enum smtp_verdict smtp_parse_nothing(struct slice args, struct smtp_command *command);
enum smtp_verdict smtp_parse_anything(struct slice args, struct smtp_command *command);
enum smtp_verdict smtp_parse_something(struct slice args, struct smtp_command *command);
/* Any one word of printable ASCII: whether it is a good name is policy (RFC 5321 4.1.4). */
enum smtp_verdict smtp_parse_helo(struct slice args, struct smtp_command *command);
/* FROM:<path> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8] [RET=FULL|HDRS] [ENVID=xtext], keywords in
 * any case and order, each at most once; spaces behind the colon are tolerated.  SIZE beyond 64
 * bits is UINT64_MAX.  SMTPUTF8_SENDER: the address needs SMTPUTF8, and it was not said. */
enum smtp_verdict smtp_parse_mail(struct slice args, struct smtp_command *command);
/* TO:<path> [NOTIFY=NEVER|list] [ORCPT=type;xtext], the same way.  SMTPUTF8_RECIPIENT as above, by
 * command->smtputf8. */
enum smtp_verdict smtp_parse_rcpt(struct slice args, struct smtp_command *command);
/* One word of printable ASCII (RFC 1985 5). */
enum smtp_verdict smtp_parse_etrn(struct slice args, struct smtp_command *command);
/* BAD_PARAMETER without an attribute, else XCLIENT_SYNTAX. */
enum smtp_verdict smtp_parse_xclient(struct slice args, struct smtp_command *command);

#endif
