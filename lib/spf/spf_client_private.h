/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the parts of spf_client: a check, and what the parts do for each other.  A check is looking
 * (DNS has the word: spf_client_dns.c), asked (the process has it: spf_client_process.c), or ended
 * (its result waits for the turn's end: spf_client.c).
 */
#ifndef SPF_CLIENT_PRIVATE_H
#define SPF_CLIENT_PRIVATE_H

#include "spf/spf_client.h"
#include "spf/spf_protocol.h"

enum spf_check_state { SPF_CHECK_LOOKING, SPF_CHECK_ASKED, SPF_CHECK_ENDED };

struct spf_lookup {
    struct spf_check *check;
    struct dns_lookup *dns; /* NULL: it is known */
    enum spf_type type;
    char name[INET_DOMAIN_SIZE];
};

struct spf_check {
    struct spf_check *next; /* of those that have ended */
    struct spf_client *client;
    uint32_t id;
    enum spf_check_state state;
    bool is_sent; /* the process knows it */
    int64_t end_by_ms, told_by_ms;
    struct spf_lookup *lookups; /* of this round */
    unsigned lookup_count, missing;
    struct buf question, answers; /* encoded; the answers of this round */
    unsigned answer_count;
    struct spf_result *result; /* of one that has ended */
    spf_on_result on_result;
    void *ctx;
};

struct spf_client {
    struct loop *loop;
    struct dns *dns;
    struct channel *channel; /* NULL: there is no process */
    struct spf_check *checks[SPF_CHECKS_MAX];
    uint16_t free_places[SPF_CHECKS_MAX];
    unsigned free_count;
    uint32_t generation;
    struct spf_check *ended, **ended_end;
    struct loop_timer timer;
    struct buf batch, entry;
    bool is_flush_due, is_end_due, is_closed;
    int64_t check_ms, process_ms;
    struct spf_client_counts counts;
};

/* The process has a result, or there will be none: the check leaves its place. */
void spf_client_end(struct spf_check *check, const struct spf_result *result);
void spf_client_fail(struct spf_check *check, const char *reason); /* temperror */

/* --- spf_client_dns.c */

/* So many, whose names and types the caller fills in; those of before are gone. */
void spf_client_add_lookups(struct spf_check *check, unsigned count);
void spf_client_cancel_lookups(struct spf_check *check);
/* Fetches what they ask, then spf_client_ask: at once, if all of it is known. */
void spf_client_look_up(struct spf_check *check);

/* --- spf_client_process.c */

/* Tells the process what it has to know; without one it waits for the next. */
void spf_client_ask(struct spf_check *check);
void spf_client_drop(struct spf_check *check); /* nobody waits for it any more */
void spf_client_take_channel(struct spf_client *client, int channel_fd);
/* What the process knew is lost; what only DNS has seen goes to the next. */
void spf_client_lose_process(struct spf_client *client);

#endif
