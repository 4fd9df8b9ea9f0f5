/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The server engine: bytes and a clock in, bytes and events out.  No sockets, no policy, no disk:
 * those are operations handed in. It answers every 500, 501, 502, 503, 555 itself, keeps the order
 * of replies under pipelining, undoes dot-stuffing, and knows exactly one end of data, CR LF . CR
 * LF (P7).
 *
 *   GREETING -> HELO -> READY -> MAIL -> RCPT -> CONTENT -> DOT -> READY
 *   HELO, READY -> TLS (220 to STARTTLS) -> HELO
 *
 * While an operation waits (SMTP_SERVER_WAIT), input is not consumed; smtp_server_answer gives the
 * reply and goes on.
 */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include "smtp/smtp_path.h"
#include "smtp/smtp_reply.h"
#include "smtp/smtp_xclient.h"

struct smtp_server;

enum smtp_step {
    SMTP_SERVER_DONE, /* *reply is the answer */
    SMTP_SERVER_WAIT, /* smtp_server_answer will be called later */
};

enum smtp_reset {                    /* why a transaction ends without, or after, its verdict */
                  SMTP_RESET_RSET,   /* RSET, EHLO, HELO */
                  SMTP_RESET_DONE,   /* end of data was answered */
                  SMTP_RESET_CLOSED, /* connection ends: QUIT, lost, timeout, 421 */
};

/* What a session may use beyond what every session may. */
enum smtp_offer { SMTP_OFFER_STARTTLS = 1, SMTP_OFFER_ETRN = 2, SMTP_OFFER_XCLIENT = 4 };

/* What a client did that a well-made one does not: bits for events, never a reply. */
enum smtp_note {
    SMTP_NOTE_EARLY_TALK = 1,      /* input before our greeting */
    SMTP_NOTE_EARLY_EHLO = 2,      /* input behind EHLO, HELO before our reply (RFC 2920 3.1) */
    SMTP_NOTE_EARLY_DATA = 4,      /* input behind DATA before our reply */
    SMTP_NOTE_EARLY_STARTTLS = 8,  /* input behind STARTTLS: the injection of CVE-2011-0411 */
    SMTP_NOTE_BARE_OCTET = 16,     /* CR, LF or NUL inside a command line */
    SMTP_NOTE_OTHER_PROTOCOL = 32, /* a line of HTTP */
};

/* Each may fill *reply and return DONE, or WAIT.  A reply of 2xx accepts (354 for data), anything
 * else refuses; a 421 closes behind it. Nothing here may call back into the engine except
 * smtp_server_answer after WAIT, and that never from inside the operation. An operation that
 * returns DONE without touching *reply gives what it was preset to, which never takes mail: 250 for
 * helo and mail, 354 for data, 451 for rcpt, end and etrn, 220 for starttls, 550 for xclient.  What
 * an operation is given (name, mail, rcpt) is borrowed until it is answered. */
struct smtp_server_ops {
    enum smtp_step (*helo)(void *ctx, struct slice name, bool is_ehlo,
                           struct smtp_reply *reply); /* a text of a 2xx stands behind our name */
    enum smtp_step (*mail)(void *ctx, const struct smtp_mail *mail, struct smtp_reply *reply);
    enum smtp_step (*rcpt)(void *ctx, const struct smtp_rcpt *rcpt, struct smtp_reply *reply);
    /* Only called with at least one accepted recipient. 354 to go on. */
    enum smtp_step (*data)(void *ctx, struct smtp_reply *reply);
    /* Decoded content, in pieces, parts of the engine's input; the slice is borrowed. Once it has
     * returned false the rest is read and thrown away, and `end` is called all the same. Nothing is
     * handed on behind a bare CR, LF or NUL, nor beyond max_size_bytes. */
    bool (*content)(void *ctx, struct slice piece);
    /* The content was read to its end. The answer to the dot.  `fault`: it must not be used, and
     * only a 4xx or 5xx may answer it; *reply is preset to BARE_LINE_END (it held a bare CR, LF or
     * NUL) or else TOO_BIG (larger than max_size_bytes), and returning DONE says just that. */
    enum smtp_step (*end)(void *ctx, bool fault, struct smtp_reply *reply);
    /* The transaction is over; called once for each MAIL that was accepted. */
    void (*reset)(void *ctx, enum smtp_reset why);

    /* Only asked while they are offered, outside of transactions; may be NULL if they never are.
     * A 220 accepts STARTTLS (RFC 3207): behind it no octet is consumed until
     * smtp_server_tls_started. */
    enum smtp_step (*starttls)(void *ctx, struct smtp_reply *reply);
    /* `argument` is one word of printable ASCII: a domain, "@domain" or "#queue" (RFC 1985 5). */
    enum smtp_step (*etrn)(void *ctx, struct slice argument, struct smtp_reply *reply);
    /* A 220 accepts: our greeting is said instead, and the session is as behind it. */
    enum smtp_step (*xclient)(void *ctx, const struct smtp_xclient *xclient,
                              struct smtp_reply *reply);
};

struct smtp_server_settings {
    const char *hostname;    /* in greeting and EHLO */
    uint64_t max_size_bytes; /* announced as SIZE and held: MAIL SIZE= above is 552, and so is
                                content above, after it was read; 0: no limit (RFC 1870 4) */
    unsigned
        max_errors; /* so many 5xx of the engine's own without a good command between: the
                       last is 421 instead; 0: no limit. RCPT and DATA behind a refused MAIL or
                       without an accepted RCPT do not count: pipelining makes them (RFC 2920) */
    /* LIMITS of EHLO (RFC 9422): RCPTMAX and MAILMAX; 0: not announced.  With either of them goes
     * RCPTDOMAINMAX=1. */
    unsigned recipients_announced, messages_announced;
    unsigned max_idle_commands; /* so many commands in a row without progress, which is an accepted
                                   RCPT or a message read to its end, then 421 TOO_MANY_COMMANDS
                                   instead; 0: no limit. A RCPT answered 4xx does not count */
};

/* `settings`, `ops`, `ctx` are borrowed for the engine's life. Output is appended to `out`. */
struct smtp_server *smtp_server_new(const struct smtp_server_settings *settings,
                                    const struct smtp_server_ops *ops, void *ctx, struct buf *out);
void
smtp_server_free(struct smtp_server **server); /* calls reset(CLOSED) if a transaction is open */

void smtp_server_greet(struct smtp_server *server); /* writes 220 */
/* Returns how many octets were consumed; fewer than given when an operation waits, the greeting was
 * not said yet, or the session is finished. */
size_t smtp_server_input(struct smtp_server *server, struct slice input);
/* The reply of the operation that waits; then call smtp_server_input again with what is buffered.
 */
void smtp_server_answer(struct smtp_server *server, const struct smtp_reply *reply);
/* Says `reply` (a 421) at once, or right behind the answer of the operation that waits, and ends:
 * timeout, shutdown, limit. Before the greeting it stands in its place.  Input is not consumed any
 * more. */
void smtp_server_close(struct smtp_server *server, const struct smtp_reply *reply);

/* `reply` (a 421) answers the next command instead of its being run, and ends; QUIT is still said
 * goodbye. For a limit that a message has used up: what was answered stays answered. */
void smtp_server_close_next(struct smtp_server *server, const struct smtp_reply *reply);

/* Bits of enum smtp_offer, in the place of what was set before; at any time between commands.  What
 * is not offered is 502. */
void smtp_server_set_offers(struct smtp_server *server, unsigned offers);
/* STARTTLS was answered 220: flush the output, throw away what is buffered, do the handshake, then
 * say so.  The session is as it was behind the greeting, without a HELO (RFC 3207 4.2); STARTTLS is
 * no longer offered. */
bool smtp_server_wants_tls(const struct smtp_server *server);
void smtp_server_tls_started(struct smtp_server *server);
/* For this message, called from `data`, also before its operation is answered: a bare LF in the
 * content becomes CR LF; bare CR and NUL stay faults, and the end of data is CR LF . CR LF of the
 * input as ever.  False again at the next DATA. */
void smtp_server_set_normalise(struct smtp_server *server, bool normalise);
unsigned smtp_server_notes(const struct smtp_server *server); /* enum smtp_note, so far */

bool smtp_server_is_waiting(const struct smtp_server *server); /* an operation waits */
bool smtp_server_is_finished(
    const struct smtp_server *server); /* flush the output, then close the connection */
bool smtp_server_in_data(
    const struct smtp_server *server); /* content is being read: for the choice of timeout */
bool smtp_server_in_transaction(const struct smtp_server *server); /* MAIL was accepted */
uint64_t smtp_server_content_size(
    const struct smtp_server *server); /* octets of content so far (RFC 1870), of the last
                                          transaction when none is open */
/* What no content may hold and this one did: "bare CR", "bare LF", "NUL"; "" none so far. */
const char *smtp_server_content_fault(const struct smtp_server *server);
struct slice smtp_server_helo_name(
    const struct smtp_server *server); /* as the client said it, printable ASCII; "" before */
/* For limits and events: command lines so far, refusals of the engine's own among them, and the
 * code of the last reply (221 behind QUIT). */
unsigned smtp_server_command_count(const struct smtp_server *server);
unsigned smtp_server_error_count(const struct smtp_server *server);
unsigned smtp_server_last_code(const struct smtp_server *server);
bool smtp_server_is_esmtp(const struct smtp_server *server);

/* For tests and fuzzing: stops the process if an invariant does not hold. */
void smtp_server_check(const struct smtp_server *server);

#endif
