/* SPDX-License-Identifier: BSD-2-Clause
 *
 * json.def as a JSON Schema (draft 2020-12): an object is one of $defs, a variant of one is named
 * OBJECT-WORD.  Behind them "commands" says what each prints; a schema may have such a member.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "admin/json_table.h"
#include "base/err.h"

#define PATTERN_TIME "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$"
#define PATTERN_ID "^P[0-9]{3}-[0-9A-Z]{5}-[0-9A-Z]{7}$"

static void
set(json_t *object, const char *key, json_t *value)
{
    CHECK(json_object_set_new(object, key, value) == 0);
}

/* --- A field. */

static json_t *
schema_of_words(const char *words)
{
    json_t *list = json_array();

    while (*words) {
        size_t n = strcspn(words, "|");

        CHECK(json_array_append_new(list, json_stringn(words, n)) == 0);
        words += n + (words[n] != '\0');
    }
    return json_pack("{s:o}", "enum", list);
}

static json_t *
schema_of_kind(const struct json_row *field)
{
    switch (field->kind) {
    case JSON_KIND_TEXT:
        return json_pack("{s:s}", "type", "string");
    case JSON_KIND_NUMBER:
        return json_pack("{s:s}", "type", "integer");
    case JSON_KIND_REAL:
        return json_pack("{s:s}", "type", "number");
    case JSON_KIND_BOOLEAN:
        return json_pack("{s:s}", "type", "boolean");
    case JSON_KIND_TIME:
        return json_pack("{s:s, s:s, s:s}", "type", "string", "format", "date-time", "pattern",
                         PATTERN_TIME);
    case JSON_KIND_ADDRESS:
        return json_pack("{s:s, s:[{s:s}, {s:s}]}", "type", "string", "anyOf", "format", "ipv4",
                         "format", "ipv6");
    case JSON_KIND_ID:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", PATTERN_ID);
    case JSON_KIND_WORD:
        return schema_of_words(field->detail);
    case JSON_KIND_OBJECT:
        return json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", field->detail));
    case JSON_KIND_ANY:
    case JSON_KIND_COUNT:
        break;
    }
    return json_object();
}

static json_t *
schema_of_field(const struct json_row *field)
{
    json_t *schema = schema_of_kind(field);

    if (field->flags & JSON_LIST)
        schema = json_pack("{s:s, s:o}", "type", "array", "items", schema);
    if (field->flags & JSON_BY_NAME)
        schema = json_pack("{s:s, s:o}", "type", "object", "additionalProperties", schema);
    if (field->flags & JSON_OR_NULL)
        schema = json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null");
    set(schema, "description", json_string(field->text));
    return schema;
}

/* --- An object. */

static void
add_members(const struct json_row *object, json_t *properties, json_t *required)
{
    for (const struct json_row *row = object + 1; json_row_is_member(row); row++) {
        if (row->is == JSON_ROW_WITH) {
            add_members(json_table_find(row->name), properties, required);
            continue;
        }
        set(properties, row->name, schema_of_field(row));
        if (!(row->flags & JSON_OPTIONAL))
            CHECK(json_array_append_new(required, json_string(row->name)) == 0);
    }
}

/* `key`: the field that says which variant it is; NULL: it is none. */
static json_t *
schema_of_object(const struct json_row *object, const char *key)
{
    json_t *properties = json_object(), *required = json_array();

    if (key) {
        set(properties, key, json_pack("{s:s}", "const", object->detail));
        CHECK(json_array_append_new(required, json_string(key)) == 0);
    }
    add_members(object, properties, required);
    return json_pack("{s:s, s:s, s:o, s:o, s:b}", "description", object->text, "type", "object",
                     "properties", properties, "required", required, "additionalProperties", 0);
}

static void
add_one_of(const struct json_row *one_of, json_t *defs)
{
    json_t *list = json_array();
    char name[80];

    for (const struct json_row *row = one_of + 1;
         row->is == JSON_ROW_VARIANT || json_row_is_member(row); row++) {
        if (row->is != JSON_ROW_VARIANT)
            continue;
        snprintf(name, sizeof name, "%s-%s", one_of->name, row->detail);
        set(defs, name, schema_of_object(row, one_of->detail));
        CHECK(json_array_append_new(
                  list, json_pack("{s:o}", "$ref", json_sprintf("#/$defs/%s", name))) == 0);
    }
    set(defs, one_of->name, json_pack("{s:s, s:o}", "description", one_of->text, "oneOf", list));
}

/* --- All. */

static void
add_commands(const struct json_row *prints, json_t *commands)
{
    const char *names = prints->name;

    while (*names) {
        size_t n = strcspn(names, ",");
        json_t *ways;
        char name[80];

        snprintf(name, sizeof name, "%.*s", (int)n, names);
        ways = json_object_get(commands, name);
        if (ways == NULL) {
            ways = json_array();
            set(commands, name, ways);
        }
        CHECK(json_array_append_new(ways,
                                    json_pack("{s:s, s:s, s:o}", "when", prints->when, "shape",
                                              prints->shape == JSON_LINES ? "lines" : "one", "$ref",
                                              json_sprintf("#/$defs/%s", prints->detail))) == 0);
        names += n + strspn(names + n, ", ");
    }
}

bool
json_schema_print(void)
{
    json_t *defs = json_object(), *commands = json_object(), *all;
    bool ok;

    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++) {
        if (row->is == JSON_ROW_OBJECT && json_table_stands_alone(row))
            set(defs, row->name, schema_of_object(row, NULL));
        else if (row->is == JSON_ROW_ONE_OF)
            add_one_of(row, defs);
        else if (row->is == JSON_ROW_PRINTS)
            add_commands(row, commands);
    }
    all = json_pack(
        "{s:s, s:s, s:o, s:o}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
        "What relayctl of Postern prints with --json", "$defs", defs, "commands", commands);
    ok = json_dumpf(all, stdout, JSON_INDENT(1)) == 0 && fputc('\n', stdout) != EOF;
    json_decref(all);
    return ok && fflush(stdout) == 0;
}
