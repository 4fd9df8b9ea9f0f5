/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A CR is held back until it is known what follows it.
 */
#include "milter/milter_body.h"

static size_t
text_length(struct slice s)
{
    size_t n = 0;

    while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n' && s.p[n] != '\0')
        n++;
    return n;
}

void
milter_body_feed(struct milter_body *body, struct slice s,
                 void (*on_piece)(void *ctx, struct slice piece), void *ctx)
{
    while (s.n > 0) {
        size_t n = text_length(s);

        if (body->was_cr || (n == 0 && s.p[0] == '\n')) {
            on_piece(ctx, SLICE("\r\n"));
            body->is_in_line = false;
            n = s.p[0] == '\n'; /* else it was a CR alone */
            body->was_cr = false;
        } else if (n == 0) {
            body->was_cr = s.p[0] == '\r';
            n = 1;
        } else {
            on_piece(ctx, (struct slice){s.p, n});
            body->is_in_line = true;
        }
        s.p += n;
        s.n -= n;
    }
}

void
milter_body_end(struct milter_body *body, void (*on_piece)(void *ctx, struct slice piece),
                void *ctx)
{
    if (body->was_cr || body->is_in_line)
        on_piece(ctx, SLICE("\r\n"));
    *body = (struct milter_body){.was_cr = false};
}
