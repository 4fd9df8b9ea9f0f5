/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A borrowed run of bytes, never NUL-terminated by promise.  Text from a peer travels as a slice
 * until it is parsed.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_FMT "%.*s"
#define SLICE_ARG(s) (int)(s).n, (s).p

static inline struct slice
slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

bool slice_equal(struct slice a, struct slice b);
bool slice_equal_nocase(struct slice a,
                        struct slice b); /* ASCII letters only, never the locale's */
bool slice_starts_nocase(struct slice s, struct slice prefix);
struct slice slice_trim(struct slice s);    /* spaces and tabs at both ends */
bool slice_is_ascii(struct slice s);        /* no octet above 127; control octets may be there */
size_t slice_count(struct slice s, char c); /* how often it is there */

/* Cuts the part before the first `sep` off *rest and returns it; the last part leaves *rest with p
 * == NULL. */
struct slice slice_split(struct slice *rest, char sep);

/* Copies into a char array with a NUL behind; false (and an empty string) if it does not fit or
 * holds a NUL. */
bool slice_to_text(struct slice s, char *dst, size_t dst_size);

#endif
