/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One message shown to one filter: the MTA's side of the dialogue as a pure machine, octets in and
 * out.  All of it happens at the end of the content, when sender, recipients and content are known;
 * so a refusal at any step is one of the message.
 *
 *   NEGOTIATE -> CONNECT -> HELO -> MAIL -> RCPT ... -> DATA -> HEADER ... -> END_OF_HEADER
 *             -> BODY ... -> END_OF_BODY -> (edits) -> over
 *
 * What a filter need not be told is left out, what it does not answer is not waited for.  Whatever
 * is against the protocol ends the talk as failed, and then nothing of it counts.
 */
#ifndef MILTER_TALK_H
#define MILTER_TALK_H

#include "base/inet.h"
#include "milter/milter_header.h"
#include "milter/milter_packet.h"

/* What it is told besides the content. */
struct milter_question {
    const char *hostname, *ref;
    struct inet_endpoint client;
    const char *client_name; /* "": not known */
    const char *helo;
    const char *tls_version, *tls_cipher; /* "": in the clear */
    const char *sender;                   /* without brackets */
    const char *(*recipient)(const void *ctx, unsigned i);
    const void *recipient_ctx;
    unsigned recipient_count;
    const struct milter_header *header;
};

enum milter_pull { MILTER_PULL_PIECE, MILTER_PULL_LATER, MILTER_PULL_END };

struct milter_talk_ops {
    /* The next piece of the body, borrowed until the next call.  LATER: milter_talk_resume follows
     * when there is one. */
    enum milter_pull (*pull)(void *ctx, struct slice *piece);
    /* A piece of the body that it wants instead, of at most MILTER_TALK_PIECE octets; the first has
     * none.  False: there is no room, which ends the talk as failed. */
    bool (*replace)(void *ctx, struct slice piece);
    /* Another such piece can be taken now; else milter_talk_resume follows when it can. */
    bool (*wants_more)(void *ctx);
};

enum milter_outcome {
    MILTER_OUTCOME_OPEN,
    MILTER_OUTCOME_ACCEPTED,
    MILTER_OUTCOME_REFUSED,   /* for good: `reply` */
    MILTER_OUTCOME_LATER,     /* for now: `reply` */
    MILTER_OUTCOME_DISCARDED, /* it wants the message to vanish */
    MILTER_OUTCOME_FAILED,    /* `why` */
};
const char *milter_outcome_word(enum milter_outcome outcome);

#define MILTER_TALK_OUT_MAX (256 * 1024) /* more waits for the filter to read */
#define MILTER_TALK_PIECE (16 * 1024)
#define MILTER_QUARANTINE_SIZE 200

struct milter_talk {
    const struct milter_question *question;
    const struct milter_talk_ops *ops;
    void *ctx;
    struct buf *out, in, chunk, value;
    struct buf coming;    /* of the new body, not handed on yet */
    unsigned step, index; /* the next to be said; index: of recipients and fields */
    unsigned asked;       /* the last that was said, */
    bool is_awaited;      /* whose answer has not come */
    bool body_ended, is_replacing;
    uint32_t actions, protocol, version;
    unsigned progress_count; /* it has said that it is at work */
    enum milter_outcome outcome;
    const char *why;         /* static */
    struct smtp_reply reply; /* code 0: it did not say which */
    struct milter_edits edits;
    char quarantine[MILTER_QUARANTINE_SIZE]; /* why it wants the message held; "" it does not */
};

/* `question`, `ops` and `out`, to which the commands are appended, are borrowed for its life. */
void milter_talk_init(struct milter_talk *talk, const struct milter_question *question,
                      const struct milter_talk_ops *ops, void *ctx, struct buf *out);
void milter_talk_fini(struct milter_talk *talk);
/* Each may bring the outcome, after which nothing changes any more. */
void milter_talk_start(struct milter_talk *talk);
void milter_talk_feed(struct milter_talk *talk, struct slice input);
/* More of the body can be pulled or of the new one be taken, or `out` has room again. */
void milter_talk_resume(struct milter_talk *talk);
/* Nothing more of the filter is taken until it is resumed. */
bool milter_talk_is_full(const struct milter_talk *talk);
void milter_talk_fail(struct milter_talk *talk, const char *why);

#endif
