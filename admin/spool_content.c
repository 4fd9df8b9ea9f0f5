/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Content as it goes to the backend, but for the dots: the spool keeps our lines apart from the
 * body.  Bytes are passed on as they are (P7), and for people's terminals made harmless.
 */
#include "admin/spool_content.h"

#include <stdlib.h>
#include <string.h>

#include "admin/shown.h"

#define PIECE_BYTES 65536

static int
take_prepend(struct spool_store *store, const struct spool_message *m,
             bool (*take)(void *ctx, struct slice piece), void *ctx, bool *goes_on)
{
    struct spool_envelope e;
    struct arena arena;
    int rc;

    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    rc = spool_store_envelope(store, m, &arena, &e);
    *goes_on = rc == ERR_OK && take(ctx, e.prepend);
    arena_clear(&arena);
    return rc;
}

/* Calls take(ctx, piece) for the lines on top and the body, until it returns false or `most` octets
 * of body are through. */
static int
each_piece(struct spool_store *store, const struct spool_message *m, uint64_t most,
           bool (*take)(void *ctx, struct slice piece), void *ctx)
{
    char *piece = mem_alloc(PIECE_BYTES);
    uint64_t at = 0;
    int64_t n;
    bool goes_on;

    n = take_prepend(store, m, take, ctx, &goes_on);
    while (n >= 0 && goes_on && at < most &&
           (n = spool_store_read_body(store, m, at, piece, PIECE_BYTES)) > 0) {
        goes_on = take(ctx, (struct slice){piece, (size_t)n});
        at += (uint64_t)n;
    }
    free(piece);
    return n < 0 ? (int)n : ERR_OK;
}

static bool
take_into_buf(void *ctx, struct slice piece)
{
    buf_add_slice(ctx, piece);
    return true;
}

static bool
take_into_file(void *ctx, struct slice piece)
{
    return piece.n == 0 || fwrite(piece.p, 1, piece.n, ctx) == piece.n;
}

/* Where the empty line begins; all of it if there is none. */
static size_t
end_of_headers(struct slice content)
{
    for (size_t i = 0; i < content.n; i++) {
        const char *line = content.p + i;
        const char *end = memchr(line, '\n', content.n - i);

        if (line[0] == '\n' || (line[0] == '\r' && i + 1 < content.n && line[1] == '\n'))
            return i;
        if (end == NULL)
            break;
        i = (size_t)(end - content.p);
    }
    return content.n;
}

int
spool_content_headers(struct spool_store *store, const struct spool_message *m, struct buf *headers)
{
    struct buf all;
    int rc;

    buf_init(&all, 0);
    rc = each_piece(store, m, SPOOL_CONTENT_HEADERS_MAX, take_into_buf, &all);
    if (rc == ERR_OK) {
        size_t n = end_of_headers(buf_slice(&all));

        if (n > SPOOL_CONTENT_HEADERS_MAX)
            n = SPOOL_CONTENT_HEADERS_MAX;
        buf_add(headers, buf_slice(&all).p, n);
    }
    buf_fini(&all);
    return rc;
}

int
spool_content_write(struct spool_store *store, struct spool_message *m, FILE *out)
{
    int rc = spool_store_verify_body(store, m);

    if (rc == ERR_OK)
        rc = each_piece(store, m, UINT64_MAX, take_into_file, out);
    return rc == ERR_OK && ferror(out) ? ERR_IO : rc;
}

int
spool_content_read(struct spool_store *store, struct spool_message *m, struct buf *content)
{
    int rc = spool_store_verify_body(store, m);

    return rc == ERR_OK ? each_piece(store, m, UINT64_MAX, take_into_buf, content) : rc;
}

void
spool_content_show(FILE *out, struct slice text)
{
    const unsigned char *p = (const unsigned char *)text.p;

    for (size_t i = 0; i < text.n;) {
        bool is_layout = p[i] == '\n' || p[i] == '\t';
        size_t length = is_layout ? 1 : shown_length(p + i, text.n - i);

        if (length > 0)
            fwrite(p + i, 1, length, out);
        else if (p[i] != '\r' || i + 1 == text.n || p[i + 1] != '\n')
            fprintf(out, "\\x%02x", p[i]);
        i += length ? length : 1;
    }
    if (text.n > 0 && text.p[text.n - 1] != '\n')
        fputc('\n', out);
}
