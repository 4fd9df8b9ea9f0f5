/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What mdoc(7) would take for markup: a leading dot or quote, a backslash, a hyphen.  A sentence
 * begins a line, so that the formatter knows where one ends.
 */
#include "base/mdoc.h"

#include <string.h>

static void
add_octet(struct buf *out, char c)
{
    if (c == '\\')
        buf_add_text(out, "\\e");
    else if (c == '-')
        buf_add_text(out, "\\-");
    else
        buf_add(out, &c, 1);
}

void
mdoc_add(struct buf *out, const char *text)
{
    for (; *text; text++)
        add_octet(out, *text);
}

/* How much of text is a sentence with its end: a stop, and perhaps what closes a parenthesis. */
static size_t
sentence(const char *text)
{
    for (size_t n = 0; text[n]; n++)
        if (strchr(".?!", text[n]) != NULL) {
            n += strspn(text + n + 1, ")\"");
            if (text[n + 1] == ' ')
                return n + 1;
        }
    return strlen(text);
}

void
mdoc_add_lines(struct buf *out, const char *text)
{
    while (*text) {
        size_t n = sentence(text);

        if (text[0] == '.' || text[0] == '\'')
            buf_add_text(out, "\\&");
        for (; n > 0; n--)
            add_octet(out, *text++);
        buf_add_text(out, "\n");
        text += strspn(text, " ");
    }
}
