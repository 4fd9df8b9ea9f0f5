/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Encoded words end between characters (RFC 2047 5), and quoted lines at 76 columns.
 */
#include "notice/notice_mime.h"

#include "base/base64.h"

#define LINE_MOST 76
#define SUBJECT_MOST 900 /* of one line (RFC 5322 2.1.1: 998) */
#define WORD_OCTETS 39   /* 52 in base64, and "=?UTF-8?B?" "?=" around it: 64 */

static bool
is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80 || (unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    return true;
}

/* Octets of the character at `at`; 0: it is none. */
static size_t
character(struct slice text, size_t at)
{
    unsigned char c = (unsigned char)text.p[at];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;

    if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || at + n > text.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)text.p[at + i] & 0xc0) != 0x80)
            return 0;
    if (n == 3 && ((c == 0xe0 && (unsigned char)text.p[at + 1] < 0xa0) ||
                   (c == 0xed && (unsigned char)text.p[at + 1] >= 0xa0)))
        return 0; /* overlong, or a surrogate */
    if (n == 4 && ((c == 0xf0 && (unsigned char)text.p[at + 1] < 0x90) ||
                   (c == 0xf4 && (unsigned char)text.p[at + 1] >= 0x90)))
        return 0;
    return n;
}

void
notice_mime_clean(struct buf *out, struct slice text, size_t most)
{
    size_t before = buf_size(out);

    for (size_t at = 0, n; at < text.n; at += n ? n : 1) {
        unsigned char c = (unsigned char)text.p[at];
        bool is_good;

        n = character(text, at);
        is_good = n > 1 || (n == 1 && c >= ' ' && c != 0x7f);
        if (buf_size(out) - before + (is_good ? n : 1) > most)
            return;
        if (is_good)
            buf_add(out, text.p + at, n);
        else
            buf_add(out, "?", 1);
    }
}

void
notice_mime_subject(struct buf *out, struct slice text)
{
    size_t begin = 0;

    if (is_ascii(text) && text.n <= SUBJECT_MOST) {
        buf_add_slice(out, text);
        return;
    }
    while (begin < text.n) {
        size_t end = begin;

        while (end < text.n) {
            size_t n = character(text, end);

            n = n ? n : 1;
            if (end + n - begin > WORD_OCTETS)
                break;
            end += n;
        }
        buf_add_text(out, begin > 0 ? "\r\n =?UTF-8?B?" : "=?UTF-8?B?");
        base64_add(out, (struct slice){text.p + begin, end - begin});
        buf_add_text(out, "?=");
        begin = end;
    }
}

/* As it stands in a line; the last one of a line must be no space (RFC 2045 6.7 rule 3). */
static size_t
quote(char dst[4], struct slice text, size_t at)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char c = (unsigned char)text.p[at];
    bool is_last = at + 1 == text.n || text.p[at + 1] == '\n';

    if ((c > ' ' && c < 0x7f && c != '=') || (c == ' ' && !is_last)) {
        dst[0] = (char)c;
        return 1;
    }
    dst[0] = '=';
    dst[1] = hex[c >> 4];
    dst[2] = hex[c & 15];
    return 3;
}

void
notice_mime_quoted(struct buf *out, struct slice text)
{
    size_t column = 0;

    for (size_t at = 0; at < text.n; at++) {
        char piece[4];
        size_t n;

        if (text.p[at] == '\n') {
            buf_add_text(out, "\r\n");
            column = 0;
            continue;
        }
        n = quote(piece, text, at);
        if (column + n > LINE_MOST - 1) {
            buf_add_text(out, "=\r\n");
            column = 0;
        }
        buf_add(out, piece, n);
        column += n;
    }
}
