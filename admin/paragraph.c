/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Words one by one; their width is counted in characters.
 */
#include "admin/paragraph.h"

#include <stdarg.h>
#include <string.h>

#include "admin/shown.h"

#define TEXT_SIZE 4096
#define SPACE " \t\r\n"

/* Lines that are longer are hard to read; narrower ones hold no sentence beside a label. */
#define WIDEST 100
#define NARROWEST 40

static unsigned columns = PARAGRAPH_COLUMNS;

void
paragraph_set_width(unsigned width)
{
    columns = width == 0 ? PARAGRAPH_COLUMNS : width > WIDEST ? WIDEST : width;
    if (columns < NARROWEST)
        columns = NARROWEST;
}

void
paragraph_print(FILE *out, const char *label, const char *text)
{
    fprintf(out, "%-*s", PARAGRAPH_INDENT, label);
    paragraph_wrap(out, PARAGRAPH_INDENT, text);
}

/* A command in backquotes is one word, to be pasted, if a line holds it. */
static size_t
word_length(const char *text, unsigned room)
{
    const char *end = text[0] == '`' ? strchr(text + 1, '`') : NULL;
    size_t n = end ? (size_t)(end - text) : 0;

    n += strcspn(text + n, SPACE);
    return n <= room ? n : strcspn(text, SPACE);
}

void
paragraph_wrap(FILE *out, unsigned indent, const char *text)
{
    paragraph_wrap_at(out, indent, columns, text);
}

void
paragraph_wrap_at(FILE *out, unsigned indent, unsigned wide, const char *text)
{
    struct buf lines;

    buf_init(&lines, 0);
    paragraph_add(&lines, indent, indent, wide, text);
    fputs(buf_text(&lines), out);
    buf_fini(&lines);
}

void
paragraph_add(struct buf *out, unsigned column, unsigned indent, unsigned wide, const char *text)
{
    const char *gap = "";
    struct buf word;

    buf_init(&word, 0);
    for (text += strspn(text, SPACE); *text; text += strspn(text, SPACE)) {
        size_t n = word_length(text, wide > indent ? wide - indent : 0);
        unsigned width;

        buf_clear(&word);
        width = shown_add(&word, text, n);
        if (gap[0] && column + 1 + width > wide) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            gap = "";
        }
        buf_printf(out, "%s%s", gap, buf_text(&word));
        column += (unsigned)strlen(gap) + width;
        gap = " ";
        text += n;
    }
    buf_fini(&word);
    buf_add_text(out, "\n");
}

void
paragraph_printf(FILE *out, const char *label, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    paragraph_print(out, label, text);
}
