/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every reply that Postern gives of its own, explained: `relayctl help CODE`, and the paragraphs
 * that explanations of single messages share with it.
 */
#ifndef ADMIN_REPLIES_H
#define ADMIN_REPLIES_H

#include <stdio.h>

#include "base/buf.h"
#include "smtp/smtp_reply.h"

/* Who can do something, as a label. */
const char *replies_remedy_label(enum smtp_remedy remedy);

/* What the words CUSTOMER, ADDRESS, ... of a remedy stand for in one case (smtp_verdict.def); "" or
 * NULL: it is not known, and the word stays. */
struct replies_case {
    const char *customer, *address, *sender, *recipient, *domain, *check, *rule, *backend;
};

/* A remedy is prose, and commands, each of which stands alone so that it can be pasted. */
struct replies_part {
    struct slice text; /* of the remedy */
    bool is_command;
};
/* The next part of *remedy, which is moved behind it; false: there is none. */
bool replies_next_part(const char **remedy, struct replies_part *part);

/* Adds one remedy to `text`, each part on a line of its own, with the words of `about` in it, which
 * may be NULL. */
void replies_add(struct buf *text, const char *remedy, const struct replies_case *about);
/* Likewise, for people; nothing if it is "". */
void replies_print_remedy(FILE *out, enum smtp_remedy who, const char *remedy,
                          const struct replies_case *about);

/* Some words are of two replies: the next from *other on that has the word of `verdict` too. */
bool replies_next_of_word(enum smtp_verdict verdict, enum smtp_verdict *other);
/* What happened and why, and what each can do.  `about` may be NULL. */
void replies_print_help(FILE *out, enum smtp_verdict verdict, const struct replies_case *about);

/* `words`: a code (550, 5.7.23, 550 5.7.23), a word (spf-fail), or a whole reply as it was pasted.
 * Prints what is known of it; ERR_NOT_FOUND: nothing is. */
MUST_USE int replies_print(FILE *out, const char *const *words, unsigned count);

#endif
