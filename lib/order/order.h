/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An operator's order to the spool: hold these messages, release those.  What an order means for a
 * message is said here once; the keeper carries it out, or relayctl where no keeper runs.
 */
#ifndef ORDER_H
#define ORDER_H

#include <sys/types.h>

#include "spool/spool_store.h"

struct order {
    enum spool_act act;
    const char *reason;   /* "" none */
    int64_t until_ms;     /* of EXTEND */
    uint32_t customer_id; /* of REDIRECT: whose backend it is; 0 with backend 0 */
    uint32_t backend;     /* of REDIRECT: its number; 0: as the registry says, again */
    const char *detail;   /* for people: until when, to which backend; "" none */
};

struct order_kind {
    enum spool_act act;
    const char *word;    /* "hold" */
    const char *done;    /* "held" */
    bool needs_reason;   /* without one it is refused */
    bool changes;        /* content, route or state; else only a note is made */
    bool is_undisturbed; /* not while an attempt is made: whoever asks waits for its end */
};
/* NULL: there is no such act, or it is not an order. */
const struct order_kind *order_kind(enum spool_act act);
const struct order_kind *order_kind_of_word(const char *word);

#define ORDER_REASON_MAX 500 /* octets; also of a detail */

enum order_result {
    ORDER_DONE,
    ORDER_ALREADY, /* it is so already: nothing is written */
    ORDER_ENDED,   /* it has no open recipient */
    ORDER_UNFIT,   /* as it is now, this can not be done with it */
    ORDER_BUSY,    /* an attempt is being made; said by the keeper */
    ORDER_MISSING, /* it is not in the spool; said by who looks it up */
};
const char *order_result_word(enum order_result result);

/* What the order would do: DONE, ALREADY, ENDED or UNFIT.  *why is a phrase for people, "" with
 * DONE. */
enum order_result order_judge(const struct spool_message *message, const struct order *order,
                              const char **why);
/* Judges, and does it (owner): the note, and the outcome.  A RETURN has a notice first
 * (lib/notice): whoever carries it out writes that, or knows that there is none to write. */
enum order_result order_carry_out(struct spool_store *store, struct spool_message *message,
                                  const struct order *order, const char *who, int64_t now_ms,
                                  const char **why);

/* The name of a user of this machine, "uid 1234" if the machine itself does not know it.  Asks
 * nobody else, so it does not block. */
#define ORDER_WHO_SIZE 64
const char *order_who(uid_t uid, char dst[ORDER_WHO_SIZE]);

/* What is recorded with a recipient that the order ends. */
#define ORDER_END_SIZE (ORDER_WHO_SIZE + ORDER_REASON_MAX + 32)
const char *order_end_text(const struct order *order, const char *who, char dst[ORDER_END_SIZE]);
/* Of an order that whoever was owner before us may have carried out: is the message as if it had
 * been?  (RETRY leaves nothing that could be seen, and can be repeated.) */
bool order_is_so(const struct spool_message *message, const struct order *order, const char *who);
/* The note alone (owner). */
void order_note(struct spool_store *store, struct spool_message *message, const struct order *order,
                const char *who, int64_t now_ms);

#endif
