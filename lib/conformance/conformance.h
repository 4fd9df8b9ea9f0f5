/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a relay needs of a customer's mail server, and what was found: a finding is a row of
 * conformance.def and the server's own words.  Plain values; the judgement is pure.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "base/finding_row.h"
#include "net/tls_client.h"
#include "smtp/smtp_capabilities.h"
#include "smtp/smtp_client.h"

enum conformance_id {
#define FINDING(id, check, word, verdict, text, remedy) CONFORMANCE_##id,
#include "conformance/conformance.def"
#undef FINDING
    CONFORMANCE_ID_COUNT
};

extern const struct finding_row conformance_rows[CONFORMANCE_ID_COUNT];

#define CONFORMANCE_DETAIL_SIZE 600
struct conformance_finding {
    enum conformance_id id;
    char detail[CONFORMANCE_DETAIL_SIZE]; /* the server's words, an address, a time; "" none */
};

/* --- What is asked, and what was answered. */

enum conformance_ask {
    CONFORMANCE_ASK_NONE, /* MAIL and RSET on the way to another question */
    CONFORMANCE_ASK_NULL_SENDER,
    CONFORMANCE_ASK_NULL_RCPT,
    CONFORMANCE_ASK_SENDER,
    CONFORMANCE_ASK_KNOWN,
    CONFORMANCE_ASK_POSTMASTER,
    CONFORMANCE_ASK_STRANGER,
    CONFORMANCE_ASK_SPF_SENDER,
    CONFORMANCE_ASK_SPF_RCPT,
    CONFORMANCE_ASK_RELAY,
    CONFORMANCE_ASK_RELAY_FORM, /* with the server's own domain in it */
    CONFORMANCE_ASK_RELAY_DOT,
    CONFORMANCE_ASK_MANY,
    CONFORMANCE_ASK_REUSE,
    CONFORMANCE_ASK_CONTENT,
    CONFORMANCE_ASK_PROBE,
};

struct conformance_step {
    enum conformance_ask ask;
    char *about;    /* the address or form, for people; free() */
    char *line;     /* the command; NULL: `content`, behind 354; free() */
    char *content;  /* lines with CR LF, none begins with a dot; free() */
    bool with_next; /* the next may be sent before this is answered */
    /* Afterwards: code 0: it was not asked, or not answered. */
    struct smtp_reply reply;
    int64_t ms;
};

struct conformance_certificate {
    bool is_seen;
    int64_t end_ms;    /* wall clock */
    char trouble[200]; /* why nobody should trust it, for this name; "" it is good */
};

/* One connection. */
struct conformance_talk_result {
    bool connected, ready; /* ready: EHLO or HELO is done, and TLS as far as it was tried */
    int64_t connect_ms, slowest_ms;            /* of greeting and EHLO */
    struct smtp_reply banner, ehlo, helo;      /* the first EHLO */
    struct smtp_capabilities caps_plain, caps; /* before and after TLS */
    bool tls_offered, tls_tried, tls_works;
    size_t injected_bytes;
    char tls_text[300]; /* version and cipher, or what failed */
    struct conformance_certificate certificate;
    char odd[100]; /* an answer that the standard does not permit; "" none */
    enum smtp_phase failed_phase;
    bool timed_out, is_garbage; /* with `failure` */
    char failure[300];          /* why it ended before QUIT; "" it did not */
};

struct conformance_talk_script {
    struct conformance_step *steps;
    size_t count;
    bool delivers; /* a message to a person */
    struct conformance_talk_result result;
};

#define CONFORMANCE_SESSIONS_MAX 32
struct conformance_seen {
    const char *hostname; /* ours */
    int64_t wall_ms;
    int64_t timeout_ms; /* that the greeting may take */
    enum tls_policy tls;
    uint64_t size_needed_bytes; /* the customer's limit; UINT64_MAX: none */
    bool has_sink;
    struct conformance_talk_result first; /* the one that tells of greeting and TLS */
    struct conformance_talk_script sessions[CONFORMANCE_SESSIONS_MAX];
    unsigned session_count;
    size_t domain_count, domains_left; /* left out: the last ones, when the sessions are used up */
    const char *first_left;            /* the question's */
    unsigned parallel_tried, parallel_ready; /* at one moment */
};

typedef void (*conformance_each)(void *ctx, const struct conformance_finding *finding);
/* Every finding, in the table's order of checks. */
void conformance_judge(const struct conformance_seen *seen, conformance_each each, void *ctx);

#endif
