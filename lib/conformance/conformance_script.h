/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is asked of a server, as scripts of conversations: one of questions that every mail server
 * answers, some for open relays and SPF that may go on at once, and those that deliver a message,
 * only where the question says so.
 */
#ifndef CONFORMANCE_SCRIPT_H
#define CONFORMANCE_SCRIPT_H

#include "conformance/conformance.h"

struct conformance_question {
    struct inet_endpoint endpoint, source; /* source: family 0: as the system chooses */
    enum tls_policy tls;
    const char *tls_name; /* "": the address */
    const char *hostname, *sender;
    const char *const *domains; /* of the customer, that it serves; ".acme.example": those below */
    size_t domain_count;
    const char *const *rcpts; /* that are valid */
    size_t rcpt_count;
    const char *sink;       /* an address of ours elsewhere; NULL: none */
    const char *spf_probe;  /* a sender whose record lets nobody send; NULL: the domain's own */
    bool only_relay;        /* of a stranger's server: nothing but whether it is an open relay */
    const char *deliver_to; /* for content and probe */
    bool content;
    const char *probe_from; /* the unique return path of the probe; NULL: none is sent */
    const char *token;      /* of this test: lower-case letters */
    unsigned connections;   /* that it may be given at once; 0: any number */
    int64_t connect_timeout_ms, answer_timeout_ms, total_ms;
    uint64_t size_needed_bytes;    /* UINT64_MAX: none */
    struct tls_client *tls_client; /* NULL: STARTTLS is not tried */
};

/* An ordinary sender of ours, that exists: `postmaster` (may be NULL) if it is an address. */
void conformance_sender(const char *postmaster, const char *hostname, char dst[SMTP_PATH_SIZE]);

#define CONFORMANCE_DOMAINS_A_SESSION 6 /* servers count what they refuse */
#define CONFORMANCE_RCPTS_MAX 6

/* The first session is for what the others depend on; those up to *parallel behind it can go on
 * together; the rest follow one by one. */
void conformance_script_make(const struct conformance_question *question,
                             struct conformance_seen *seen, unsigned *parallel);
void conformance_script_fini(struct conformance_seen *seen);

#endif
