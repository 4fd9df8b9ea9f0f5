/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numbers that a test has otherwise, in developer builds alone: mostly waits of ours that are no
 * setting, for tests that have to sit them out and are about something else.
 */
#ifndef BASE_TEST_VALUE_H
#define BASE_TEST_VALUE_H

#include <inttypes.h>
#include <stdlib.h>

/* The environment's variable `name`, if it is there; else `usual`. */
static inline int64_t
test_value(const char *name, int64_t usual)
{
#ifdef POSTERN_DEVELOPER
    const char *text = getenv(name);

    return text ? strtoll(text, NULL, 10) : usual;
#else
    (void)name;
    return usual;
#endif
}

#endif
