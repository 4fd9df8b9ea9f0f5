/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One conversation with a backend, told step by step.  It ends by one report, whatever happens; it
 * delivers nothing.
 */
#ifndef PROBE_TALK_H
#define PROBE_TALK_H

#include "net/loop.h"
#include "net/tls_client.h"
#include "smtp/smtp_client.h"

struct probe_question {
    struct inet_endpoint endpoint;
    enum tls_policy tls;
    char tls_name[INET_DOMAIN_SIZE]; /* "": the address */
    char rcpt[SMTP_PATH_SIZE];       /* "": none; RCPT is left out */
    uint32_t limit;                  /* of its connections; 0: the node's */
};

struct probe_settings { /* borrowed for the talk's life */
    const char *hostname;
    int64_t connect_timeout_ms, command_timeout_ms;
    struct tls_client *tls; /* NULL: STARTTLS is not tried */
};

#define PROBE_STEPS_MAX 12
struct probe_step {
    const char *name; /* "connect", "greeting", "EHLO", ... */
    int64_t ms;       /* from the step's begin to its answer */
    bool ok;
    char text[SMTP_REPLY_LINE_SIZE]; /* the reply, or what went wrong */
};

struct probe_report {
    struct probe_step steps[PROBE_STEPS_MAX];
    unsigned count;
    bool is_up; /* connection, greeting, TLS where it must be, and EHLO are fine */
    enum smtp_phase failed_phase; /* if it is not */
    bool timed_out;
    bool took_rcpt, refused_rcpt; /* or the sender */
};

struct probe_talk;
typedef void (*probe_on_report)(void *ctx, const struct probe_report *report);
/* Calls back once, never from inside. */
struct probe_talk *probe_talk_start(struct loop *loop, const struct probe_settings *settings,
                                    const struct probe_question *question,
                                    probe_on_report on_report, void *ctx);
void probe_talk_cancel(struct probe_talk **talk); /* no callback follows */

#endif
