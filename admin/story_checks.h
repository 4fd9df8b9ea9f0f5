/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What was looked at, and who decided: the paragraphs of origin, checks, SPF, rule and decision.
 */
#ifndef ADMIN_STORY_CHECKS_H
#define ADMIN_STORY_CHECKS_H

#include "admin/story_event.h"

void story_checks_print(FILE *out, const json_t *event);

#endif
