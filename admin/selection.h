/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which messages of the spool are meant: the selectors that all spool verbs share, and ids from
 * operands or standard input.
 */
#ifndef ADMIN_SELECTION_H
#define ADMIN_SELECTION_H

#include "admin/field.h"
#include "admin/routing.h"
#include "spool/spool_store.h"

struct selection {
    const char *customer, *state;  /* NULL: any */
    char *rcpt, *from;             /* NULL: any; "" is the null sender, "@x" a whole domain */
    char *rcpt_ascii, *from_ascii; /* with A-labels; NULL: it has no others */
    const char *backend;           /* NULL: any; CUSTOMER/N */
    uint32_t backend_customer_id, backend_number;
    char domain[FIELD_DOMAIN_SIZE];                /* "": any; ".x" takes its subdomains */
    int64_t received_before_ms, received_after_ms; /* 0: any */
    struct ref *refs;                              /* NULL: any; as they were given */
    struct ref *sorted;                            /* the same, for look-ups */
    size_t ref_count;
    unsigned node;             /* whose spool; 0: it was not said */
    struct registry *registry; /* for states; NULL: cannot be read */
    bool is_empty;             /* nothing was selected: all are meant */
};

/* Reads options and operands; wrong ones are explained. COMMAND_DONE or COMMAND_USAGE. */
enum command_status selection_read(const struct call *call, struct selection *selection);
void selection_fini(struct selection *selection);

/* For verbs that change something: COMMAND_USAGE if nothing was selected and --all is not there, or
 * both are. */
enum command_status selection_need(const struct call *call, const struct selection *selection);
/* The store is asked for an envelope only by those that look at addresses. */
bool selection_matches(const struct selection *selection, struct spool_store *store,
                       const struct spool_message *message);
/* The next that matches, in order of arrival; cursor starts NULL. */
struct spool_message *selection_next(const struct selection *selection, struct spool_store *store,
                                     struct spool_message *cursor);

/* That nothing of it was found. */
void selection_complain(const struct call *call, const struct selection *selection);

/* waiting, no-route, held, offered, prepared, listening, damaged or ended. */
const char *selection_state_word(const struct spool_message *message,
                                 const struct registry *registry);

#endif
