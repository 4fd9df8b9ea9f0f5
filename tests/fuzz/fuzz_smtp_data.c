/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7 as a round trip: any content with clean line ends, stuffed as our client sends it and decoded
 * as our server reads it, is the same content, once.  And hostile octets as they are: in any cut
 * the same, what is handed on holds no bare CR, bare LF or NUL, and an end is only where CR LF . CR
 * LF stands.  The first octet says how both are cut.
 */
#include "smtp/smtp_data.h"
#include "smtp/smtp_stuff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_piece(void *ctx, struct slice piece)
{
    struct buf *content = ctx;

    buf_add_slice(content, piece);
}

/* Line ends are made clean; the content ends with one. */
static void
make_clean(struct slice in, struct buf *content)
{
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '\n' || in.p[i] == '\r')
            buf_add_text(content, "\r\n");
        else if (in.p[i] != '\0')
            buf_add(content, in.p + i, 1);
    }
    if (buf_size(content) > 0)
        buf_add_text(content, "\r\n");
}

static struct slice
piece_at(struct slice s, size_t at, size_t step)
{
    return (struct slice){s.p + at, s.n - at < step ? s.n - at : step};
}

static size_t
decode(struct smtp_data *decoder, struct slice in, size_t step, bool normalise, struct buf *out)
{
    size_t used = 0;

    smtp_data_init(decoder, normalise);
    for (size_t at = 0; at < in.n && !smtp_data_ended(decoder); at += step)
        used = at + smtp_data_feed(decoder, piece_at(in, at, step), on_piece, out);
    return used;
}

static void
check_handed_on(const struct smtp_data *decoder, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        CHECK(s.p[i] != '\0');
        CHECK(s.p[i] != '\n' || (i > 0 && s.p[i - 1] == '\r'));
        CHECK(s.p[i] != '\r' || i + 1 == s.n || s.p[i + 1] == '\n');
    }
    CHECK(!smtp_data_ended(decoder) || decoder->fault || s.n == 0 || s.p[s.n - 1] == '\n');
}

static void
check_hostile(struct slice in, size_t step, bool normalise)
{
    struct smtp_data one, other;
    struct buf whole, cut;
    size_t used;

    buf_init(&whole, 0);
    buf_init(&cut, 0);
    used = decode(&one, in, in.n, normalise, &whole);
    CHECK(decode(&other, in, step, normalise, &cut) == used);
    CHECK(one.fault == other.fault && one.size_bytes == other.size_bytes);
    CHECK(smtp_data_ended(&one) == smtp_data_ended(&other));
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    CHECK(!smtp_data_ended(&one) ||
          (used >= 3 && memcmp(in.p + used - 3, ".\r\n", 3) == 0 &&
           (used == 3 || (used >= 5 && memcmp(in.p + used - 5, "\r\n", 2) == 0))));
    check_handed_on(&one, buf_slice(&whole));
    buf_fini(&whole);
    buf_fini(&cut);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = size ? 1 + data[0] % 64 : 1, used = 0;
    struct buf content, wire, back;
    struct smtp_stuff stuff;
    struct smtp_data decoder;
    struct slice s;

    if (size == 0)
        return 0;
    for (int normalise = 0; normalise < 2 && size > 1; normalise++)
        check_hostile((struct slice){(const char *)data + 1, size - 1}, step, normalise);
    buf_init(&content, 0);
    buf_init(&wire, 0);
    buf_init(&back, 0);
    make_clean((struct slice){(const char *)data + 1, size - 1}, &content);
    s = buf_slice(&content);
    smtp_stuff_init(&stuff);
    for (size_t at = 0; at < s.n; at += step)
        smtp_stuff_write(&stuff, piece_at(s, at, step), &wire);
    smtp_stuff_end(&stuff, &wire);
    buf_add_text(&wire, "QUIT\r\n");
    s = buf_slice(&wire);
    smtp_data_init(&decoder, false);
    for (size_t at = 0; at < s.n && !smtp_data_ended(&decoder); at += step)
        used = at + smtp_data_feed(&decoder, piece_at(s, at, step), on_piece, &back);
    CHECK(smtp_data_ended(&decoder) && !decoder.fault && used == s.n - 6);
    CHECK(slice_equal(buf_slice(&content), buf_slice(&back)));
    CHECK(decoder.size_bytes == buf_size(&content));
    buf_fini(&content);
    buf_fini(&wire);
    buf_fini(&back);
    return 0;
}
