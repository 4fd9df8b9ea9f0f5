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

void
paragraph_print(FILE *out, const char *label, const char *text)
{
    fprintf(out, "%-*s", PARAGRAPH_INDENT, label);
    paragraph_wrap(out, PARAGRAPH_INDENT, text);
}

void
paragraph_wrap(FILE *out, unsigned indent, const char *text)
{
    unsigned column = indent;
    const char *gap = "";
    struct buf word;

    buf_init(&word, 0);
    for (text += strspn(text, SPACE); *text; text += strspn(text, SPACE)) {
        size_t n = strcspn(text, SPACE);
        unsigned width;

        buf_clear(&word);
        width = shown_add(&word, text, n);
        if (gap[0] && column + 1 + width > PARAGRAPH_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            gap = "";
        }
        fprintf(out, "%s%s", gap, buf_text(&word));
        column += (unsigned)strlen(gap) + width;
        gap = " ";
        text += n;
    }
    buf_fini(&word);
    fputc('\n', out);
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
