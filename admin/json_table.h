/* SPDX-License-Identifier: BSD-2-Clause
 *
 * json.def as a table: what relayctl prints with --json, and what stands in the event log.  It is
 * documentation that tests read: postern-json(7), postern-events(7) and a JSON Schema are made of
 * it, and no program reads it.
 */
#ifndef ADMIN_JSON_TABLE_H
#define ADMIN_JSON_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum json_row_is {
    JSON_ROW_END,
    JSON_ROW_OBJECT,  /* its FIELD and WITH rows stand behind it */
    JSON_ROW_ONE_OF,  /* its variants stand behind it; detail: the field that tells them apart */
    JSON_ROW_VARIANT, /* an object; name: of which ONE_OF, detail: what that field says */
    JSON_ROW_FIELD,
    JSON_ROW_WITH, /* the fields of the object `name` as well */
    JSON_ROW_PRINTS,
};

enum json_kind {
    JSON_KIND_TEXT,
    JSON_KIND_NUMBER, /* whole */
    JSON_KIND_REAL,
    JSON_KIND_BOOLEAN,
    JSON_KIND_TIME,    /* RFC 3339, UTC, milliseconds */
    JSON_KIND_ADDRESS, /* of IP */
    JSON_KIND_ID,      /* a reference */
    JSON_KIND_WORD,    /* detail: which there are, with | between them */
    JSON_KIND_OBJECT,  /* detail: which */
    JSON_KIND_ANY,
    JSON_KIND_COUNT
};

enum json_flag {
    JSON_LIST = 1,
    JSON_BY_NAME = 2, /* an object whose members are of the kind, under names that are data */
    JSON_OR_NULL = 4,
    JSON_OPTIONAL = 8, /* may be missing */
};

enum json_shape { JSON_ONE, JSON_LINES };

struct json_row {
    enum json_row_is is;
    const char *name; /* of PRINTS: the commands, with ", " between them */
    const char *detail;
    enum json_kind kind;
    unsigned flags; /* enum json_flag */
    enum json_shape shape;
    const char *when; /* of PRINTS: an option with which it does; "" otherwise */
    const char *text;
};

extern const struct json_row json_table[];

/* NULL: there is none. */
const struct json_row *json_table_find(const char *object);
/* How many rows name it. */
unsigned json_table_count_uses(const char *object);
/* False: it is only a part of others. */
bool json_table_stands_alone(const struct json_row *object);
static inline bool
json_row_is_member(const struct json_row *row)
{
    return row->is == JSON_ROW_FIELD || row->is == JSON_ROW_WITH;
}

/* Exits with a sentence if the table does not hold together. */
void json_table_check(void);

/* Prints the schema; false: standard output is broken. */
bool json_schema_print(void);

#endif
