/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_json: prints from json.def postern-json(7), with --events postern-events(7), with --schema a
 * JSON Schema.  An object that one command alone prints is described with it, one that one field
 * alone has is described there, and the others have a section.
 */
#include <stdio.h>
#include <string.h>

#include "admin/json_table.h"
#include "base/mdoc.h"

#define EVENTS "event"

static struct buf page;

static const char json_head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 30, 2026\n"
    ".Dt POSTERN-JSON 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-json\n"
    ".Nd what relayctl of Postern, the mail gate, prints for programs\n"
    ".Sh DESCRIPTION\n"
    "With\n"
    ".Fl -json\n"
    "the commands of\n"
    ".Xr relayctl 8\n"
    "print JSON: one object, or one object a line, where there can be several.\n"
    "Nothing else is on standard output; complaints and warnings are sentences on\n"
    "standard error, and the exit status is as ever.\n"
    ".Pp\n"
    "A field is always there, unless it says that it may be missing, and is null\n"
    "only if that is said.\n"
    "Names are stable: a later release adds fields and words, and takes none away;\n"
    "programs pass over what they do not know.\n"
    ".Bl -tag -width Ds\n"
    ".It time\n"
    "In UTC, as in 2026\\-11\\-30T10:23:05.123Z (RFC 3339).\n"
    "Names of times end in _at.\n"
    ".It number\n"
    "Whole.\n"
    "Its unit is in its name: _bytes are octets, _ms milliseconds.\n"
    ".It address\n"
    "Of IPv4 or IPv6, without a port.\n"
    ".It id\n"
    "The reference of a message, as in P001\\-4KX3T\\-0B7Q2CF; it is in our\n"
    "replies and in Received.\n"
    ".It text\n"
    "Octets of peers that are no UTF\\-8 are written as \\exNN.\n"
    ".El\n";

static const char json_tail[] = ".Sh FILES\n"
                                ".Bl -tag -width Ds\n"
                                ".It Pa " PKGDATADIR "/json-schema.json\n"
                                "All of this as a JSON Schema: its\n"
                                ".Li $defs\n"
                                "are the objects, its\n"
                                ".Li commands\n"
                                "say which of them each prints.\n"
                                ".El\n"
                                ".Sh SEE ALSO\n"
                                ".Xr postern-checks 7 ,\n"
                                ".Xr postern-conformance 7 ,\n"
                                ".Xr postern-events 7 ,\n"
                                ".Xr postern-replies 7 ,\n"
                                ".Xr relayctl 8\n";

static const char events_head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 30, 2026\n"
    ".Dt POSTERN-EVENTS 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-events\n"
    ".Nd the event log of Postern, the mail gate\n"
    ".Sh DESCRIPTION\n"
    "Every message, every refused recipient and every connection is an event, and so is the end\n"
    "of mail that was kept, for each recipient.\n"
    ".Xr relayd 8 ,\n"
    "and of the ends\n"
    ".Xr spoolmgr 8 ,\n"
    "write them into\n"
    ".Pa log-dir/events-YYYYMMDDTHH.jsonl\n"
    "(UTC; _01, _02, ... behind the hour where a file has grown large), an object of JSON a line,\n"
    "in printable ASCII alone: octets of peers outside of it are \\eu00NN each.\n"
    "They are copied to PostgreSQL, into the column\n"
    ".Li detail\n"
    "of\n"
    ".Li postern.events .\n"
    ".Nm relayctl Cm trace Fl -json\n"
    "prints them, and\n"
    ".Nm relayctl Cm explain Fl -json\n"
    "has them in its objects.\n"
    ".Pp\n"
    "What is not known is left out.\n"
    "When an event is older than\n"
    ".Cm event-privacy\n"
    "it is shortened in the database: its people are not named any more, and most texts are gone.\n"
    "Times, numbers, addresses and ids are as in\n"
    ".Xr postern-json 7 .\n";

static const char events_tail[] = ".Sh SEE ALSO\n"
                                  ".Xr postern.conf 5 ,\n"
                                  ".Xr postern-json 7 ,\n"
                                  ".Xr postern-replies 7 ,\n"
                                  ".Xr relayctl 8 ,\n"
                                  ".Xr relayd 8 ,\n"
                                  ".Xr spoolmgr 8\n";

/* --- What a field is. */

static const struct {
    const char *one, *many;
} kind_words[JSON_KIND_COUNT] = {
    [JSON_KIND_TEXT] = {"text", "texts"},
    [JSON_KIND_NUMBER] = {"number", "numbers"},
    [JSON_KIND_REAL] = {"number with a fraction", "numbers with a fraction"},
    [JSON_KIND_BOOLEAN] = {"true or false", "true or false"},
    [JSON_KIND_TIME] = {"time", "times"},
    [JSON_KIND_ADDRESS] = {"address", "addresses"},
    [JSON_KIND_ID] = {"id", "ids"},
    [JSON_KIND_WORD] = {"word", "words"},
    [JSON_KIND_OBJECT] = {"object", "objects"},
    [JSON_KIND_ANY] = {"anything", "anything"},
};

static void
print_kind(const struct json_row *field)
{
    const char *one = kind_words[field->kind].one, *many = kind_words[field->kind].many;

    if (field->flags & JSON_BY_NAME)
        buf_printf(&page, "an object of %s, by name", field->flags & JSON_LIST ? "lists" : many);
    else
        buf_printf(&page, "%s%s", field->flags & JSON_LIST ? "list of " : "",
                   field->flags & JSON_LIST ? many : one);
    if (field->flags & JSON_OR_NULL)
        buf_printf(&page, ", or null");
    if (field->flags & JSON_OPTIONAL)
        buf_printf(&page, "; may be missing");
}

/* "One of a, b, c." */
static void
print_words(const char *words, bool is_list)
{
    struct buf word;

    buf_init(&word, 0);
    buf_printf(&page, is_list ? "Each is one of\n" : "One of\n");
    while (*words) {
        size_t n = strcspn(words, "|");
        bool is_last = words[n] == '\0';

        buf_clear(&word);
        buf_add(&word, words, n);
        buf_add_text(&page, ".Li \"");
        mdoc_add(&page, buf_text(&word));
        buf_printf(&page, "\" %s\n", is_last ? "." : ",");
        words += n + !is_last;
    }
    buf_fini(&word);
}

static void print_members(const struct json_row *object);

/* Described where it is used, since nothing else does. */
static bool
is_inline(const struct json_row *object)
{
    return object->is == JSON_ROW_OBJECT && json_table_count_uses(object->name) == 1;
}

static void
print_reference(const struct json_row *field)
{
    if (strcmp(field->detail, EVENTS) == 0)
        buf_printf(&page, "See\n.Xr postern-events 7 .\n");
    else if (is_inline(json_table_find(field->detail)))
        print_members(json_table_find(field->detail));
    else
        buf_printf(&page, "See\n.Sx %s .\n", field->detail);
}

static void
print_field(const struct json_row *field)
{
    buf_printf(&page, ".It Li %s Pq \"", field->name);
    print_kind(field);
    buf_printf(&page, "\"\n");
    mdoc_add_lines(&page, field->text);
    if (field->kind == JSON_KIND_WORD)
        print_words(field->detail, field->flags & JSON_LIST);
    if (field->kind == JSON_KIND_OBJECT)
        print_reference(field);
}

static void
print_rows(const struct json_row *object)
{
    for (const struct json_row *row = object + 1; json_row_is_member(row); row++)
        if (row->is == JSON_ROW_WITH)
            print_rows(json_table_find(row->name));
        else
            print_field(row);
}

static void
print_members(const struct json_row *object)
{
    if (!json_row_is_member(object + 1))
        return;
    buf_printf(&page, ".Bl -tag -width Ds\n");
    print_rows(object);
    buf_printf(&page, ".El\n");
}

/* --- Sections. */

static void
print_variants(const struct json_row *one_of)
{
    for (const struct json_row *row = one_of + 1; row->is == JSON_ROW_VARIANT; row++) {
        const struct json_row *next = row + 1;

        buf_printf(&page, ".Ss %s\n", row->detail);
        mdoc_add_lines(&page, row->text);
        print_members(row);
        while (json_row_is_member(next))
            next++;
        row = next - 1;
    }
}

static void
print_command(const struct json_row *row)
{
    const struct json_row *object = json_table_find(row->detail);

    buf_printf(&page, ".Ss ");
    mdoc_add(&page, row->name);
    if (row->when[0]) {
        buf_printf(&page, " \\-\\-");
        mdoc_add(&page, row->when);
    }
    buf_printf(&page, "\n%s%s", row->shape == JSON_LINES ? "An object a line" : "One object",
               is_inline(object) ? ".\n" : ":\n");
    if (strcmp(object->name, EVENTS) == 0)
        buf_printf(&page, "see\n.Xr postern-events 7 .\n");
    else if (!is_inline(object))
        buf_printf(&page, ".Sx %s .\n", object->name);
    if (row->text[0])
        mdoc_add_lines(&page, row->text);
    if (is_inline(object))
        print_members(object);
}

static bool
has_section(const struct json_row *row)
{
    if (row->is == JSON_ROW_ONE_OF)
        return strcmp(row->name, EVENTS) != 0;
    return row->is == JSON_ROW_OBJECT && json_table_stands_alone(row) && !is_inline(row);
}

static void
print_object(const struct json_row *row)
{
    buf_printf(&page, ".Ss %s\n", row->name);
    mdoc_add_lines(&page, row->text);
    if (row->is == JSON_ROW_OBJECT) {
        print_members(row);
        return;
    }
    buf_printf(&page, "The field\n.Li %s\nsays which of these it is.\n", row->detail);
    buf_printf(&page, ".Bl -tag -width Ds\n");
    for (const struct json_row *v = row + 1; v->is == JSON_ROW_VARIANT || json_row_is_member(v);
         v++)
        if (v->is == JSON_ROW_VARIANT) {
            buf_printf(&page, ".It Li %s\n", v->detail);
            mdoc_add_lines(&page, v->text);
            print_members(v);
        }
    buf_printf(&page, ".El\n");
}

static void
print_json_page(void)
{
    buf_printf(&page, "%s.Sh COMMANDS\n", json_head);
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        if (row->is == JSON_ROW_PRINTS)
            print_command(row);
    buf_printf(&page, ".Sh OBJECTS\nWhat several of them have in common.\n");
    for (const struct json_row *row = json_table; row->is != JSON_ROW_END; row++)
        if (has_section(row))
            print_object(row);
    buf_printf(&page, "%s", json_tail);
}

static void
print_events_page(void)
{
    const struct json_row *events = json_table_find(EVENTS);

    buf_printf(&page, "%s.Sh EVENTS\n", events_head);
    mdoc_add_lines(&page, events->text);
    print_variants(events);
    buf_printf(&page, "%s", events_tail);
}

int
main(int argc, char **argv)
{
    json_table_check();
    if (argc > 1 && strcmp(argv[1], "--schema") == 0)
        return json_schema_print() ? 0 : 1;
    buf_init(&page, 0);
    if (argc > 1 && strcmp(argv[1], "--events") == 0)
        print_events_page();
    else
        print_json_page();
    fputs(buf_text(&page), stdout);
    buf_fini(&page);
    return fflush(stdout) == 0 ? 0 : 1;
}
