/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Octet by octet, beside the parser of replies, which forgives all of this.
 */
#include "conformance/conformance_form.h"

#include <string.h>

static const char *
end_line(struct conformance_form *f)
{
    if (f->column < 4)
        f->is_inside = false;
    f->column = 0;
    return f->last == '\r' ? NULL : "a line that ends without CR";
}

static const char *
take_separator(struct conformance_form *f, char c)
{
    const char *odd = NULL;

    f->column++;
    if (f->is_inside && memcmp(f->code, f->first, 3) != 0)
        odd = "one answer with several codes";
    if (c != ' ' && c != '-' && c != '\r')
        odd = "a code with neither a blank nor a hyphen behind it";
    memcpy(f->first, f->code, 3);
    f->is_inside = c == '-';
    return odd;
}

static const char *
take_octet(struct conformance_form *f, char c)
{
    const char *odd = NULL;

    if (c == '\n')
        odd = end_line(f);
    else if (f->column == 3)
        odd = take_separator(f, c);
    else if (f->column < 3)
        f->code[f->column++] = c;
    f->last = c;
    return odd;
}

const char *
conformance_form_take(struct conformance_form *form, struct slice octets)
{
    const char *first = NULL;

    for (size_t i = 0; i < octets.n; i++) {
        const char *odd = take_octet(form, octets.p[i]);

        if (first == NULL)
            first = odd;
    }
    return first;
}
