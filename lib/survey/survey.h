/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the world sees of a domain, of an address or of ourselves, as findings: each a row of
 * survey.def with its words filled in.
 *
 * A judge is a plain function from what is known of the world to findings.  It asks as if every
 * answer were there; what is not is fetched, all at once, and the judge is run again from the
 * start, its findings thrown away, until nothing is missing.  What is not known in time is
 * "temporary", from which a judge makes the verdict unknown, never fail.
 */
#ifndef SURVEY_H
#define SURVEY_H

#include "base/buf.h"
#include "base/config.h"
#include "base/finding_row.h"
#include "dns/dns.h"
#include "net/loop.h"

#define SURVEY_ANSWER_MS 3000 /* one answer: of DNS, or a connection and its greeting */
#define SURVEY_MS 10000       /* the whole, however long the chain of names is */

/* --- Findings. */

enum survey_finding_id {
#define FINDING(id, check, word, verdict, text, remedy) SURVEY_##id,
#include "survey/survey.def"
#undef FINDING
    SURVEY_FINDING_COUNT
};

/* Text and remedy with DOMAIN, HOST, OURS, DETAIL. */
extern const struct finding_row survey_rows[SURVEY_FINDING_COUNT];

struct survey_finding {
    enum survey_finding_id id;
    char *text, *remedy; /* filled in; one line of printable characters */
};

/* --- A survey. */

struct survey;

struct survey_world { /* borrowed for the life of every survey */
    struct dns *dns;
    const struct config *config; /* mx-names, hostname, addresses, dnsbl, ... */
    const struct sender_dialin *dialin;
    struct tls_certificate *const *certificates;
    size_t certificate_count;
    const char *certificate_trouble; /* "", or why one could not be read */
    struct tls_client **tls; /* made when it is first needed, by the setting backend-ca-file; the
                                owner's to free */
};

typedef void (*survey_judge)(struct survey *survey, const void *question);

/* `subject`: what DOMAIN stands for, copied; `question` is borrowed.  on_done is called once, never
 * from inside, within SURVEY_MS; then the findings are there until survey_free. */
struct survey *survey_start(const struct survey_world *world, const char *subject,
                            survey_judge judge, const void *question, void (*on_done)(void *ctx),
                            void *ctx);
void survey_free(struct survey **survey); /* also before it is done */

unsigned survey_count(const struct survey *survey);
const struct survey_finding *survey_item(const struct survey *survey, unsigned i);
/* How many have that verdict. */
unsigned survey_count_of(const struct survey *survey, enum finding_verdict verdict);

/* --- For judges. */

const struct survey_world *survey_world(const struct survey *survey);
const char *survey_subject(const struct survey *survey);

/* `host`: what HOST stands for, "" nothing; the rest makes DETAIL. */
void survey_find(struct survey *survey, enum survey_finding_id id, const char *host,
                 const char *fmt, ...) PRINTF_LIKE(4, 5);

struct survey_answer {
    enum dns_result result;
    bool is_alias;     /* the name itself is one */
    bool is_authentic; /* validated */
    unsigned count;    /* 0 unless DNS_OK */
    const struct dns_record *items;
};
/* Never NULL; DNS_TEMPORARY for what is not known (yet).  Borrowed for the survey's life. */
const struct survey_answer *survey_ask(struct survey *survey, const char *name, enum dns_type type);

/* A and AAAA together. */
#define SURVEY_ADDRESSES_MAX 16
struct survey_addresses {
    enum dns_result result; /* DNS_OK with one of them at least */
    bool is_alias;
    unsigned count;
    struct inet_endpoint items[SURVEY_ADDRESSES_MAX];
};
void survey_ask_addresses(struct survey *survey, const char *name,
                          struct survey_addresses *addresses);
bool survey_addresses_have(const struct survey_addresses *addresses,
                           const struct inet_endpoint *address);
/* Can the world reach it at all?  Private, shared, link-local and unspecified addresses (RFC 6890),
 * 127.0.0.1 and ::1 it cannot; the rest of 127/8 is as any other (DESIGN.md section 9). */
bool survey_is_public(const struct inet_endpoint *address);
/* "192.0.2.1, 2001:db8::1" */
#define SURVEY_TEXT_SIZE 512
const char *survey_addresses_text(const struct survey_addresses *addresses,
                                  char dst[SURVEY_TEXT_SIZE]);

/* A connection, and what the server says first. */
enum survey_greeting {
    SURVEY_GREETING_UNKNOWN, /* not tried yet, or no time was left */
    SURVEY_GREETING_OK,      /* 220 */
    SURVEY_GREETING_OTHER,   /* it is there, but says something else, or nothing */
    SURVEY_GREETING_NONE,    /* no connection */
};
enum survey_greeting survey_ask_greeting(struct survey *survey,
                                         const struct inet_endpoint *endpoint);

/* A page of HTTPS. */
enum survey_page_state {
    SURVEY_PAGE_UNKNOWN, /* not fetched yet, or no connection */
    SURVEY_PAGE_OK,
    SURVEY_PAGE_REFUSED, /* the server is there, but not as it must be */
};
struct survey_page {
    enum survey_page_state state;
    struct slice content; /* OK */
    char why[160];        /* not OK: a part of a sentence */
};
void survey_ask_page(struct survey *survey, const struct inet_endpoint *address, const char *host,
                     const char *path, struct survey_page *page);

#endif
