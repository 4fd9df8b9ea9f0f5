/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a worker and the spf process say to each other: each message is a run of entries of its
 * kind.  The ids of checks are the worker's; their lower bits are a place in a table of
 * SPF_CHECKS_MAX, so that both sides find a check without a search.
 */
#ifndef SPF_PROTOCOL_H
#define SPF_PROTOCOL_H

#include "base/codec.h"
#include "net/channel.h"
#include "spf/spf.h"

/* In flight, of one worker; beyond it a check is temperror at once. */
#define SPF_CHECKS_MAX 2048
_Static_assert((SPF_CHECKS_MAX & (SPF_CHECKS_MAX - 1)) == 0, "a place is bits of an id");

enum spf_message {
    SPF_MESSAGE_ASK = 1, /* worker: u8 enum spf_entry, u32 id, and: */
    SPF_MESSAGE_TELL,    /* spf: u32 id, u8 enum spf_told, and: */
};

enum spf_entry {
    SPF_ENTRY_START,   /* u8 identity, u8 family, address as bytes, helo, mail_from as bytes,
                          answers */
    SPF_ENTRY_ANSWERS, /* answers */
    SPF_ENTRY_DROP,    /* nobody waits any more */
};
/* Answers: u16 count, each: name as bytes, u8 type, u8 result, u16 count, items as bytes. */

enum spf_told {
    SPF_TOLD_NEEDS,  /* u16 count, each: name as bytes, u8 type */
    SPF_TOLD_RESULT, /* u8 verdict, u8 is_sound, u8 identity, u32 lookups, domain, mechanism, reason
                        as bytes */
};

/* Items that an answer may have; of addresses those beyond, of hosts more than the evaluation looks
 * at (RFC 7208 4.6.4) are left out. */
#define SPF_ITEMS_MAX 64
#define SPF_HOSTS_SENT_MAX 11

void spf_question_encode(struct buf *b, const struct spf_question *question);
struct spf_question_text { /* what a decoded question points into */
    char helo[SPF_HELO_SIZE], mail_from[SPF_SENDER_SIZE];
};
/* False: it is none. */
MUST_USE bool spf_question_decode(struct decoder *d, struct spf_question_text *text,
                                  struct spf_question *question);

/* Only what the evaluation has a use for. */
void spf_answer_encode(struct buf *b, const char *name, enum spf_type type,
                       const struct spf_answer *answer);
/* *answer is borrowed from the input and from `items`. */
MUST_USE bool spf_answer_decode(struct decoder *d, char name[INET_DOMAIN_SIZE], enum spf_type *type,
                                struct spf_answer *answer, struct slice items[SPF_ITEMS_MAX]);

void spf_result_encode(struct buf *b, const struct spf_result *result);
MUST_USE bool spf_result_decode(struct decoder *d, struct spf_result *result);

/* Sends what `batch` holds if `entry` would not fit behind it, then adds that. */
void spf_batch_add(struct channel *channel, enum spf_message type, struct buf *batch,
                   struct buf *entry);
void spf_batch_send(struct channel *channel, enum spf_message type, struct buf *batch);

#endif
