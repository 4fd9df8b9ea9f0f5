/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One conversation with a mail server, in which a script is gone through: greeting, EHLO, TLS by
 * the policy, then the steps, then QUIT.  Every answer is kept with its time.  It ends by one call,
 * whatever happens.
 */
#ifndef CONFORMANCE_TALK_H
#define CONFORMANCE_TALK_H

#include "conformance/conformance.h"
#include "net/loop.h"

struct conformance_talk_settings { /* borrowed for the talk's life */
    struct inet_endpoint endpoint;
    struct inet_endpoint source; /* without a port; family 0: as the system chooses */
    const char *tls_name;        /* "": the address */
    const char *hostname;
    int64_t connect_timeout_ms, answer_timeout_ms;
    struct tls_client *tls_client; /* NULL: STARTTLS is not tried */
};

struct conformance_talk;
struct conformance_talk_ops {
    /* Before the first step: waits for conformance_talk_go. */
    void (*on_ready)(void *ctx, struct conformance_talk *talk);
    /* The last event; the talk is freed behind it.  Never from inside a call. */
    void (*on_end)(void *ctx, struct conformance_talk *talk);
};

/* `script` is filled in; borrowed.  `tls`: NONE, MAY (goes on in the clear if it is not offered,
 * ends if it fails), ENCRYPT, VERIFY. */
struct conformance_talk *conformance_talk_start(struct loop *loop,
                                                const struct conformance_talk_settings *settings,
                                                enum tls_policy tls,
                                                struct conformance_talk_script *script,
                                                const struct conformance_talk_ops *ops, void *ctx);
void conformance_talk_go(struct conformance_talk *talk);
/* Ends it now, with that failure; on_end follows. */
void conformance_talk_stop(struct conformance_talk *talk, const char *why);

#endif
