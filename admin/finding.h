/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How one finding of a test looks to people.
 */
#ifndef ADMIN_FINDING_H
#define ADMIN_FINDING_H

#include "admin/printer.h"

struct finding {
    const char *check, *verdict;
    const char *text, *detail; /* detail "": none */
    const char *before;        /* what it was before, as a sentence; "": nothing is said */
    const char *remedy;
};

/* Some lines of at most 80 columns; a remedy only where something is not as it should be. */
void finding_print(const struct printer_settings *settings, const struct finding *finding);

#endif
