/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every reply that Postern gives of its own, explained: `relayctl help CODE`, and the paragraphs
 * that explanations of single messages share with it.
 */
#ifndef ADMIN_REPLIES_H
#define ADMIN_REPLIES_H

#include <stdio.h>

#include "smtp/smtp_reply.h"

/* Who can do something, as a label. */
const char *replies_remedy_label(enum smtp_remedy remedy);

/* What happened and why, and what each can do. */
void replies_print_help(FILE *out, enum smtp_verdict verdict);

/* `words`: a code (550, 5.7.23, 550 5.7.23), a word (spf-fail), or a whole reply as it was pasted.
 * Prints what is known of it; ERR_NOT_FOUND: nothing is. */
MUST_USE int replies_print(FILE *out, const char *const *words, unsigned count);

#endif
