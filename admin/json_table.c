/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The rows, and whether they hold together: each object that is named is there, each that is there
 * is named, and no field stands twice.
 */
#include "admin/json_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT(object, sentence) {.is = JSON_ROW_OBJECT, .name = object, .text = sentence},
#define ONE_OF(object, key, sentence) \
    {.is = JSON_ROW_ONE_OF, .name = object, .detail = key, .text = sentence},
#define VARIANT(object, word, sentence) \
    {.is = JSON_ROW_VARIANT, .name = object, .detail = word, .text = sentence},
#define FIELD(field, which, of, bits, sentence) \
    {                                           \
        .is = JSON_ROW_FIELD,                   \
        .name = field,                          \
        .kind = JSON_KIND_##which,              \
        .detail = of,                           \
        .flags = bits,                          \
        .text = sentence,                       \
    },
#define WITH(object) {.is = JSON_ROW_WITH, .name = object},
#define PRINTS(commands, option, what, object, sentence) \
    {                                                    \
        .is = JSON_ROW_PRINTS,                           \
        .name = commands,                                \
        .when = option,                                  \
        .shape = JSON_##what,                            \
        .detail = object,                                \
        .text = sentence,                                \
    },
#define LIST JSON_LIST
#define BY_NAME JSON_BY_NAME
#define OR_NULL JSON_OR_NULL
#define OPTIONAL JSON_OPTIONAL

const struct json_row json_table[] = {
#include "admin/json.def"
    {.is = JSON_ROW_END}};

const struct json_row *
json_table_find(const char *object)
{
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        if ((row->is == JSON_ROW_OBJECT || row->is == JSON_ROW_ONE_OF) &&
            strcmp(row->name, object) == 0)
            return row;
    return NULL;
}

/* The object that a row names; NULL: none. */
static const char *
named_by(const struct json_row *row)
{
    if (row->is == JSON_ROW_WITH)
        return row->name;
    return row->is == JSON_ROW_PRINTS || row->kind == JSON_KIND_OBJECT ? row->detail : NULL;
}

unsigned
json_table_count_uses(const char *object)
{
    unsigned count = 0;

    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++) {
        const char *named = named_by(row);

        count += named && strcmp(named, object) == 0;
    }
    return count;
}

bool
json_table_stands_alone(const struct json_row *object)
{
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        if (row->is != JSON_ROW_WITH && named_by(row) && strcmp(named_by(row), object->name) == 0)
            return true;
    return false;
}

static void
complain(const char *what, const char *name)
{
    fprintf(stderr, "json.def: \"%s\" %s\n", name, what);
    exit(1);
}

/* In the members of this object, with those of others that it has as its own. */
static unsigned
count_fields(const struct json_row *object, const char *name)
{
    unsigned count = 0;

    for (const struct json_row *row = object + 1; json_row_is_member(row); row++)
        if (row->is == JSON_ROW_WITH)
            count += count_fields(json_table_find(row->name), name);
        else
            count += strcmp(row->name, name) == 0;
    return count;
}

/* Of `object`, those that stand in `part`, which is a part of it. */
static void
check_members(const struct json_row *object, const struct json_row *part)
{
    for (const struct json_row *row = part + 1; json_row_is_member(row); row++)
        if (row->is == JSON_ROW_WITH)
            check_members(object, json_table_find(row->name));
        else if (count_fields(object, row->name) > 1)
            complain("stands twice in an object", row->name);
}

static void
check_row(const struct json_row *row)
{
    const char *named = named_by(row);

    if (named && json_table_find(named) == NULL)
        complain("is named and not there", named);
    if ((row->is == JSON_ROW_OBJECT || row->is == JSON_ROW_ONE_OF) &&
        json_table_count_uses(row->name) == 0)
        complain("is there and not named", row->name);
    if (row->is == JSON_ROW_FIELD && (row->kind == JSON_KIND_WORD) != (row->detail[0] != '\0') &&
        row->kind != JSON_KIND_OBJECT)
        complain("has words and is none, or is one and has none", row->name);
}

void
json_table_check(void)
{
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        check_row(row);
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        if (row->is == JSON_ROW_OBJECT || row->is == JSON_ROW_VARIANT)
            check_members(row, row);
}
