/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For lib/spf itself: one walk of a check through its tree of records, from the start until
 * something is missing, the check has failed, or libspf2 has a verdict.  A term becomes a row of
 * the walk's table and the row's number a name for the library; what the library then asks of the
 * number is looked up by the row.
 */
#ifndef SPF_WALK_H
#define SPF_WALK_H

#include "base/buf.h"
#include "spf/spf_answers.h"
#include "spf/spf_library.h"

#define SPF_WALK_MECHANISMS_MAX 10 /* RFC 7208 4.6.4 */
#define SPF_WALK_ROOT 0            /* the row of the first record */
#define SPF_WALK_ROWS_MAX 320
#define SPF_QUOTE_SIZE 80 /* of a stranger's text in a reason */

enum spf_row_kind {
    SPF_ROW_RECORD,
    SPF_ROW_MATCH, /* decided here: it matches */
    SPF_ROW_A,
    SPF_ROW_MX,
    SPF_ROW_EXISTS,
    SPF_ROW_PTR,
    SPF_ROW_HOST,
};

struct spf_row {
    enum spf_row_kind kind;
    unsigned parent;    /* the row of the record it stands in; of a host: of its mx */
    struct slice text;  /* the term */
    struct slice spec;  /* its domain-spec; n 0: the record's domain */
    const char *domain; /* of a record: its name; of a host: its name */
    char qualifier;     /* '\0': a redirect, which has none */
    uint8_t bits;       /* for the library: spf_library_put */
    bool is_broad;
    bool is_positive; /* a match here leads to a pass, by passes alone */
    bool is_any;      /* its prefix is /0: any address will do */
    bool is_written;  /* of a record: it is in spf_walk.records, at: */
    size_t written_at;
};

/* What a check is, beside its answers (spf_eval). */
struct spf_walk_subject {
    struct inet_endpoint client; /* an IPv4 address in IPv6 is an IPv4 address */
    const char *helo, *local_part, *domain;
    bool is_second; /* a walk without broad terms */
};

struct spf_walk {
    const struct spf_walk_subject *subject;
    struct spf_answers *answers;
    struct buf records; /* for the library, a NUL behind each */
    unsigned row_count;
    unsigned mechanisms, voids;
    unsigned last; /* row that was asked for its addresses: behind a match, the term that did */
    bool is_missing, is_failed;
    bool is_validated; /* %{p} has been counted */
    enum spf_verdict verdict;
    char mechanism[SPF_MECHANISM_SIZE], reason[SPF_REASON_SIZE];
    struct spf_row rows[SPF_WALK_ROWS_MAX]; /* not cleared: row_count of them are there */
};

/* Then is_missing (run it again with more answers; nothing else in it counts), or verdict,
 * mechanism, reason and last. */
void spf_walk_run(struct spf_walk *w, const struct spf_walk_subject *subject,
                  struct spf_answers *answers);
void spf_walk_fini(struct spf_walk *w);
bool spf_walk_is_owed_to_broad(const struct spf_walk *w); /* its match */

/* --- What the parts of a walk share. */

/* Ends the walk with a verdict; the first one counts. SPF_FIND_STOP. */
enum spf_find spf_walk_fail(struct spf_walk *w, enum spf_verdict verdict, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Printable, cut. Returns dst. */
const char *spf_walk_quote(struct slice text, char dst[SPF_QUOTE_SIZE]);

/* NULL: it is missing, or the walk has failed. */
const struct spf_known *spf_walk_know(struct spf_walk *w, const char *name, enum spf_type type);
/* A copy of it; 0: there is no room, and the walk has failed. */
unsigned spf_walk_add_row(struct spf_walk *w, const struct spf_row *row);
const char *spf_walk_domain(const struct spf_walk *w, const struct spf_row *row); /* it stands in */
/* SPF_FIND_OK or SPF_FIND_STOP. */
enum spf_find spf_walk_count_mechanism(struct spf_walk *w, const struct spf_row *row);
/* SPF_FIND_NOTHING or SPF_FIND_STOP. */
enum spf_find spf_walk_count_void(struct spf_walk *w, const struct spf_row *row);
enum spf_type spf_walk_address_type(const struct spf_walk *w); /* of the client's family */

/* --- Names of terms (spf_walk_name.c). */

/* SPF_FIND_NOTHING: it is no name that DNS could have. */
enum spf_find spf_walk_name(struct spf_walk *w, const struct spf_row *row,
                            char name[INET_DOMAIN_SIZE]);
/* ptr: has the client a validated name at or below `target`?  (RFC 7208 5.5) */
enum spf_find spf_walk_ptr(struct spf_walk *w, const struct spf_row *row, const char *target);

/* --- Records (spf_walk_record.c). */

/* The record of a row, for the library; borrowed until the next call. */
enum spf_find spf_walk_record(struct spf_walk *w, unsigned number, const char **text);

#endif
