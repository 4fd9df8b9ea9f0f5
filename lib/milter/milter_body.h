/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A new body from a filter, in passage: its line ends become CR LF whatever they are, zeros go, and
 * it ends with a line end; so no filter can make one message two (P7).
 */
#ifndef MILTER_BODY_H
#define MILTER_BODY_H

#include <stdint.h>

#include "base/slice.h"

struct milter_body {
    bool was_cr, is_in_line;
};

/* What stays goes to `on_piece` in order, as parts of `piece` or of our own. */
void milter_body_feed(struct milter_body *body, struct slice piece,
                      void (*on_piece)(void *ctx, struct slice piece), void *ctx);
void milter_body_end(struct milter_body *body, void (*on_piece)(void *ctx, struct slice piece),
                     void *ctx);

#endif
