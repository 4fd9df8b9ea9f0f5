/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's side: checks whose verdict the spf process finds and whose names lib/dns looks up
 * here.  P8: a check ends within SPF_CHECK_MS whatever DNS does, and within SPF_PROCESS_MS of the
 * spf process's silence; so does one whose process has died: temperror for it, and for no other.
 */
#ifndef SPF_CLIENT_H
#define SPF_CLIENT_H

#include "dns/dns.h"
#include "net/loop.h"
#include "spf/spf.h"

#define SPF_CHECK_MS 20000 /* RFC 7208 4.6.4: at least 20 s */
#define SPF_PROCESS_MS 1000

struct spf_client;
struct spf_check;

/* `dns` is borrowed. channel_fd -1: there is no process yet; what is asked waits for one, not
 * longer than SPF_PROCESS_MS. */
struct spf_client *spf_client_open(struct loop *loop, struct dns *dns, int channel_fd);
/* Owns the descriptor of a channel to another spf process. */
void spf_client_attach(struct spf_client *client, int channel_fd);
/* Checks have been cancelled, or end without a word. */
void spf_client_close(struct spf_client **client);
/* For tests: other limits. */
void spf_client_hurry(struct spf_client *client, int64_t check_ms, int64_t process_ms);

typedef void (*spf_on_result)(void *ctx, const struct spf_result *result);

/* The callback runs once, never from inside; the result is borrowed.  The question is copied. */
struct spf_check *spf_check_start(struct spf_client *client, const struct spf_question *question,
                                  spf_on_result on_result, void *ctx);
void spf_check_cancel(struct spf_check **check);

struct spf_client_counts {
    uint64_t checks;
    uint64_t refused; /* more than SPF_CHECKS_MAX at once: temperror */
    uint64_t late;    /* DNS took longer than SPF_CHECK_MS */
    uint64_t lost;    /* the spf process died or was silent */
};
struct spf_client_counts spf_client_counts(const struct spf_client *client);

#endif
