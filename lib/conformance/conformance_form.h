/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What of a server's answers the standard does not permit, though it can be read (RFC 5321 4.2).
 */
#ifndef CONFORMANCE_FORM_H
#define CONFORMANCE_FORM_H

#include "base/slice.h"

/* Where an answer stands; zero is a fresh one. */
struct conformance_form {
    unsigned column;
    char code[3], first[3]; /* of this line, and of the answer's line before */
    bool is_inside;         /* of an answer with several lines */
    char last;
};

/* The next octets, in any cut.  What is odd in them, a static text; NULL: nothing. */
const char *conformance_form_take(struct conformance_form *form, struct slice octets);

#endif
