/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who came and what was asked: the paragraphs of the sending server, the sender, the recipients and
 * the connection.
 */
#ifndef ADMIN_STORY_WHO_H
#define ADMIN_STORY_WHO_H

#include "admin/story_event.h"

void story_who_print(FILE *out, const json_t *event);
void story_who_print_asked(FILE *out, const json_t *event);
/* `connection`: its event. */
void story_who_print_connection(FILE *out, const json_t *connection);
/* Adds all of them, each in brackets. */
void story_who_add_recipients(struct buf *b, const json_t *event);

#endif
