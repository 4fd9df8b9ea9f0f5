/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which events are meant: the selectors of `trace`, as a question to PostgreSQL and as a test of a
 * line of the log, and of the same meaning in both.  Selectors are joined by "and".
 */
#ifndef ADMIN_EVENT_SEARCH_H
#define ADMIN_EVENT_SEARCH_H

#include <jansson.h>

#include "admin/field.h"
#include "admin/where.h"
#include "base/clock.h"
#include "base/inet.h"
#include "base/ref.h"

#define EVENT_SEARCH_REFS_MAX 1000

struct event_search {
    const char *kind;    /* of event; NULL, as everywhere here: any */
    bool no_connections; /* not those events */
    /* In lower case, octets beyond ASCII as the log writes them; "@example.net": the whole domain.
     * The sender "" is the null reverse-path. */
    char *sender, *recipient;
    char *sender_ascii, *recipient_ascii; /* the same with A-labels; NULL: it has no others */
    char *message_id;                     /* with its angle brackets */
    const char *verdict, *customer;
    char domain[FIELD_DOMAIN_SIZE]; /* of a recipient; ".x": subdomains */
    struct inet_network client;     /* family 0: any */
    char since[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE]; /* "": any; until is not in it */
    int64_t since_ms, until_ms;                                /* the same; 0 */
    struct ref *refs;                                          /* any of them, if there is one */
    size_t ref_count;
    size_t limit; /* the newest so many */
};

/* Reads the options of `trace`; wrong ones are explained.  event_search_fini in any case. */
enum command_status event_search_read(const struct call *call, struct event_search *search);
void event_search_fini(struct event_search *search);
/* The time that --`option` gives, untouched without it; "2h" is so long ago. */
enum command_status event_search_moment(const struct call *call, const char *option,
                                        int64_t *at_ms);
/* Sender and recipient as an event has them. */
void event_search_names(struct event_search *search, const char *sender, const char *recipient);
void event_search_between(struct event_search *search, int64_t since_ms, int64_t until_ms);

/* Adds every reference in `text` that is not there yet; returns how many `text` has. */
size_t event_search_add_refs(struct event_search *search, const char *text);

bool event_search_matches(const struct event_search *search, const json_t *event);
/* False: the line cannot match; cheap. */
bool event_search_may_match(const struct event_search *search, const char *line);

/* " WHERE ..." and its parameters; event_where_fini.  `is_ordered`: an index gives it in the order
 * of time. */
struct event_where {
    bool is_ordered;
    struct where where;
    struct buf clients, senders, recipients;
    char client[INET_ENDPOINT_SIZE], suffix[INET_DOMAIN_SIZE + 2];
};
void event_where_init(struct event_where *where, const struct event_search *search);
void event_where_fini(struct event_where *where);

#endif
