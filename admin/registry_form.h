/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The registry as it is written into a file and read from one: JSON Lines, an object a row, with a
 * kind, what names it, and its fields under the names of their columns.  What an option sets is in
 * the table of that noun's options, so a new option is in the file by itself.
 */
#ifndef ADMIN_REGISTRY_FORM_H
#define ADMIN_REGISTRY_FORM_H

#include "admin/field.h"

/* What customer, domain, backend and filter set by options; each ends with option NULL. */
extern const struct field customer_fields[];
extern const struct field domain_fields[];
extern const struct field backend_fields[];
extern const struct field filter_fields[];

#define REGISTRY_FORM_VERSION 1
#define REGISTRY_FORM_HEADER "registry" /* the kind of the first line */
#define REGISTRY_FORM_END "end"         /* and of the last one: a file without it may be cut */

/* In the order in which they are written, and can be made. */
enum registry_kind {
    REGISTRY_CUSTOMER,
    REGISTRY_CHANGE, /* a temporary one of a customer */
    REGISTRY_DOMAIN,
    REGISTRY_BACKEND,
    REGISTRY_FILTER,
    REGISTRY_RULE,
    REGISTRY_RECIPIENT,
    REGISTRY_KIND_COUNT,
};

/* SQL is over t, the row, and c, its customer; in `match` and `needs` over i, the line of the file.
 */
struct registry_form {
    const char *kind;
    const char *table;         /* of schema postern */
    const char *from;          /* the rows */
    const char *ends;          /* the column of the moment at which a row ends; NULL: none does */
    const char *owner;         /* its customer's id */
    const char *key;           /* its name among its kind, as people know it */
    const char *parts;         /* what the name is made of: arguments of json_build_object */
    const char *part_columns;  /* where they are stored */
    const struct field *set;   /* fields that options set; ends with option NULL */
    const struct field *extra; /* that none does */
    const char *match;         /* is t the row of i? */
    const char *needs;         /* must be true of a new one; NULL: nothing */
    const char *needs_text;
};
extern const struct registry_form registry_forms[REGISTRY_KIND_COUNT];

/* All fields of a form, one by one, `index` from 0 on; NULL behind the last. */
const struct field *registry_form_field(const struct registry_form *form, unsigned index);
/* Types of fields that are no column's own. */
#define REGISTRY_FORM_CUSTOMER "customer" /* a name in the file, customer_id in the table */
#define REGISTRY_FORM_VALUE "value"       /* a number or a word */

/* Adds `SELECT` of the rows that have not ended at `now_ms`; what is selected is `columns`, in
 * which registry_form_fields_sql may have a part. */
void registry_form_rows_sql(const struct registry_form *form, int64_t now_ms, const char *columns,
                            struct buf *sql);
/* Adds the fields as arguments of json_build_object, each behind a comma. */
void registry_form_fields_sql(const struct registry_form *form, struct buf *sql);
/* Adds the columns, each behind a comma and with `prefix` ("r."). */
void registry_form_columns_sql(const struct registry_form *form, const char *prefix,
                               struct buf *sql);

#endif
