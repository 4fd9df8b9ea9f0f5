/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Why a reply was given in this case: the sentence of smtp_verdict.def with what the event knows in
 * place of the possibilities.
 */
#ifndef ADMIN_STORY_WHY_H
#define ADMIN_STORY_WHY_H

#include "admin/story_event.h"
#include "smtp/smtp_reply.h"

/* Adds it. */
void story_why_add(struct buf *why, const json_t *event, enum smtp_verdict verdict);
/* The address that was judged, behind a filter too; what the rule is of, "" if none decided. */
const char *story_why_address(const json_t *event);
#define STORY_WHY_RULE_SIZE 128
const char *story_why_rule(const json_t *event, char dst[STORY_WHY_RULE_SIZE]);

#endif
