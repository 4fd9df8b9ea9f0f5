/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where a table is too wide, in this order: sentences get shorter, columns that may go below do so,
 * all together, and then others from the last one on; short ones come back where there is room
 * after all.  The first column stays.
 */
#include "admin/printer_table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "admin/paragraph.h"

#define GAP 2
#define INDENT 4     /* of what stands below */
#define PROSE_MIN 20 /* of a sentence that is cut it is worth to see so much */
#define WRAP_MIN 40  /* of one that may stand below instead */

enum place { IN_ROW, BELOW, NOWHERE };

struct table {
    const struct printer_settings *settings;
    const struct printer_column *columns;
    const struct printer_cell *cells;
    unsigned column_count;
    size_t cell_count;
    struct column {
        unsigned full, width; /* of the widest cell; as it is printed */
        enum place place;
    } * shown;
};

/* --- Fitting. */

static void
measure(struct table *t)
{
    for (unsigned c = 0; c < t->column_count; c++) {
        t->shown[c].full = (unsigned)strlen(t->columns[c].title);
        t->shown[c].place = NOWHERE;
    }
    for (size_t i = 0; i < t->cell_count; i++) {
        struct column *column = &t->shown[i % t->column_count];

        if (t->cells[i].width > column->full)
            column->full = t->cells[i].width;
        if (!t->cells[i].is_none)
            column->place = IN_ROW;
    }
    t->shown[0].place = IN_ROW;
}

/* How many columns of the terminal are missing; <= 0: it fits. */
static int
missing(const struct table *t)
{
    int width = -GAP;

    if (t->settings->width == 0)
        return 0;
    for (unsigned c = 0; c < t->column_count; c++)
        if (t->shown[c].place == IN_ROW)
            width += (int)t->shown[c].width + GAP;
    return width - (int)t->settings->width;
}

static unsigned
least(const struct table *t, unsigned c)
{
    const unsigned both = PRINTER_WRAP | PRINTER_BELOW;
    unsigned title = (unsigned)strlen(t->columns[c].title);
    unsigned min = (t->columns[c].layout & both) == both ? WRAP_MIN : PROSE_MIN;

    if (title > min)
        min = title;
    return min < t->shown[c].full ? min : t->shown[c].full;
}

/* What wraps has the rest of the line, so that nothing may stand behind it. */
static bool
can_give(const struct table *t, unsigned c)
{
    if (!(t->columns[c].layout & PRINTER_WRAP))
        return t->columns[c].layout & PRINTER_PROSE;
    while (++c < t->column_count)
        if (t->shown[c].place == IN_ROW)
            return false;
    return true;
}

/* The widest gives first. */
static bool
fits_with_less_prose(struct table *t)
{
    for (unsigned c = 0; c < t->column_count; c++)
        t->shown[c].width = t->shown[c].full;
    while (missing(t) > 0) {
        struct column *widest = NULL;

        for (unsigned c = 0; c < t->column_count; c++)
            if (t->shown[c].place == IN_ROW && can_give(t, c) && t->shown[c].width > least(t, c) &&
                (widest == NULL || t->shown[c].width > widest->width))
                widest = &t->shown[c];
        if (widest == NULL)
            return false;
        widest->width--;
    }
    return true;
}

/* Short ones for which there is room, now that the others are gone. */
static void
take_back(struct table *t)
{
    for (unsigned c = t->column_count - 1; c > 0; c--) {
        struct column *column = &t->shown[c];

        if (column->place != BELOW || column->full > PROSE_MIN ||
            missing(t) + (int)column->full + GAP > 0)
            continue;
        column->place = IN_ROW;
        column->width = column->full;
    }
}

static void
fit(struct table *t)
{
    if (fits_with_less_prose(t))
        return;
    for (unsigned c = 1; c < t->column_count; c++)
        if (t->shown[c].place == IN_ROW && t->columns[c].layout & PRINTER_BELOW)
            t->shown[c].place = BELOW;
    for (unsigned c = t->column_count - 1; c > 0 && !fits_with_less_prose(t); c--)
        if (t->shown[c].place == IN_ROW)
            t->shown[c].place = BELOW;
    take_back(t);
}

/* --- Printing. */

/* As much of `text` as `width` characters hold, and whether that is not all. */
static size_t
cut(const char *text, unsigned width)
{
    size_t n = 0;

    for (unsigned count = 0; text[n] != '\0'; count++) {
        if (count == width)
            return n;
        for (n++; ((unsigned char)text[n] & 0xc0) == 0x80;)
            n++;
    }
    return n;
}

static void
put(const struct table *t, const struct printer_cell *cell, unsigned width)
{
    bool is_cut = cell->width > width;
    size_t n = is_cut ? cut(cell->text, width - 1) : strlen(cell->text);

    fprintf(t->settings->out, "%s%.*s%s%s", cell->colour ? cell->colour : "", (int)n, cell->text,
            is_cut ? "\xe2\x80\xa6" : "", cell->colour ? PRINTER_RESET : "");
}

/* Behind it the line is at its end. */
static void
put_wrapped(const struct table *t, const struct printer_cell *cell, unsigned at)
{
    paragraph_wrap_at(t->settings->out, at, t->settings->width, cell->text);
}

/* No blanks behind the last text of a line. */
static void
print_row(const struct table *t, const struct printer_cell *row)
{
    unsigned at = 0, start = 0; /* behind what is printed; of the column */

    for (unsigned c = 0; c < t->column_count; c++) {
        unsigned room = t->shown[c].width, width = row[c].width < room ? row[c].width : room;
        unsigned pad = t->columns[c].layout & PRINTER_RIGHT ? room - width : 0;

        if (t->shown[c].place != IN_ROW)
            continue;
        if (width > 0) {
            fprintf(t->settings->out, "%*s", (int)(start + pad - at), "");
            if (row[c].width > room && t->columns[c].layout & PRINTER_WRAP) {
                put_wrapped(t, &row[c], start);
                return;
            }
            put(t, &row[c], room);
            at = start + pad + width;
        }
        start += room + GAP;
    }
    fputc('\n', t->settings->out);
}

static void
print_header(const struct table *t)
{
    struct printer_cell *titles = mem_alloc(t->column_count * sizeof *titles);

    for (unsigned c = 0; c < t->column_count; c++)
        titles[c] = (struct printer_cell){.text = (char *)t->columns[c].title,
                                          .width = (unsigned)strlen(t->columns[c].title)};
    print_row(t, titles);
    free(titles);
}

/* "to", of the title "TO". */
static unsigned
print_label(const struct table *t, const char *title)
{
    for (const char *p = title; *p; p++)
        fputc(tolower((unsigned char)*p), t->settings->out);
    if (title[0])
        fputc(' ', t->settings->out);
    return (unsigned)strlen(title) + (title[0] != '\0');
}

/* `at`: behind its label.  Returns where the line is then; 0: a new one is begun. */
static unsigned
put_below(const struct table *t, const struct printer_cell *cell, unsigned layout, unsigned at)
{
    unsigned room = t->settings->width > at + PROSE_MIN ? t->settings->width - at : PROSE_MIN;

    if (cell->width > room && layout & PRINTER_WRAP) {
        put_wrapped(t, cell, at);
        return 0;
    }
    if (cell->width < room || !(layout & PRINTER_PROSE))
        room = cell->width;
    put(t, cell, room);
    return at + room;
}

/* One behind the other, as many as a line has room for. */
static void
print_below(const struct table *t, const struct printer_cell *row)
{
    FILE *out = t->settings->out;
    unsigned at = 0;

    for (unsigned c = 0; c < t->column_count; c++) {
        unsigned label = (unsigned)strlen(t->columns[c].title) + 1;

        if (t->shown[c].place != BELOW || row[c].is_none)
            continue;
        if (at > 0 && at + GAP + label + row[c].width > t->settings->width) {
            fputc('\n', out);
            at = 0;
        }
        fprintf(out, "%*s", at > 0 ? GAP : INDENT, "");
        at += at > 0 ? GAP : INDENT;
        at += print_label(t, t->columns[c].title);
        at = put_below(t, &row[c], t->columns[c].layout, at);
    }
    if (at > 0)
        fputc('\n', out);
}

void
printer_table_print(const struct printer_settings *settings, const struct printer_column *columns,
                    unsigned column_count, const struct printer_cell *cells, size_t cell_count)
{
    struct table t = {settings,     columns,    cells,
                      column_count, cell_count, mem_alloc(column_count * sizeof *t.shown)};

    if (cell_count > 0) {
        measure(&t);
        fit(&t);
        print_header(&t);
    }
    for (size_t i = 0; i < cell_count; i += column_count) {
        print_row(&t, &cells[i]);
        print_below(&t, &cells[i]);
    }
    free(t.shown);
}

void
printer_table_print_one(const struct printer_settings *settings,
                        const struct printer_column *columns, unsigned column_count,
                        const struct printer_cell *cells, size_t cell_count)
{
    unsigned indent = 0;

    for (size_t i = 0; i < cell_count; i++) {
        unsigned length = (unsigned)strlen(columns[i % column_count].title);

        if (!cells[i].is_none && length + GAP > indent)
            indent = length + GAP;
    }
    for (size_t i = 0; i < cell_count; i++) {
        const struct printer_cell *cell = &cells[i];

        if (cell->is_none)
            continue;
        fprintf(settings->out, "%-*s", (int)indent, columns[i % column_count].title);
        if (settings->width > 0 && indent + cell->width > settings->width)
            paragraph_wrap_at(settings->out, indent, settings->width, cell->text);
        else
            fprintf(settings->out, "%s%s%s\n", cell->colour ? cell->colour : "", cell->text,
                    cell->colour ? PRINTER_RESET : "");
    }
}
