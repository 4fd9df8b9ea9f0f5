/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A cell is a text for people and a JSON value; rows of text wait until the end, since columns are
 * as wide as their widest cell, and JSON rows leave at once, so that a long list needs no memory.
 * Bytes that a terminal would obey are escaped.
 */
#include "admin/printer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/printer_table.h"
#include "admin/shown.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/parse.h"

struct printer {
    struct printer_settings settings;
    enum printer_shape shape;
    const struct printer_column *columns;
    unsigned column_count, column; /* column: of the next cell */
    struct printer_cell *cells;
    size_t cell_count, cell_room;
    unsigned row_count;
    json_t *object; /* of the row being made */
};

#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define RED "\033[31m"

static const struct {
    const char *word, *colour;
} word_colours[] = {
    {"up", GREEN},        {"active", GREEN},    {"running", GREEN},   {"ok", GREEN},
    {"applied", GREEN},   {"fits", GREEN},      {"reachable", GREEN}, {"down", RED},
    {"refused", RED},     {"damaged", RED},     {"missing", RED},     {"unreachable", RED},
    {"stopped", RED},     {"newer", RED},       {"older", RED},       {"suspended", YELLOW},
    {"held", YELLOW},     {"waiting", YELLOW},  {"pending", YELLOW},  {"no-route", RED},
    {"unknown", YELLOW},  {"starting", YELLOW}, {"answers", GREEN},   {"silent", RED},
    {"low", RED},         {"late", RED},        {"near", YELLOW},     {"pressed", YELLOW},
    {"refusing", RED},    {"expiring", YELLOW}, {"pass", GREEN},      {"warn", YELLOW},
    {"delivered", GREEN}, {"spooled", YELLOW},  {"fail", RED},        {"draining", YELLOW},
};

struct printer *
printer_new(const struct printer_settings *settings, enum printer_shape shape,
            const struct printer_column *columns, unsigned column_count)
{
    struct printer *p = mem_alloc(sizeof *p);

    p->settings = *settings;
    p->shape = shape;
    p->columns = columns;
    p->column_count = column_count;
    return p;
}

/* Copies text so that a terminal can only show it; *width counts characters. */
static char *
visible(const char *text, unsigned *width)
{
    struct buf b;
    char *copy;

    buf_init(&b, 0);
    *width = shown_add(&b, text, strlen(text));
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

static void
add_cell(struct printer *p, const char *text, const char *colour)
{
    struct printer_cell *cell;

    if (p->cell_count == p->cell_room) {
        p->cell_room = p->cell_room ? p->cell_room * 2 : 64;
        p->cells = mem_realloc(p->cells, p->cell_room * sizeof *p->cells);
    }
    cell = &p->cells[p->cell_count++];
    cell->text = visible(text, &cell->width);
    cell->colour = p->settings.colour ? colour : NULL;
    cell->is_none = strcmp(text, "-") == 0 || text[0] == '\0';
}

static void
print_object(struct printer *p)
{
    char *line = json_dumps(p->object, JSON_COMPACT | JSON_PRESERVE_ORDER);

    CHECK(line != NULL);
    fprintf(p->settings.out, "%s\n", line);
    free(line);
    json_decref(p->object);
    p->object = NULL;
}

/* --- CSV. */

static void
csv_quoted(FILE *out, const char *text)
{
    if (text[strcspn(text, "\",\r\n")] == '\0') {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}

/* "dnsbl=3 helo-odd=1" */
static void
csv_object(FILE *out, json_t *object)
{
    struct buf text;
    const char *key;
    json_t *value;

    buf_init(&text, 0);
    json_object_foreach(object, key, value) buf_printf(
        &text, "%s%s=%lld", buf_size(&text) ? " " : "", key, (long long)json_integer_value(value));
    csv_quoted(out, buf_text(&text));
    buf_fini(&text);
}

static void
csv_header(const struct printer *p)
{
    for (unsigned c = 0; c < p->column_count; c++)
        fprintf(p->settings.out, "%s%s", c ? "," : "", p->columns[c].name);
    fputs("\r\n", p->settings.out);
}

static void
csv_cell(const struct printer *p, json_t *value)
{
    FILE *out = p->settings.out;

    if (p->column == 0 && p->row_count == 0)
        csv_header(p);
    if (p->column > 0)
        putc(',', out);
    if (json_is_string(value))
        csv_quoted(out, json_string_value(value));
    else if (json_is_object(value))
        csv_object(out, value);
    else if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "true" : "false", out);
    if (p->column + 1 == p->column_count)
        fputs("\r\n", out);
    json_decref(value);
}

/* Of the many cells of a long list nobody makes JSON that nobody reads, nor text. */
bool
printer_is_for_people(const struct printer *p)
{
    return !p->settings.json && !p->settings.csv;
}

/* Takes over `value`, which may be NULL for people, as the text for programs. */
static void
next_cell(struct printer *p, json_t *value, const char *text, const char *colour)
{
    CHECK(p->column < p->column_count);
    if (p->settings.json) {
        if (p->object == NULL)
            p->object = json_object();
        CHECK(json_object_set_new(p->object, p->columns[p->column].name, value) == 0);
    } else if (p->settings.csv)
        csv_cell(p, value);
    else {
        json_decref(value);
        add_cell(p, text, colour);
    }
    if (++p->column < p->column_count)
        return;
    p->column = 0;
    p->row_count++;
    if (p->settings.json)
        print_object(p);
}

/* Text that is no UTF-8 (bytes of a peer) is escaped, since JSON cannot hold it. */
json_t *
printer_json_text(const char *text)
{
    json_t *value = json_string(text);
    struct buf b;

    if (value)
        return value;
    buf_init(&b, 0);
    for (; *text; text++) {
        if ((unsigned char)*text < 0x80)
            buf_add(&b, text, 1);
        else
            buf_printf(&b, "\\x%02x", (unsigned char)*text);
    }
    value = json_string(buf_text(&b));
    buf_fini(&b);
    CHECK(value != NULL);
    return value;
}

json_t *
printer_json_text_or_null(const char *text)
{
    return text && text[0] ? printer_json_text(text) : json_null();
}

json_t *
printer_json_time(int64_t wall_ms)
{
    char text[CLOCK_RFC3339_SIZE];

    return wall_ms ? json_string(clock_rfc3339(wall_ms, text)) : json_null();
}

void
printer_none(struct printer *p, const char *text_for_people)
{
    next_cell(p, json_null(), text_for_people, NULL);
}

void
printer_text(struct printer *p, const char *text)
{
    if (text == NULL)
        printer_none(p, "-");
    else
        next_cell(p, printer_is_for_people(p) ? NULL : printer_json_text(text),
                  text[0] ? text : "-", NULL);
}

static const char *
colour_of(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(word_colours); i++)
        if (strcmp(word, word_colours[i].word) == 0)
            return word_colours[i].colour;
    return NULL;
}

void
printer_word(struct printer *p, const char *word)
{
    next_cell(p, printer_is_for_people(p) ? NULL : printer_json_text(word), word, colour_of(word));
}

void
printer_put_word(const struct printer_settings *settings, const char *word, unsigned width)
{
    const char *colour = settings->colour ? colour_of(word) : NULL;
    size_t n = strlen(word);

    fprintf(settings->out, "%s%s%s%*s", colour ? colour : "", word, colour ? PRINTER_RESET : "",
            n < width ? (int)(width - n) : 1, "");
}

void
printer_number(struct printer *p, int64_t number)
{
    char text[32];

    if (!printer_is_for_people(p)) {
        next_cell(p, json_integer(number), NULL, NULL);
        return;
    }
    snprintf(text, sizeof text, "%lld", (long long)number);
    next_cell(p, NULL, text, NULL);
}

void
printer_usual(struct printer *p, bool is_usual)
{
    if (is_usual && p->cell_count > 0)
        p->cells[p->cell_count - 1].is_none = true;
}

const char *
printer_size_text(uint64_t bytes, char dst[PRINTER_SIZE_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(dst, PRINTER_SIZE_SIZE,
             value < 10 && unit && value != (double)(int)value ? "%.1f %s" : "%.0f %s", value,
             units[unit]);
    return dst;
}

void
printer_size(struct printer *p, uint64_t bytes)
{
    char text[PRINTER_SIZE_SIZE];

    if (printer_is_for_people(p))
        next_cell(p, NULL, printer_size_text(bytes, text), NULL);
    else
        next_cell(p, json_integer((json_int_t)bytes), NULL, NULL);
}

const char *
printer_relative(int64_t at_ms, int64_t now_ms, char dst[PRINTER_RELATIVE_SIZE])
{
    static const struct {
        int64_t ms;
        const char *name, *plural;
    } units[] = {
        {86400000, "day", "days"}, {3600000, "h", "h"}, {60000, "min", "min"}, {1000, "s", "s"}};
    int64_t distance = at_ms > now_ms ? at_ms - now_ms : now_ms - at_ms, n;
    size_t i = 0;

    if (distance < 1000) {
        snprintf(dst, PRINTER_RELATIVE_SIZE, "now");
        return dst;
    }
    while (i + 1 < ARRAY_SIZE(units) && distance < units[i].ms * (i == 0 ? 2 : 1))
        i++;
    n = distance / units[i].ms;
    snprintf(dst, PRINTER_RELATIVE_SIZE, at_ms > now_ms ? "in %lld %s" : "%lld %s ago",
             (long long)n, n == 1 ? units[i].name : units[i].plural);
    return dst;
}

void
printer_time(struct printer *p, int64_t wall_ms)
{
    char rfc3339[CLOCK_RFC3339_SIZE], local[CLOCK_LOCAL_SIZE], relative[PRINTER_RELATIVE_SIZE];
    char text[CLOCK_LOCAL_SIZE + PRINTER_RELATIVE_SIZE + 4];

    if (wall_ms == 0) {
        printer_none(p, "-");
        return;
    }
    snprintf(text, sizeof text, "%s (%s)", clock_local(wall_ms, local),
             printer_relative(wall_ms, p->settings.now_ms, relative));
    next_cell(p, printer_json_text(clock_rfc3339(wall_ms, rfc3339)), text, NULL);
}

void
printer_date(struct printer *p, int64_t wall_ms)
{
    char rfc3339[CLOCK_RFC3339_SIZE], local[CLOCK_LOCAL_SIZE];

    if (wall_ms == 0)
        printer_none(p, "-");
    else
        next_cell(p, printer_json_text(clock_rfc3339(wall_ms, rfc3339)),
                  clock_local(wall_ms, local), NULL);
}

void
printer_since(struct printer *p, int64_t wall_ms)
{
    char rfc3339[CLOCK_RFC3339_SIZE], relative[PRINTER_RELATIVE_SIZE];

    if (wall_ms == 0)
        printer_none(p, "-");
    else
        next_cell(p, printer_json_text(clock_rfc3339(wall_ms, rfc3339)),
                  printer_relative(wall_ms, p->settings.now_ms, relative), NULL);
}

void
printer_bool(struct printer *p, bool value)
{
    next_cell(p, json_boolean(value), value ? "yes" : "no", NULL);
}

void
printer_words(struct printer *p, const char *const *words, size_t count)
{
    size_t shown = p->shape == PRINTER_LIST && count > 1 ? 1 : count;
    json_t *array = json_array();
    struct buf text;

    buf_init(&text, 0);
    for (size_t i = 0; i < count; i++)
        CHECK(json_array_append_new(array, printer_json_text(words[i])) == 0);
    for (size_t i = 0; i < shown; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", words[i]);
    if (shown < count)
        buf_printf(&text, " and %zu more", count - shown);
    next_cell(p, array, count ? buf_text(&text) : "-", NULL);
    buf_fini(&text);
}

void
printer_value(struct printer *p, struct json_t *value, const char *text_for_people)
{
    next_cell(p, value, text_for_people, NULL);
}

unsigned
printer_row_count(const struct printer *p)
{
    return p->row_count;
}

void
printer_finish(struct printer **printer)
{
    struct printer *p = *printer;

    if (p == NULL)
        return;
    CHECK(p->column == 0);
    if (p->settings.csv) {
        if (p->row_count == 0)
            csv_header(p);
    } else if (!p->settings.json && p->shape == PRINTER_LIST)
        printer_table_print(&p->settings, p->columns, p->column_count, p->cells, p->cell_count);
    else if (!p->settings.json)
        printer_table_print_one(&p->settings, p->columns, p->column_count, p->cells, p->cell_count);
    for (size_t i = 0; i < p->cell_count; i++)
        free(p->cells[i].text);
    free(p->cells);
    free(p);
    *printer = NULL;
}
