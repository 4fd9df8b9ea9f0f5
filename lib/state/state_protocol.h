/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a worker and the state process say to each other: each message is a run of entries of its
 * kind.  An endpoint is STATE_ENDPOINT_SIZE octets, or none.
 */
#ifndef STATE_PROTOCOL_H
#define STATE_PROTOCOL_H

#include "base/codec.h"
#include "net/channel.h"
#include "state/state.h"

enum state_message {
    STATE_MESSAGE_ASK = 1, /* worker: u32 id, u8 enum state_question, u32 customer, u64 number,
                              endpoint as bytes, key as bytes */
    STATE_MESSAGE_LEARN,   /* worker: u8 enum state_news, u32 customer, u64 number, endpoint as
                              bytes, key as bytes */
    STATE_MESSAGE_ANSWER,  /* state: u32 id, u8 word, u64 number; in the order of the questions */
    STATE_MESSAGE_PAGE,    /* state: u32 id, state_page_encode */
    STATE_MESSAGE_PROBE,   /* state: u32 customer, endpoint as bytes, domain as bytes */
};

enum state_question {
    STATE_ASK_RECIPIENT,    /* number: ages stand still from then; word: enum state_recipient */
    STATE_ASK_CAPABILITIES, /* the same; word: flags, number: size */
    STATE_ASK_GREYLIST,     /* number: the delay; endpoint: the client; key: sender, NUL, recipient,
                               NUL, domain; word: is it known, number: what is left to wait */
    STATE_ASK_LIST, /* number: enum state_listing; key: state_list_encode; answered by a page */
    STATE_ASK_BAN,  /* endpoint: the client; number: the end of its ban */
    STATE_ASK_GREYLIST_LOOK, /* as GREYLIST, and nothing is written */
};

enum state_news {
    STATE_NEWS_INVALID, /* the recipient `key`, said by the endpoint */
    STATE_NEWS_VALID,
    STATE_NEWS_PICKY, /* the domain `key` */
    STATE_NEWS_ACCEPT_ALL,
    STATE_NEWS_FORGET,        /* the recipient `key` */
    STATE_NEWS_FORGET_DOMAIN, /* the domain `key` */
    STATE_NEWS_CAPABILITIES,  /* of the endpoint; number: size, key: one octet of flags */
    STATE_NEWS_BOUNCE,        /* of the endpoint: a client; no key */
    STATE_NEWS_GOOD,          /* the same */
    STATE_NEWS_FORGET_ORIGIN, /* key: state_list_encode */
    STATE_NEWS_FORGET_BAN,    /* the same */
};

#define STATE_MESSAGE_ROOM                                                 \
    (CHANNEL_MAX_BYTES - 1024) /* another entry always fits behind so much \
                                */

#define STATE_ENDPOINT_SIZE 19
#define STATE_NETWORK_SIZE 9
#define STATE_SOURCE_SIZE 9
#define STATE_CONTACT_MAX 960

void state_endpoint_encode(const struct inet_endpoint *endpoint, char dst[STATE_ENDPOINT_SIZE]);
/* Family 0 for none, and for what is none. */
struct inet_endpoint state_endpoint_decode(struct slice bytes);

/* The client's /24 or /64. */
void state_network_encode(const struct inet_endpoint *client, char dst[STATE_NETWORK_SIZE]);
/* Its address, or its /64. */
void state_source_encode(const struct inet_endpoint *client, char dst[STATE_SOURCE_SIZE]);
/* Sender, NUL, recipient, NUL, domain, in lower case; false if they are longer than addresses and
 * domains can be. */
bool state_contact_encode(const struct state_greylist_key *key, char dst[STATE_CONTACT_MAX],
                          struct slice *contact);
/* Cuts *contact in three, in place; its texts are borrowed.  false: it is none. */
bool state_contact_decode(struct slice contact, char dst[STATE_CONTACT_MAX],
                          struct state_greylist_key *key);

/* Filter and place. */
#define STATE_LIST_MAX 400
struct slice state_list_encode(const struct state_filter *filter, const struct state_place *place,
                               char dst[STATE_LIST_MAX]);
bool state_list_decode(struct slice bytes, struct state_filter *filter, struct state_place *place);
void state_page_encode(struct buf *b, const struct state_page *page);
bool state_page_decode(struct decoder *d, struct state_page *page);

uint8_t state_capabilities_flags(const struct state_capabilities *capabilities);
struct state_capabilities state_capabilities_of(uint8_t flags, uint64_t size_max_bytes);

#endif
