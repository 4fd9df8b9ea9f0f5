/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Octets to packets and back.
 */
#include "milter/milter_packet.h"

#include <arpa/inet.h>
#include <stdio.h>

#define LENGTH_BYTES sizeof(uint32_t)

/* --- Commands. */

size_t
milter_packet_begin(struct buf *out, char command)
{
    size_t begun = buf_size(out);

    milter_put_u32(out, 0);
    buf_add(out, &command, 1);
    return begun;
}

void
milter_packet_end(struct buf *out, size_t begun)
{
    uint32_t length = htonl((uint32_t)(buf_size(out) - begun - LENGTH_BYTES));

    memcpy(out->mem + out->start + begun, &length, sizeof length);
}

void
milter_packet_put(struct buf *out, char command, struct slice payload)
{
    size_t begun = milter_packet_begin(out, command);

    buf_add_slice(out, payload);
    milter_packet_end(out, begun);
}

void
milter_put_string(struct buf *out, struct slice text)
{
    const char *nul = text.n ? memchr(text.p, '\0', text.n) : NULL;

    buf_add(out, text.p, nul ? (size_t)(nul - text.p) : text.n);
    buf_add(out, "", 1);
}

void
milter_put_u16(struct buf *out, uint16_t v)
{
    v = htons(v);
    buf_add(out, &v, sizeof v);
}

void
milter_put_u32(struct buf *out, uint32_t v)
{
    v = htonl(v);
    buf_add(out, &v, sizeof v);
}

/* --- Answers. */

enum milter_packet_state
milter_packet_take(struct buf *in, struct milter_packet *packet)
{
    struct slice s = buf_slice(in);
    uint32_t length;

    if (!milter_read_u32(&s, &length))
        return MILTER_PACKET_PART;
    if (length == 0 || length > MILTER_PACKET_MAX)
        return MILTER_PACKET_BAD;
    if (s.n < length)
        return MILTER_PACKET_PART;
    *packet = (struct milter_packet){s.p[0], {s.p + 1, length - 1}};
    buf_consume(in, LENGTH_BYTES + length);
    return MILTER_PACKET_WHOLE;
}

bool
milter_read_u32(struct slice *payload, uint32_t *v)
{
    if (payload->n < sizeof *v)
        return false;
    memcpy(v, payload->p, sizeof *v);
    *v = ntohl(*v);
    *payload = (struct slice){payload->p + sizeof *v, payload->n - sizeof *v};
    return true;
}

bool
milter_read_string(struct slice *payload, struct slice *text)
{
    const char *nul = payload->n ? memchr(payload->p, '\0', payload->n) : NULL;

    if (nul == NULL)
        return false;
    *text = (struct slice){payload->p, (size_t)(nul - payload->p)};
    *payload = (struct slice){nul + 1, payload->n - text->n - 1};
    return true;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static uint16_t
code_of(struct slice line)
{
    if (line.n < 3 || !is_digit(line.p[0]) || !is_digit(line.p[1]) || !is_digit(line.p[2]) ||
        (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return 0;
    return (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
}

/* "5.7.1 text": how long the code is; 0: there is none. */
static size_t
enhanced_length(struct slice text)
{
    size_t n = 0, dots = 0;

    while (n < text.n && (is_digit(text.p[n]) || text.p[n] == '.'))
        dots += text.p[n++] == '.';
    return dots == 2 && n < 12 && (n == text.n || text.p[n] == ' ') ? n : 0;
}

static struct slice
behind(struct slice s, size_t n)
{
    return n >= s.n ? (struct slice){"", 0} : (struct slice){s.p + n, s.n - n};
}

/* Of the lines behind the first the text alone. */
static void
add_line(struct buf *text, struct slice line, char enhanced[12])
{
    size_t n;

    line = slice_trim(behind(line, 4));
    n = enhanced_length(line);
    if (n > 0 && enhanced[0] == '\0')
        snprintf(enhanced, 12, SLICE_FMT, (int)n, line.p);
    line = slice_trim(behind(line, n));
    if (line.n > 0 && buf_size(text) > 0)
        buf_add_text(text, " ");
    buf_add_slice(text, line);
}

bool
milter_read_reply(struct slice payload, struct smtp_reply *reply)
{
    struct slice rest;
    char enhanced[12] = "";
    struct buf text;
    uint16_t code;

    if (!milter_read_string(&payload, &rest))
        return false;
    code = code_of(rest);
    if (code / 100 != 4 && code / 100 != 5)
        return false;
    buf_init(&text, 0);
    while (rest.p != NULL && buf_size(&text) < SMTP_REPLY_TEXT_SIZE) {
        struct slice line = slice_split(&rest, '\n');

        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        add_line(&text, line, enhanced);
    }
    *reply = smtp_reply_make(code, enhanced, buf_text(&text));
    buf_fini(&text);
    return true;
}
