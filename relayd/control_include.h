/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The SPF includes of all filters: which are wanted, what is known of each, and when it is looked
 * up again.  What is known is never emptied by a failure.
 */
#ifndef RELAYD_CONTROL_INCLUDE_H
#define RELAYD_CONTROL_INCLUDE_H

#include "relayd/control_resolve.h"

struct control_includes;

struct control_includes_ops {
    void (*on_changed)(void *ctx); /* the networks of one are others than before */
    void (*on_tried)(void *ctx);   /* there is something to tell of (control_includes_tell) */
};

struct control_includes *control_includes_new(struct loop *loop,
                                              const struct inet_endpoint *resolver,
                                              const struct control_includes_ops *ops, void *ctx);
void control_includes_free(struct control_includes **includes);

/* What the last replica or the database knows: taken if nothing is known here, or if it is newer
 * and the last look-up here failed. */
void control_includes_learn(struct control_includes *includes,
                            const struct registry_include *known);
/* Names between begin and end are wanted, a new one is looked up at once; others are forgotten. */
void control_includes_begin(struct control_includes *includes);
void control_includes_want(struct control_includes *includes, const char *name);
void control_includes_end(struct control_includes *includes);
/* Borrowed until the next turn; NULL: nothing is known. */
const struct registry_include *control_includes_find(const struct control_includes *includes,
                                                     const char *name);

/* Each outcome that has not been told yet: with `why` NULL the networks are good. */
void control_includes_tell(struct control_includes *includes,
                           void (*tell)(void *ctx, const struct registry_include *include,
                                        const char *why),
                           void *ctx);

#endif
