/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a sender is told of a message that ends without delivery (P4): whether it may be told, and
 * the notice.  For whoever owns the spool: the keeper, or relayctl in its place.
 */
#ifndef NOTICE_DSN_H
#define NOTICE_DSN_H

#include "base/config.h"
#include "notice/notice_rate.h"
#include "smtp/smtp_path.h"
#include "spool/spool_store.h"

/* --- Whether. */

enum notice_verdict {
    NOTICE_SEND,
    NOTICE_OWN,         /* it is a notice itself */
    NOTICE_NULL_SENDER, /* nobody to tell (RFC 5321 4.5.5) */
    NOTICE_UNVERIFIED,  /* whoever the address belongs to may never have sent it */
    NOTICE_SPAM,
    NOTICE_NOT_WANTED, /* NOTIFY without FAILURE, for all of them (RFC 3461 4.1) */
    NOTICE_NO_ROUTE,   /* outbound-route is not set */
    NOTICE_TOO_MANY,   /* beyond the bounds of notice_rate.h */
    NOTICE_UNREADABLE, /* its envelope or its header cannot be read any more */
};
/* "the sender was not verified at reception", for logs and people; "" for NOTICE_SEND. */
const char *notice_why(enum notice_verdict verdict);

struct notice_end { /* of one recipient */
    unsigned recipient;
    enum spool_end end;
    const char *reply; /* the backend's last, or why it was not asked; for the ledger */
};

/* All of its recipients that have not ended end so, for one reason. ends: room for
 * m->recipient_count.  Returns how many; `reply` is borrowed. */
unsigned notice_open_ends(const struct spool_message *m, enum spool_end end, const char *reply,
                          struct notice_end *ends);

/* By what the envelope says, the configuration and the rate, of which one is taken with
 * NOTICE_SEND.  Ends that their recipient's NOTIFY does not want a notice of say so by
 * notice_is_wanted. */
enum notice_verdict notice_judge(const struct config *config, const struct spool_envelope *envelope,
                                 const struct notice_end *ends, unsigned end_count,
                                 struct notice_rate *rate, int64_t now_ms);
bool notice_is_wanted(const struct spool_recipient *recipient);

/* What is recorded with a recipient that ends so: the reply, and behind it the notice's reference
 * (with NOTICE_SEND), or why there is none. */
#define NOTICE_REPLY_SIZE 600
const char *notice_reply(const char *reply, enum notice_verdict verdict, struct ref notice,
                         char dst[NOTICE_REPLY_SIZE]);

/* --- The notice. */

#define NOTICE_HEADER_MAX (32 * 1024) /* of the message's header that are returned */
#define NOTICE_WHOLE_MAX (128 * 1024) /* of a larger one too, whatever RET says */

struct notice { /* to be given to spool_own_add */
    struct spool_envelope envelope;
    struct buf content;
    /* What the envelope borrows from: it goes no further than the notice itself. */
    struct spool_recipient recipient;
    struct spool_about_end *ends;
    char address[SMTP_PATH_SIZE], domain[INET_DOMAIN_SIZE];
    char reason[64];
};

/* For a message of the store and its envelope, NOTICE_SEND given.  Reads its content from the disk.
 * NOTICE_UNREADABLE: it is not made, and nothing is to be freed. */
enum notice_verdict notice_dsn_make(const struct config *config, struct spool_store *store,
                                    const struct spool_message *message,
                                    const struct spool_envelope *envelope,
                                    const struct notice_end *ends, unsigned end_count,
                                    int64_t now_ms, struct notice *notice);
/* Both in one: reads the envelope, judges, makes. With NOTICE_SEND to be ended by notice_fini. */
enum notice_verdict notice_make(const struct config *config, struct spool_store *store,
                                const struct spool_message *m, const struct notice_end *ends,
                                unsigned end_count, struct notice_rate *rate, int64_t now_ms,
                                struct notice *notice);
void notice_fini(struct notice *notice);

/* Who writes: the setting notice-from, or its default, which is in dst then. */
#define NOTICE_FROM_SIZE (INET_DOMAIN_SIZE + 20)
const char *notice_from(const struct config *config, char dst[NOTICE_FROM_SIZE]);
/* A notice to this mailbox that has no content yet, and nothing to tell the end of; its reason is
 * the caller's to write.  False: no mail could be sent there, and nothing is to be freed. */
bool notice_begin(struct notice *notice, const struct config *config, const char *address,
                  int64_t now_ms);
/* An envelope of mail of our own, with a reference and a deadline: the null reverse-path, one
 * recipient (borrowed, `domain` normalised). */
struct spool_envelope notice_envelope(const struct config *config,
                                      struct spool_recipient *recipient, int64_t now_ms);

#endif
