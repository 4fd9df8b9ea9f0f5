/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SPF (RFC 7208) as values: what is asked, and what came out.
 */
#ifndef SPF_H
#define SPF_H

#include "base/inet.h"

enum spf_verdict {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR,
};

enum spf_identity { SPF_HELO, SPF_MAIL_FROM };

/* "none", "pass", ...: the words of RFC 7208 2.6. */
const char *spf_verdict_text(enum spf_verdict verdict);

struct spf_question {
    struct inet_endpoint client; /* the port does not matter */
    enum spf_identity identity;
    const char *helo;
    const char *mail_from; /* "" (null sender): the HELO identity is judged (RFC 7208 2.4) */
};

#define SPF_HELO_SIZE 256
#define SPF_SENDER_SIZE 600 /* an address of RFC 5321, with room for UTF-8 */
#define SPF_MECHANISM_SIZE 128
#define SPF_REASON_SIZE 256

struct spf_result {
    enum spf_verdict verdict;
    /* A pass that is not owed to `+all`, `ptr`, `exists`, a prefix shorter than /16 (IPv6: /32), or
     * a name made from what the client is or says (%{i}, %{p}, %{h}): DESIGN.md P4. */
    bool is_sound;
    enum spf_identity identity;         /* that was judged */
    unsigned lookups;                   /* names that were asked for, or given beforehand */
    unsigned mechanisms;                /* that ask DNS (at most 10); of spf_eval_result alone */
    char domain[INET_DOMAIN_SIZE];      /* that was judged; "": there was none */
    char mechanism[SPF_MECHANISM_SIZE]; /* that decided, printable; "" or "default": none did */
    char reason[SPF_REASON_SIZE];       /* one printable line, of our making */
};

/* --- Answers of DNS, as octets. */

enum spf_type { SPF_TYPE_A, SPF_TYPE_AAAA, SPF_TYPE_MX, SPF_TYPE_TXT, SPF_TYPE_PTR };
#define SPF_TYPE_COUNT 5

enum spf_answer_result {
    SPF_ANSWER_OK,
    SPF_ANSWER_NO_NAME,   /* NXDOMAIN */
    SPF_ANSWER_NO_DATA,   /* the name has no such record */
    SPF_ANSWER_TEMPORARY, /* nothing can be said now */
};

/* An item is an address (4 or 16 octets), a host's name, or a TXT record's joined strings. */
struct spf_answer {
    enum spf_answer_result result;
    unsigned count; /* 0 unless OK */
    const struct slice *items;
};

#endif
