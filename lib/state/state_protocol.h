/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a worker and the state process say to each other: each message is a run of entries of its
 * kind.
 */
#ifndef STATE_PROTOCOL_H
#define STATE_PROTOCOL_H

#include "net/channel.h"

enum state_message {
    STATE_MESSAGE_ASK = 1, /* worker: u32 id, u32 customer, key as bytes */
    STATE_MESSAGE_LEARN,   /* worker: u8 valid, u32 customer, key as bytes */
    STATE_MESSAGE_ANSWER,  /* state: u32 id, u8 enum state_recipient; in the order of the questions
                            */
};

#define STATE_MESSAGE_ROOM                                                 \
    (CHANNEL_MAX_BYTES - 1024) /* another entry always fits behind so much \
                                */

#endif
