/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Why it was answered so, and what each can do about it.
 */
#ifndef ADMIN_STORY_HELP_H
#define ADMIN_STORY_HELP_H

#include "admin/replies.h"
#include "admin/story_why.h"

struct story_help {
    const char *word;    /* of the verdict */
    struct buf why, own; /* own: a remedy that is made of others */
    const char *remedies[SMTP_REMEDY_COUNT];
    struct replies_case about;
    char rule[STORY_WHY_RULE_SIZE]; /* that `about` has */
};

/* False: nothing was refused, or not in words that are known.  The help is borrowed from the event;
 * fini in any case. */
bool story_help_init(struct story_help *help, const json_t *event);
void story_help_fini(struct story_help *help);
/* The explanation of `event` is that of `before` too. */
bool story_help_is_same(const json_t *event, const json_t *before);
void story_help_print(FILE *out, struct story_help *help);
/* A new object: verdict, why, sender, customer, operator. */
json_t *story_help_json(struct story_help *help);

#endif
