/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One load of the registry: rows of the database's views in, a judged and written replica out.  The
 * rows are texts; each is checked before it may reach a worker.  A bad value skips its row, never
 * the load, and is told by control_load_skipped.
 */
#ifndef RELAYD_CONTROL_LOAD_H
#define RELAYD_CONTROL_LOAD_H

#include <libpq-fe.h>

#include "registry/registry_guard.h"

struct control_change {
    uint32_t customer_id;
    struct registry_temporary temporary;
};

struct control_recipient {
    uint32_t domain_id;
    char local_part[65];
};

struct control_load {
    struct registry_set domains;         /* with the database's id and version */
    struct registry_customer *customers; /* by id */
    struct registry_contact *contacts;   /* of each of them; an empty address: none */
    struct control_change *changes;      /* by customer's id */
    struct registry_backend *backends;
    struct control_recipient *recipients;
    struct registry_filter_entry *filters; /* by customer's id, then number */
    struct registry_include *includes;     /* whose networks are known */
    struct registry_rule *rules;           /* by customer's id */
    size_t customer_count, change_count, backend_count, recipient_count, filter_count,
        include_count, rule_count;
    struct buf skipped; /* a line for each row that was skipped: key=value text */
    unsigned skipped_count;
};

void control_load_init(struct control_load *load);
void control_load_fini(struct control_load *load);

/* The queries of a load, in order, and what each result does to the load.  ERR_SYNTAX: the result
 * is not what this program was written for (columns). */
struct control_query {
    const char *sql;
    int (*take)(struct control_load *load, const PGresult *rows); /* NULL: its success is enough */
};
extern const struct control_query control_queries[];
extern const size_t control_query_count;

/* From the result of DB_SCHEMA_QUERY. */
MUST_USE int control_load_take_version(struct control_load *load, const PGresult *rows);

/* Who sends: control_load_sender.c. */
MUST_USE int control_load_take_filters(struct control_load *load, const PGresult *rows);
MUST_USE int control_load_take_includes(struct control_load *load, const PGresult *rows);
MUST_USE int control_load_take_rules(struct control_load *load, const PGresult *rows);
MUST_USE int control_load_add_senders(const struct control_load *load,
                                      struct registry_maker *maker);

struct control_includes;
/* The networks of the load's includes become the newest that are known, here or in the database. */
void control_load_use_includes(struct control_load *load, struct control_includes *includes);
/* The includes of its filters are wanted, and no others. */
void control_load_want_includes(const struct control_load *load, struct control_includes *includes);
/* The same of a replica: what it knows, and what is wanted. */
void control_load_remember_includes(const struct registry *registry,
                                    struct control_includes *includes);
/* Writes the replica anew with the networks that are known now, and all else as it is in it. */
MUST_USE int control_load_rewrite(const char *path, const char *path_tmp,
                                  const struct control_includes *includes, int64_t wall_ms);

/* Writes the replica with the domains as the guard has left them. */
MUST_USE int control_load_write(const struct control_load *load, const char *path,
                                const char *path_tmp, int64_t wall_ms);

#endif
