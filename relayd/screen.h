/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a customer thinks of one client and sender: its own lists, its filters, its policy, in this
 * order (DESIGN 4.4, section 7).  Nothing here waits or changes anything: RCPT and `simulate` ask
 * the same.
 */
#ifndef RELAYD_SCREEN_H
#define RELAYD_SCREEN_H

#include "relayd/sender_facts.h"
#include "smtp/smtp_reply.h"

struct screen_question {
    const struct registry_customer *customer;
    const struct registry_domain *domain;
    const char *sender; /* reverse-path without brackets */
    /* Of this recipient: unknown until they are asked for. */
    enum policy_fact ban, greylist;
};

enum screen_by {
    SCREEN_BY_POLICY,       /* `judgement` says all */
    SCREEN_BY_ALLOW,        /* accepted: a rule of the customer */
    SCREEN_BY_BLOCK,        /* refused: likewise */
    SCREEN_BY_FILTERS_ONLY, /* refused: the client is none of the customer's filters */
    SCREEN_BY_NO_REGISTRY,  /* put off: the replica is damaged */
};

#define SCREEN_WHY_SIZE 200
struct screen {
    enum screen_by by;
    struct policy_judgement judgement;
    policy_set policy; /* that was judged by */
    unsigned exempt;   /* bits of checks that are not made of this client, */
    unsigned allowed;  /* and those of them that a rule for the sender's name lifts */
    bool is_filter, origin_received;
    /* The rule or the filter: "block example.net (spam)", "filter acme/barracuda"; "" neither. */
    char why[SCREEN_WHY_SIZE];
};

/* Begins the look-ups that the policy needs. */
void screen_judge(struct worker *worker, const struct screen_question *question,
                  struct sender_facts *facts, struct screen *screen);
/* The client that a filter had the message from, where `origin_received` says so: SPF and the DNS
 * lists judge it, and not the filter.  POLICY_WAIT: something is being looked up. */
struct policy_judgement screen_judge_origin(const struct screen *screen,
                                            struct sender_facts *origin);
/* Greylisting, by the policy or in fallback mode, is not for this client: by a rule, as a filter,
 * or since it is on a list of good ones. */
bool screen_lifts_greylist(const struct screen *screen, const struct sender_facts *facts);
/* The domain whose senders are one for greylisting; "": the client's network is. */
const char *screen_pool(const struct screen *screen, const struct sender_facts *facts);
/* How long a first contact waits in fallback mode, while the first mail server is up; 0: not. */
int64_t screen_fallback_delay_ms(const struct worker *worker, const struct registry_domain *domain);
/* The bits of the checks that count for this client. */
unsigned screen_checks(const struct screen *screen);
bool screen_is_refused(const struct screen *screen); /* for good or for now */
/* Of what is refused.  The reply is without a reference; greylisting's is the caller's to make. */
enum smtp_verdict screen_verdict(const struct screen *screen, const struct sender_facts *facts);
struct smtp_reply screen_reply(const struct screen *screen, const struct sender_facts *facts);

#endif
