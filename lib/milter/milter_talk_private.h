/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a talk, shared by its two files: milter_talk_steps.c says, milter_talk.c hears.
 */
#ifndef MILTER_TALK_PRIVATE_H
#define MILTER_TALK_PRIVATE_H

#include "milter/milter_talk.h"

/* In their order; `step` and `asked` of the talk. */
enum milter_step {
    MILTER_STEP_NEGOTIATE,
    MILTER_STEP_CONNECT,
    MILTER_STEP_HELO,
    MILTER_STEP_MAIL,
    MILTER_STEP_RCPT,
    MILTER_STEP_DATA,
    MILTER_STEP_HEADER,
    MILTER_STEP_END_OF_HEADER,
    MILTER_STEP_BODY,
    MILTER_STEP_END_OF_BODY,
    MILTER_STEP_COUNT
};

/* Says all that can be said now: as far as the next answer that must come, a piece of the body that
 * is not there yet, or MILTER_TALK_OUT_MAX.  Not before the negotiation is over. */
void milter_talk_go_on(struct milter_talk *talk);
void milter_talk_next_step(struct milter_talk *talk);

#endif
