/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the client engine, shared by its three files: smtp_client.c (the cursors, replies
 * as they come in, life), smtp_client_phases.c (what each phase sends and what its reply leads to)
 * and smtp_client_commands.c (what the owner gives).
 */
#ifndef SMTP_CLIENT_PRIVATE_H
#define SMTP_CLIENT_PRIVATE_H

#include "smtp/smtp_client.h"
#include "smtp/smtp_stuff.h"

#define RCPT_MAX 1000
#define RING 1024 /* more than a transaction can queue, and a power of two */
_Static_assert(RING > RCPT_MAX + 8 && (RING & (RING - 1)) == 0, "the ring holds a transaction");

/*   GREETING -ehlo/helo, auth-> IDLE -mail-> OPEN -354-> CONTENT -dot-> FINAL -2xx-> IDLE
 *    |    ^                ^            |  |                         \-other-> OPEN
 *    |    |                |            |  \-354, nobody accepted-> EMPTY -reply-> OPEN
 *    |    \-tls_started-\  \---RSET-----/                     any -> ENDED
 *    \--220 to STARTTLS--> SECURING
 */
enum smtp_client_state {
    STATE_GREETING, /* until EHLO or HELO is answered */
    STATE_SECURING, /* the owner does the handshake: whatever comes in is not ours to read */
    STATE_IDLE,
    STATE_OPEN,    /* from MAIL to 354, or to RSET */
    STATE_EMPTY,   /* a dot of our own was sent, RFC 2920 3.1 */
    STATE_CONTENT, /* from 354 to the dot */
    STATE_FINAL,   /* the dot was sent */
    STATE_ENDED,   /* on_end was given */
};

struct smtp_client {
    const struct smtp_client_settings *settings;
    const struct smtp_client_ops *ops;
    void *ctx;
    struct buf *out;

    enum smtp_client_state state;
    uint8_t ring[RING]; /* enum smtp_phase */
    unsigned queued, sent, answered;
    unsigned due;     /* `sent` when the input at hand arrived */
    bool early;       /* the reply at hand began before it was due */
    struct buf lines; /* MAIL and RCPT that are queued and not sent */
    unsigned progress;

    char banner_name[INET_DOMAIN_SIZE];
    struct smtp_capabilities caps;
    unsigned ehlo_lines;
    enum smtp_client_tls tls; /* what is still to be done about it: NONE once it is there */
    size_t injected_bytes;
    bool is_secure;                             /* the handshake is done */
    const struct smtp_credentials *credentials; /* NULL: none */
    unsigned auth_step;                         /* answers given to 334 */

    unsigned rcpt_queued, rcpt_answered;
    unsigned rcpt_taken;        /* answered 2xx, whatever became of MAIL */
    bool is_forwarded;          /* XFORWARD is queued, MAIL follows */
    bool data_queued, is_reset; /* of this transaction */
    bool mail_refused;          /* then `refusal` answers for RCPT and DATA too */
    struct smtp_reply refusal;
    enum smtp_class refusal_class;

    enum smtp_phase end_phase;
    struct smtp_stuff stuff;
    struct smtp_reply_parser parser;
};

struct smtp_client_row {
    size_t timeout;  /* offset in the settings */
    bool ends_group; /* nothing is pipelined behind it (RFC 2920 3.1) */
    void (*send)(struct smtp_client *client);
    void (*on_reply)(struct smtp_client *client, enum smtp_class class,
                     const struct smtp_reply *reply);
};

static inline enum smtp_phase
smtp_client_phase_at(const struct smtp_client *client, unsigned cursor)
{
    return (enum smtp_phase)client->ring[cursor % RING];
}

/* --- smtp_client_phases.c */
extern const struct smtp_client_row smtp_client_rows[SMTP_PHASE_COUNT];
void smtp_client_on_ehlo_line(void *client, struct slice text);
/* Without PIPELINING: what a refused MAIL, or recipients refused one and all, make pointless is not
 * sent but answered here. */
void smtp_client_answer_pointless(struct smtp_client *client);

/* --- smtp_client.c */
void smtp_client_set_state(struct smtp_client *client,
                           enum smtp_client_state state); /* the only setter */
void smtp_client_enqueue(struct smtp_client *client, enum smtp_phase phase);
/* Sends what PIPELINING or its turn permits. */
void smtp_client_pump(struct smtp_client *client);
/* Forgets what was queued and not sent. */
void smtp_client_drop_unsent(struct smtp_client *client);
/* Gives on_end.  Without a reply of the peer its code is 0, and its text says why. */
void smtp_client_end_in(struct smtp_client *client, enum smtp_phase phase,
                        const struct smtp_reply *reply);
/* Peer and engine no longer speak of the same thing, as this reply shows. */
void smtp_client_end_broken(struct smtp_client *client, const char *why,
                            const struct smtp_reply *reply);

#endif
