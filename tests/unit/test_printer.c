/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The same cells as a table for people and as JSON for programs.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/printer.h"

static const struct printer_column columns[] = {
    {"name", "NAME", PRINTER_LEFT},    {"state", "STATE", PRINTER_LEFT},
    {"count", "COUNT", PRINTER_RIGHT}, {"size_bytes", "SIZE", PRINTER_RIGHT},
    {"to", "TO", PRINTER_LEFT},        {"limit", "LIMIT", PRINTER_LEFT},
};

static void
print_row(struct printer *p, const char *name, const char *state, int64_t count, uint64_t size,
          size_t to_count)
{
    static const char *const to[] = {"a@x.example", "b@x.example", "c@x.example"};

    printer_text(p, name);
    printer_word(p, state);
    printer_number(p, count);
    printer_size(p, size);
    printer_words(p, to, to_count);
    printer_none(p, "none");
}

static char *
print(bool json, bool colour, enum printer_shape shape, int rows)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct printer_settings settings = {.json = json, .colour = colour, .now_ms = 0, .out = out};
    struct printer *p = printer_new(&settings, shape, columns, ARRAY_SIZE(columns));

    if (rows > 0)
        print_row(p, "first", "up", 7, 1536, 3);
    if (rows > 1)
        print_row(p,
                  "b\xc3\xbc"
                  "cher",
                  "down", 12345, 20 << 20, 1);
    cr_expect_eq((int)printer_row_count(p), rows);
    printer_finish(&p);
    cr_expect_null(p);
    fclose(out);
    return text;
}

Test(printer, aligns_a_table_by_characters)
{
    char *text = print(false, false, PRINTER_LIST, 2);

    cr_expect_str_eq(text, "NAME    STATE  COUNT     SIZE  TO                      LIMIT\n"
                           "first   up         7  1.5 KiB  a@x.example and 2 more  none\n"
                           "b\xc3\xbc"
                           "cher  down   12345   20 MiB  a@x.example             none\n");
    free(text);
}

Test(printer, prints_nothing_for_an_empty_list)
{
    char *text = print(false, false, PRINTER_LIST, 0);

    cr_expect_str_empty(text);
    free(text);
}

Test(printer, prints_one_thing_a_line_a_column)
{
    char *text = print(false, false, PRINTER_ONE, 1);

    cr_expect(strstr(text, "NAME   first\n") == text, "%s", text);
    cr_expect(strstr(text, "TO     a@x.example, b@x.example, c@x.example\n") != NULL, "%s", text);
    free(text);
}

Test(printer, colours_words_only_when_asked)
{
    char *plain = print(false, false, PRINTER_LIST, 2),
         *coloured = print(false, true, PRINTER_LIST, 2);

    cr_expect_null(strchr(plain, '\033'));
    cr_expect(strstr(coloured, "\033[31mdown\033[0m") != NULL);
    cr_expect(strstr(coloured, "\033[32mup\033[0m") != NULL);
    free(plain);
    free(coloured);
}

Test(printer, prints_json_lines_from_the_same_cells)
{
    char *text = print(true, true, PRINTER_LIST, 2), *second = strchr(text, '\n') + 1;
    json_t *row = json_loads(second, 0, NULL);

    cr_assert_not_null(row);
    cr_expect_str_eq(json_string_value(json_object_get(row, "name")), "b\xc3\xbc"
                                                                      "cher");
    cr_expect_str_eq(json_string_value(json_object_get(row, "state")), "down");
    cr_expect_eq(json_integer_value(json_object_get(row, "size_bytes")), 20 << 20);
    cr_expect(json_is_null(json_object_get(row, "limit")));
    cr_expect_eq(json_array_size(json_object_get(row, "to")), 1);
    cr_expect_eq(strlen(strchr(second, '\n')), 1, "two lines and no more");
    json_decref(row);
    free(text);
}

static const struct {
    const char *name, *cell, *text, *json;
} hostile[] = {
    {"escape sequence", "\033[2Jx", "\\x1b[2Jx", "{\"name\":\"\\u001B[2Jx\"}"},
    {"line end", "a\r\nb", "a\\x0d\\x0ab", "{\"name\":\"a\\r\\nb\"}"},
    {"no UTF-8",
     "a\xff"
     "b",
     "a\\xffb", "{\"name\":\"a\\\\xffb\"}"},
    {"half a character", "a\xc3", "a\\xc3", "{\"name\":\"a\\\\xc3\"}"},
    {"a control character of Latin 1", "\xc2\x9b", "\\xc2\\x9b", "{\"name\":\"\xc2\x9b\"}"},
    {"none", NULL, "-", "{\"name\":null}"},
    {"empty", "", "-", "{\"name\":\"\"}"},
};

Test(printer, shows_hostile_text_harmlessly)
{
    for (size_t i = 0; i < ARRAY_SIZE(hostile) * 2; i++) {
        bool json = i % 2;
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        struct printer_settings settings = {.json = json, .out = out};
        struct printer *p = printer_new(&settings, PRINTER_LIST, columns, 1);

        printer_text(p, hostile[i / 2].cell);
        printer_finish(&p);
        fclose(out);
        text[strcspn(text, "\n") == strlen(text) ? strlen(text) : strlen(text) - 1] = '\0';
        cr_expect_str_eq(json ? text : strchr(text, '\n') + 1,
                         json ? hostile[i / 2].json : hostile[i / 2].text, "%s",
                         hostile[i / 2].name);
        free(text);
    }
}

static const struct {
    int64_t at_ms;
    const char *want;
} moments[] = {
    {1000000000, "now"},
    {999999500, "now"},
    {999998000, "2 s ago"},
    {1000045000, "in 45 s"},
    {999880000, "2 min ago"},
    {1003600000, "in 1 h"},
    {1000000000 + 86400000, "in 24 h"},
    {1000000000 + 3 * 86400000LL, "in 3 days"},
};

Test(printer, tells_the_distance_from_now)
{
    for (size_t i = 0; i < ARRAY_SIZE(moments); i++) {
        char text[PRINTER_RELATIVE_SIZE];

        cr_expect_str_eq(printer_relative(moments[i].at_ms, 1000000000, text), moments[i].want);
    }
}

Test(printer, writes_csv_as_rfc_4180_says)
{
    static const struct printer_column csv_columns[] = {
        {"name", "NAME", PRINTER_LEFT},
        {"size_bytes", NULL, PRINTER_RIGHT},
        {"reasons", NULL, PRINTER_LEFT},
        {"none", NULL, PRINTER_LEFT},
    };
    static const char *const names[] = {"plain", "a,b", "say \"x\"", "two\nlines", "=1+1", ""};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct printer_settings settings = {.csv = true, .out = out};
    struct printer *p = printer_new(&settings, PRINTER_LIST, csv_columns, ARRAY_SIZE(csv_columns));

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        printer_text(p, names[i]);
        printer_size(p, UINT64_C(1) << 40);
        printer_value(p, json_pack("{s:i,s:i}", "dnsbl", 2, "spf-fail", 1), "");
        printer_none(p, "-");
    }
    printer_finish(&p);
    fclose(out);
    cr_expect_str_eq(text,
                     "name,size_bytes,reasons,none\r\n"
                     "plain,1099511627776,dnsbl=2 spf-fail=1,\r\n"
                     "\"a,b\",1099511627776,dnsbl=2 spf-fail=1,\r\n"
                     "\"say \"\"x\"\"\",1099511627776,dnsbl=2 spf-fail=1,\r\n"
                     "\"two\nlines\",1099511627776,dnsbl=2 spf-fail=1,\r\n"
                     "=1+1,1099511627776,dnsbl=2 spf-fail=1,\r\n"
                     ",1099511627776,dnsbl=2 spf-fail=1,\r\n",
                     "%s", text);
    free(text);
}

/* --- How tables fit a terminal. */

static const struct printer_column fitted_columns[] = {
    {"id", "ID", PRINTER_LEFT},
    {"from", "FROM", PRINTER_BELOW},
    {"count", "COUNT", PRINTER_RIGHT},
    {"none", "NONE", PRINTER_LEFT},
    {"usual", "USUAL", PRINTER_LEFT},
    {"reply", "REPLY", PRINTER_PROSE},
    {"why", "WHY", PRINTER_WRAP | PRINTER_BELOW},
};

#define SENTENCE "a sentence of the server that is long"
static const struct {
    const char *name;
    unsigned width;
    const char *want;
} fits[] = {
    {"no terminal", 0,
     "ID      FROM                COUNT  REPLY                                  WHY\n"
     "R-0001  someone@x.example       7  " SENTENCE "  because of this\n"
     "R-0002  other@long.example     12  short                                  -\n"},
    {"a sentence is cut", 80,
     "ID      FROM                COUNT  REPLY                         WHY\n"
     "R-0001  someone@x.example       7  a sentence of the server th\xe2\x80\xa6  because of this\n"
     "R-0002  other@long.example     12  short                         -\n"},
    {"columns go below, and those that are short come back", 54,
     "ID      COUNT  REPLY\n"
     "R-0001      7  " SENTENCE "\n"
     "    from someone@x.example  why because of this\n"
     "R-0002     12  short\n"
     "    from other@long.example\n"},
    {"so narrow that a word is all of a line", 20,
     "ID      COUNT\n"
     "R-0001      7\n"
     "    from someone@x.example\n"
     "    reply a sentence of the s\xe2\x80\xa6\n"
     "    why because of this\n"
     "R-0002     12\n"
     "    from other@long.example\n"
     "    reply short\n"},
};

static void
print_fitted(struct printer *p, const char *id, const char *from, int count, const char *reply,
             const char *why)
{
    printer_text(p, id);
    printer_text(p, from);
    printer_number(p, count);
    printer_text(p, NULL);
    printer_text(p, "as always");
    printer_usual(p, true);
    printer_text(p, reply);
    printer_text(p, why);
}

Test(printer, fits_a_terminal)
{
    for (size_t i = 0; i < ARRAY_SIZE(fits); i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        struct printer_settings settings = {.width = fits[i].width, .out = out};
        struct printer *p =
            printer_new(&settings, PRINTER_LIST, fitted_columns, ARRAY_SIZE(fitted_columns));

        print_fitted(p, "R-0001", "someone@x.example", 7, SENTENCE, "because of this");
        print_fitted(p, "R-0002", "other@long.example", 12, "short", "");
        printer_finish(&p);
        fclose(out);
        cr_expect_str_eq(text, fits[i].want, "%s:\n%s", fits[i].name, text);
        free(text);
    }
}

Test(printer, one_thing_is_wrapped_and_has_no_empty_lines)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct printer_settings settings = {.width = 30, .out = out};
    struct printer *p =
        printer_new(&settings, PRINTER_ONE, fitted_columns, ARRAY_SIZE(fitted_columns));

    print_fitted(p, "R-0001", "someone@x.example", 7, SENTENCE, NULL);
    printer_finish(&p);
    fclose(out);
    cr_expect_str_eq(text,
                     "ID     R-0001\nFROM   someone@x.example\nCOUNT  7\n"
                     "REPLY  a sentence of the\n       server that is long\n",
                     "%s", text);
    free(text);
}
