/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Words one by one; their width is counted in characters.
 */
#include "admin/paragraph.h"

#include <stdarg.h>
#include <string.h>

#define TEXT_SIZE 4096
#define SPACE " \t\r\n"

/* Octets at `p` that a terminal only shows, as one character; 0: control characters of ASCII and of
 * Latin 1, in UTF-8. */
static size_t
shown_length(const unsigned char *p, size_t n)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (length == 1)
        return p[0] >= 0x20 && p[0] != 0x7f;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n || (p[0] == 0xc2 && p[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Writes one word, or with `out` NULL only measures it; returns its width. */
static unsigned
put_word(FILE *out, const char *word, size_t n)
{
    unsigned width = 0;

    for (size_t i = 0; i < n;) {
        const unsigned char *p = (const unsigned char *)word + i;
        size_t length = shown_length(p, n - i);

        width += length ? 1 : 4;
        if (out && length)
            fwrite(p, 1, length, out);
        else if (out)
            fprintf(out, "\\x%02x", *p);
        i += length ? length : 1;
    }
    return width;
}

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

    for (text += strspn(text, SPACE); *text; text += strspn(text, SPACE)) {
        size_t n = strcspn(text, SPACE);
        unsigned width = put_word(NULL, text, n);

        if (gap[0] && column + 1 + width > PARAGRAPH_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            gap = "";
        }
        column += (unsigned)fprintf(out, "%s", gap) + width;
        put_word(out, text, n);
        gap = " ";
        text += n;
    }
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
