/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The lines of a file against the registry, inside one registry change: what would be added,
 * changed and removed, what stands against it, and the making of it.  Everything is done for all
 * rows of a kind by one statement.
 */
#ifndef ADMIN_REGISTRY_DIFF_H
#define ADMIN_REGISTRY_DIFF_H

#include "admin/database.h"
#include "admin/registry_line.h"

/* What a removal of things that are not in the file may reach. */
struct registry_scope {
    bool prunes;
    bool recipients;                /* them as well */
    char customer[FIELD_NAME_SIZE]; /* of one customer; "": of all */
};

struct registry_counts {
    long long added, changed, removed, same;
};

struct registry_removed {
    char counted[256]; /* "2 domains, 1 backend"; "": nothing */
    char digest[65];   /* of their kinds and keys */
};

/* The lines, as a table of the transaction: line, rank, kind, key, parts, doc, action. */
#define REGISTRY_DIFF_LINES "pg_temp.import_lines"
/* Of a line i: its customer's name. */
#define REGISTRY_DIFF_OWNER "coalesce(i.parts ->> 'customer', i.doc ->> 'customer')"
/* What is complained of next is of this line (NULL: of none). */
void registry_diff_set_place(const char *line, const char *kind, const char *key);

/* A line as registry_diff_load takes it. */
void registry_diff_stage(const struct registry_line *line, unsigned long number,
                         struct buf *staged);
enum command_status registry_diff_load(struct call *call, struct buf *staged);
/* Compares; `counts` is what is to be done. */
enum command_status registry_diff_find(struct call *call, const struct registry_scope *scope,
                                       struct registry_counts *counts);
/* What is to be removed. */
enum command_status registry_diff_removed(struct call *call, struct registry_removed *removed);
/* What cannot be, line by line: COMMAND_USAGE. */
enum command_status registry_diff_check(struct call *call);
/* A table, or a line of JSON for each. */
enum command_status registry_diff_print(struct call *call);
enum command_status registry_diff_apply(struct call *call);
/* What must not have come about: COMMAND_USAGE. */
enum command_status registry_diff_check_result(struct call *call);

/* For removal_check: the mail that waits for what is removed, and what of it may be returned. */
extern const char registry_diff_waiting[];
extern const char registry_diff_waiting_alone[];

#endif
