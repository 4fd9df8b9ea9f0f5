/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The milter protocol's packets, as sendmail's libmilter speaks them (version 2 to 6): four octets
 * of length in network order, one of command or answer, then its fields.  Pure; an answer is
 * hostile input until it is here a value.
 */
#ifndef MILTER_PACKET_H
#define MILTER_PACKET_H

#include "base/buf.h"
#include "smtp/smtp_reply.h"

#define MILTER_VERSION 6
#define MILTER_VERSION_MIN 2
#define MILTER_VERSION_DATA 4     /* from here on DATA is known */
#define MILTER_BODY_CHUNK 65535   /* a filter's receive buffer holds no more */
#define MILTER_PACKET_MAX 1048576 /* of an answer; a longer one is none */

enum milter_command {
    MILTER_ABORT = 'A',
    MILTER_BODY = 'B',
    MILTER_CONNECT = 'C',
    MILTER_MACROS = 'D',
    MILTER_END_OF_BODY = 'E',
    MILTER_HELO = 'H',
    MILTER_HEADER = 'L',
    MILTER_MAIL = 'M',
    MILTER_END_OF_HEADER = 'N',
    MILTER_NEGOTIATE = 'O',
    MILTER_QUIT = 'Q',
    MILTER_RCPT = 'R',
    MILTER_DATA = 'T',
};

enum milter_answer {
    MILTER_ADD_RCPT = '+',
    MILTER_DELETE_RCPT = '-',
    MILTER_ADD_RCPT_PARAMETERS = '2',
    MILTER_SHUTDOWN = '4',
    MILTER_ACCEPT = 'a',
    MILTER_REPLACE_BODY = 'b',
    MILTER_CONTINUE = 'c',
    MILTER_DISCARD = 'd',
    MILTER_CHANGE_FROM = 'e',
    MILTER_CONNECTION_FAILED = 'f',
    MILTER_ADD_HEADER = 'h',
    MILTER_INSERT_HEADER = 'i',
    MILTER_CHANGE_HEADER = 'm',
    MILTER_PROGRESS = 'p',
    MILTER_QUARANTINE = 'q',
    MILTER_REJECT = 'r',
    MILTER_SKIP = 's',
    MILTER_TEMPFAIL = 't',
    MILTER_REPLY_CODE = 'y',
};

/* What a filter may do (SMFIF_*). */
#define MILTER_ACTION_ADD_HEADERS 0x01u
#define MILTER_ACTION_CHANGE_BODY 0x02u
#define MILTER_ACTION_CHANGE_HEADERS 0x10u
#define MILTER_ACTION_QUARANTINE 0x20u
/* Envelopes are the sender's and the customer's: recipients and reverse-path are not offered. */
#define MILTER_ACTIONS_OFFERED                                                              \
    (MILTER_ACTION_ADD_HEADERS | MILTER_ACTION_CHANGE_BODY | MILTER_ACTION_CHANGE_HEADERS | \
     MILTER_ACTION_QUARANTINE)

/* What it need not be told, and what it does not answer (SMFIP_*). */
#define MILTER_NO_CONNECT 0x1u
#define MILTER_NO_HELO 0x2u
#define MILTER_NO_MAIL 0x4u
#define MILTER_NO_RCPT 0x8u
#define MILTER_NO_BODY 0x10u
#define MILTER_NO_HEADERS 0x20u
#define MILTER_NO_END_OF_HEADER 0x40u
#define MILTER_MUTE_HEADERS 0x80u
#define MILTER_NO_UNKNOWN 0x100u
#define MILTER_NO_DATA 0x200u
#define MILTER_CAN_SKIP 0x400u
#define MILTER_MUTE_CONNECT 0x1000u
#define MILTER_MUTE_HELO 0x2000u
#define MILTER_MUTE_MAIL 0x4000u
#define MILTER_MUTE_RCPT 0x8000u
#define MILTER_MUTE_DATA 0x10000u
#define MILTER_MUTE_UNKNOWN 0x20000u
#define MILTER_MUTE_END_OF_HEADER 0x40000u
#define MILTER_MUTE_BODY 0x80000u
#define MILTER_LEADING_SPACE 0x100000u /* values are told with the space behind the colon */
#define MILTER_STEPS_OFFERED 0x1ff7ffu /* all of the above */

/* --- Commands.  Between _begin and _end the fields are appended to `out`. */
size_t milter_packet_begin(struct buf *out, char command);
void milter_packet_end(struct buf *out, size_t begun);
void milter_packet_put(struct buf *out, char command, struct slice payload);
void milter_put_string(struct buf *out, struct slice text); /* with its NUL; cut at a NUL in it */
void milter_put_u16(struct buf *out, uint16_t v);
void milter_put_u32(struct buf *out, uint32_t v);

/* --- Answers. */
struct milter_packet {
    char answer;
    struct slice payload; /* borrowed from the buffer until that is appended to */
};

enum milter_packet_state { MILTER_PACKET_WHOLE, MILTER_PACKET_PART, MILTER_PACKET_BAD };
/* Takes the first packet off `in`. BAD: of no length, or of too great a one. */
enum milter_packet_state milter_packet_take(struct buf *in, struct milter_packet *packet);

/* Each false: it is malformed.  What they give is borrowed from the payload. */
bool milter_read_u32(struct slice *payload, uint32_t *v);
bool milter_read_string(struct slice *payload, struct slice *text);
/* "550 5.7.1 text", "550-5.7.1 text\r\n550 5.7.1 more": a refusal, 4xx or 5xx; its text is cleaned,
 * lines are joined by a space. */
bool milter_read_reply(struct slice payload, struct smtp_reply *reply);

#endif
