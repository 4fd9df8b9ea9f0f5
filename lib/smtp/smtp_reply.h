/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A reply of RFC 5321 4.2 with the enhanced status code of RFC 2034 and 3463: a plain value.  The
 * texts of what Postern itself says are one table (smtp_verdict.def); replies of backends are
 * parsed from hostile bytes and cleaned before they are passed on.
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/ref.h"

#define SMTP_REPLY_TEXT_SIZE                                             \
    400 /* of all lines together, joined by one space each, with the NUL \
         */
#define SMTP_REPLY_LINE_MAX \
    2000 /* longer lines of a peer are cut, not refused (RFC 5321 4.5.3.1.5 says 512) */
#define SMTP_REPLY_LINES_MAX 200 /* more is garbage */

struct smtp_enhanced {
    uint8_t class; /* 2, 4, 5; 0: none was given */
    uint16_t subject, detail;
};

struct smtp_reply {
    uint16_t code; /* 200 .. 599, or what a mad peer said; 0: none came, `text` may say why */
    struct smtp_enhanced enhanced;
    char text[SMTP_REPLY_TEXT_SIZE]; /* printable ASCII, without codes */
};

/* --- What Postern says itself. */
enum smtp_verdict {
#define VERDICT(id, code, class, subject, detail, word, text, help, sender, customer, operator) \
    SMTP_VERDICT_##id,
#include "smtp/smtp_verdict.def"
#undef VERDICT
    SMTP_VERDICT_COUNT
};

struct smtp_reply smtp_verdict_reply(enum smtp_verdict verdict);
const char *smtp_verdict_word(enum smtp_verdict verdict); /* for log, counter and event */
/* For the manual and `relayctl help CODE`: what happened and why; "" never. */
const char *smtp_verdict_help(enum smtp_verdict verdict);
/* What can be done about a refusal, by whom; "" where nothing is refused. */
enum smtp_remedy { SMTP_REMEDY_SENDER, SMTP_REMEDY_CUSTOMER, SMTP_REMEDY_OPERATOR };
#define SMTP_REMEDY_COUNT 3
const char *smtp_verdict_remedy(enum smtp_verdict verdict, enum smtp_remedy remedy);
/* The first verdict from *verdict on that has this word and code (0: any); begin with 0.
 * ERR_NOT_FOUND. */
MUST_USE int smtp_verdict_find(const char *word, uint16_t code, enum smtp_verdict *verdict);

/* The word of the verdict that one of our own replies was made of, which may have got more text
 * behind (a reference, minutes to wait); "other" if it is none of them.  Static. */
const char *smtp_reply_word(const struct smtp_reply *reply);

/* --- Making and writing. */
/* enhanced "5.7.1" or NULL; one that is malformed or of another class than the code is left out.
 * Text is cleaned and cut. */
struct smtp_reply smtp_reply_make(uint16_t code, const char *enhanced, const char *text);
/* Of a message that is kept, until when; `ref` is its reference's text. */
struct smtp_reply smtp_reply_queued(const char *ref, int64_t until_ms);
/* Puts " [ref]" behind the text (P6), shortening the text if need be. */
void smtp_reply_add_ref(struct smtp_reply *reply, struct ref ref);
/* One line "550 5.7.1 text\r\n". */
void smtp_reply_write(const struct smtp_reply *reply, struct buf *out);
/* "550 5.7.1 text" for logs, envelopes and lists; with code 0 the text alone. dst gets at most
 * dst_size octets with the NUL; SMTP_REPLY_LINE_SIZE holds any. */
#define SMTP_REPLY_LINE_SIZE (SMTP_REPLY_TEXT_SIZE + 20)
const char *smtp_reply_text(const struct smtp_reply *reply, char *dst, size_t dst_size);
/* The inverse. Text that does not begin with a digit is a reply of code 0. */
MUST_USE int smtp_reply_from_text(struct slice text, struct smtp_reply *reply);

/* --- Reading a peer's reply: lines are given one by one, in any cut.
 * Survived: bare LF, missing text, codes outside the RFC, mixed codes of a multi-line reply (the
 * last counts), no space behind the code, control bytes and 8-bit (replaced by '?'), over-long
 * lines (cut). ERR_SYNTAX only for what has no code at all. */
struct smtp_reply_parser {
    struct smtp_reply reply;
    char line[SMTP_REPLY_LINE_MAX];
    uint16_t line_length;
    uint16_t lines;  /* of this reply so far */
    uint32_t octets; /* the same; bounded, for a peer that never ends a line */
    bool overlong;   /* a line of the last reply was cut */
};
void smtp_reply_parser_init(struct smtp_reply_parser *p);
/* Consumes up to and with the end of one reply; *consumed says how much.  ERR_OK: p->reply is
 * whole, and the next call begins a new one; ERR_AGAIN: more is needed; ERR_SYNTAX: this is no SMTP
 * server.  each_line may be NULL (EHLO uses it for its keywords). */
MUST_USE int smtp_reply_parse(struct smtp_reply_parser *p, struct slice input, size_t *consumed,
                              void (*each_line)(void *ctx, struct slice text), void *ctx);

#endif
