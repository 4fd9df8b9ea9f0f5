/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is made of a filter's last word: its outcome, and what the customer wishes.  A filter that
 * has failed, or was not asked since it is away, is never a refusal for good (P5).
 */
#ifndef MILTER_VERDICT_H
#define MILTER_VERDICT_H

#include "base/milter_entry.h"
#include "milter/milter_talk.h"

enum milter_wish {
    MILTER_AS_IT_SAYS,
    MILTER_FOR_NOW,   /* refusals for good are for now */
    MILTER_MARK_ONLY, /* nothing is refused, and nothing held */
};

enum milter_effect {
    MILTER_PASSES,
    MILTER_MARKED,
    MILTER_UNSURE, /* it goes on unscanned */
    MILTER_HELD,   /* accepted, and kept until an operator lets it go */
    MILTER_REFUSED,
};

struct milter_verdict {
    enum milter_effect effect;
    enum smtp_verdict verdict; /* of what is refused; */
    struct smtp_reply reply;   /* without our reference */
};

/* `talk` NULL: it was not asked. */
struct milter_verdict milter_verdict_of(const struct milter_entry *entry,
                                        const struct milter_talk *talk, enum milter_wish wish);

#endif
