/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client engine: the same machine serves the cut-through (recipient by recipient, while the
 * sender waits) and the retry (all at once). Bytes and a clock in, bytes and events out; no sockets
 * inside.  One row per state (name, timeout, send, on_reply) and two cursors, sent and answered,
 * for pipelining (RFC 2920).
 *
 * A connection:   start -> [on_starttls -> tls_started ->] [AUTH ->] on_ready -> transactions ->
 * quit.
 * A transaction:  mail, rcpt..., data, content..., dot; each reply is an event, in order.  reset
 * ends it early. Failure at any moment is one last event, on_end, with the class of section 5 of
 * the design: what is unanswered then is `away`, or `unknown` if the dot had been sent.
 */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "smtp/smtp_capabilities.h"
#include "smtp/smtp_path.h"
#include "smtp/smtp_reply.h"

struct smtp_client;

/* What is done about STARTTLS (RFC 3207). */
enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE, /* not asked for */
    SMTP_CLIENT_TLS_MAY,  /* when offered; refused, the connection goes on as it is */
    SMTP_CLIENT_TLS_MUST, /* not offered or refused: on_end in SMTP_PHASE_STARTTLS */
};

/* The class of a backend's reply, or of its absence (DESIGN section 5). */
enum smtp_class {
    SMTP_CLASS_OK,
    SMTP_CLASS_REFUSED,
    SMTP_CLASS_LATER,
    SMTP_CLASS_AWAY,
    SMTP_CLASS_UNKNOWN,
};

enum smtp_phase {
    SMTP_PHASE_CONNECT,
    SMTP_PHASE_BANNER,
    SMTP_PHASE_EHLO,
    SMTP_PHASE_HELO,
    SMTP_PHASE_STARTTLS, /* the command, and the handshake behind it */
    SMTP_PHASE_AUTH,     /* RFC 4954; only if the owner has given credentials */
    SMTP_PHASE_XFORWARD, /* no event is given: what is answered to it harms nothing */
    SMTP_PHASE_MAIL,
    SMTP_PHASE_RCPT,
    SMTP_PHASE_DATA,
    SMTP_PHASE_DOT,
    SMTP_PHASE_RSET,
    SMTP_PHASE_QUIT,
    SMTP_PHASE_COUNT
};

/* The one function that maps a reply and its phase to a class; reply NULL or code 0: none came
 * (lost, timed out, garbage). Total: any code, any phase. */
enum smtp_class smtp_class_of(enum smtp_phase phase, const struct smtp_reply *reply);
const char *smtp_class_word(enum smtp_class class);
const char *smtp_phase_word(enum smtp_phase phase);
/* 502, 504, 521, 530, 534, 535, 538, banner 5xx, ...: the backend itself is broken, whatever the
 * message (part of `away`). */
bool smtp_class_is_broken(enum smtp_phase phase, const struct smtp_reply *reply);

struct smtp_client_ops {
    void (*on_ready)(void *ctx, const struct smtp_capabilities *caps); /* EHLO or HELO is done */
    /* STARTTLS was answered 220 and what stood behind it was thrown away: do the handshake, then
     * call smtp_client_tls_started, or smtp_client_lost.  NULL is permitted where TLS is never
     * asked for. */
    void (*on_starttls)(void *ctx);
    /* The reply to MAIL (index 0), to the index-th RCPT of the transaction, to DATA, to the dot, to
     * RSET. class is smtp_class_of. After a refused MAIL the RCPTs and DATA that were given are
     * still answered, in order, with the class and the reply of MAIL, whatever the peer said to
     * them; DATA is answered `refused` if no RCPT was accepted. */
    void (*on_reply)(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
                     const struct smtp_reply *reply);
    /* DATA was answered 354: the engine wants content. Call smtp_client_content, then
     * smtp_client_dot. */
    void (*on_want_content)(void *ctx);
    /* The connection's last event: QUIT was answered, or it failed in `phase`.  reply is the one
     * that ended it (421, a refused handshake or RSET; 554 5.4.6 for a banner with our own name);
     * else its code is 0 and the text says why ("connection lost", "reply without a command: ...").
     * `dot_sent`: the outcome of a transaction is unknown; else what is unanswered is `away`. A 421
     * is first given to what it answers, by on_reply.  Free the engine after the turn. */
    void (*on_end)(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply);
};

struct smtp_client_settings {
    const char
        *hostname; /* for EHLO; a banner with this very name is `broken` (a loop to ourselves) */
    int64_t command_timeout_ms; /* banner, EHLO, MAIL, RCPT, RSET */
    int64_t data_timeout_ms;    /* reply to DATA */
    int64_t content_timeout_ms; /* no octet of content accepted by the peer for so long */
    int64_t final_timeout_ms;   /* reply to the dot */
};

/* After on_end every call is permitted and does nothing.
 * Borrowed for the engine's life: settings, ops, ctx, out. The connection stands already; the
 * banner is awaited. */
struct smtp_client *smtp_client_new(const struct smtp_client_settings *settings,
                                    const struct smtp_client_ops *ops, void *ctx, struct buf *out);
void smtp_client_free(struct smtp_client **client); /* no event is given */
/* Before any input; SMTP_CLIENT_TLS_NONE is the default. */
void smtp_client_set_tls(struct smtp_client *client, enum smtp_client_tls tls);
/* Who we are to this peer (RFC 4954), by PLAIN or else LOGIN: said once, inside TLS, before
 * on_ready. In the clear, not offered or refused: on_end in SMTP_PHASE_AUTH.  Borrowed for the
 * engine's life; before any input. */
struct smtp_credentials {
    const char *user, *password;
};
void smtp_client_set_credentials(struct smtp_client *client,
                                 const struct smtp_credentials *credentials);
/* The handshake is done: EHLO is said again, what the peer offered before is forgotten (RFC 3207
 * 4.2). */
void smtp_client_tls_started(struct smtp_client *client);
/* Octets that stood in plain text behind the 220 to STARTTLS: somebody on the way tried to put
 * words into the peer's mouth, or the peer is odd. They were thrown away unread (P7). */
size_t smtp_client_injected_bytes(const struct smtp_client *client);

/* Events are given from inside these three; the engine may be called back from an event, but not
 * freed there. */
void smtp_client_input(struct smtp_client *client, struct buf *in); /* consumes all that it can */
void smtp_client_lost(struct smtp_client *client);                  /* end of file, reset */
void smtp_client_timeout(struct smtp_client *client); /* the deadline passed: as lost */
/* The timeout of what is awaited now; 0: nothing is (idle). Ask again after every call, but let the
 * deadline start anew only when smtp_client_progress has changed (a reply is complete, a command
 * was sent), so that a peer that drips octets gains nothing by it. While content is wanted the
 * deadline also starts anew when the peer accepts octets of output. */
int64_t smtp_client_timeout_ms(const struct smtp_client *client);
unsigned smtp_client_progress(const struct smtp_client *client);

/* Permitted when idle, and only just before smtp_client_mail: who the client of this transaction
 * is, for a peer that trusts us, as far as it has offered to hear it.  A peer that refuses it is
 * not told again on this connection. */
void smtp_client_xforward(struct smtp_client *client, const struct smtp_xforward *xforward);
/* MAIL with the parameters that were given and that the peer offers (smtp_capabilities.h).
 * Permitted only when idle, or behind smtp_client_xforward. */
void smtp_client_mail(struct smtp_client *client, const struct smtp_mail *mail);
/* Sent at once if the peer offers PIPELINING, else when its turn has come. At most 1,000 a
 * transaction. */
void smtp_client_rcpt(struct smtp_client *client, const struct smtp_rcpt *rcpt);
/* May be pipelined behind the RCPTs (retry); if every RCPT is refused and DATA is answered 354 all
 * the same, the engine sends an empty body itself (RFC 2920 3.1) and says on_reply(DATA, class
 * refused). After a refused MAIL, DATA or dot the transaction is open until smtp_client_reset. */
void smtp_client_data(struct smtp_client *client);
/* Content as content; dot-stuffing happens here, and nowhere else (P7).  Everything is taken; watch
 * the output's size. */
void smtp_client_content(struct smtp_client *client, struct slice piece);
/* For who sends the content out of its own memory, behind what is in the output: takes off `rest`
 * what goes on the wire next as it stands there. */
struct slice smtp_client_next_run(struct smtp_client *client, struct slice *rest);
/* Ends the content with CR LF (if its last line lacks one) and the dot. From now on a loss is
 * `unknown`. */
void smtp_client_dot(struct smtp_client *client);
/* RSET when a transaction is open (nothing happens else); then idle after its reply.  Commands that
 * were not sent yet are dropped without an event; those sent are answered first.  Not permitted
 * from on_want_content to the reply to the dot: a transaction is then left only by closing the
 * connection. If DATA is in flight and answered 354, the connection ends. A refused RSET ends it
 * too. */
void smtp_client_reset(struct smtp_client *client);
void smtp_client_quit(struct smtp_client *client); /* when idle; on_end follows */

bool
smtp_client_is_idle(const struct smtp_client *client); /* ready, no transaction, nothing awaited */
const struct smtp_capabilities *smtp_client_capabilities(const struct smtp_client *client);
/* The first word of its banner, as it said it; "" before. */
const char *smtp_client_banner_name(const struct smtp_client *client);
/* Of the oldest unanswered command; with none: QUIT when idle, RCPT in a transaction, DOT in
 * content. */
enum smtp_phase smtp_client_phase(const struct smtp_client *client);
void smtp_client_check(const struct smtp_client *client); /* invariants, for tests and fuzzing */

#endif
