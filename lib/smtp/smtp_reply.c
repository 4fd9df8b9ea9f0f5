/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Replies as values: the verdict table, writing, the round trip through text, and the parser of a
 * peer's replies.  Every text that enters a reply passes `clean`, so that a reply can be written to
 * a peer, a log or a list without a further look: it is printable ASCII on one line.  An enhanced
 * code is taken as one only if its class is that of the code (RFC 2034 4); else it stays text.
 *
 * The parser keeps at most one line; what is longer is cut there and the rest thrown away.
 */
#include "smtp/smtp_reply.h"

#include <stdio.h>

#include "base/clock.h"

#define REPLY_OCTETS_MAX (512 * 1024) /* a peer that never ends its reply is no SMTP server */

struct verdict_row {
    uint16_t code;
    struct smtp_enhanced enhanced;
    const char *word, *text, *help, *remedies[SMTP_REMEDY_COUNT];
};

static const struct verdict_row verdicts[] = {
#define VERDICT(id, code, class, subject, detail, word, text, help, sender, customer, operator) \
    [SMTP_VERDICT_##                                                                            \
        id] = {code, {class, subject, detail}, word, text, help, {sender, customer, operator} },
#include "smtp/smtp_verdict.def"
#undef VERDICT
};
_Static_assert(ARRAY_SIZE(verdicts) == SMTP_VERDICT_COUNT, "one row a verdict");

static const struct verdict_row *
verdict_row(enum smtp_verdict verdict)
{
    CHECK((unsigned)verdict < SMTP_VERDICT_COUNT);
    return &verdicts[verdict];
}

const char *
smtp_verdict_word(enum smtp_verdict verdict)
{
    return verdict_row(verdict)->word;
}

const char *
smtp_verdict_help(enum smtp_verdict verdict)
{
    return verdict_row(verdict)->help;
}

const char *
smtp_verdict_remedy(enum smtp_verdict verdict, enum smtp_remedy remedy)
{
    return verdict_row(verdict)->remedies[remedy];
}

int
smtp_verdict_find(const char *word, uint16_t code, enum smtp_verdict *verdict)
{
    for (unsigned v = *verdict; v < SMTP_VERDICT_COUNT; v++)
        if (strcmp(verdicts[v].word, word) == 0 && (code == 0 || verdicts[v].code == code)) {
            *verdict = (enum smtp_verdict)v;
            return ERR_OK;
        }
    return ERR_NOT_FOUND;
}

/* --- Making. */
static char
clean(char c)
{
    if (c == '\t')
        return ' ';
    return c >= 0x20 && c <= 0x7e ? c : '?';
}

/* Appends as much of `s` as fits, cleaned. */
static void
append_text(struct smtp_reply *reply, struct slice s)
{
    size_t used = strlen(reply->text);
    size_t room = sizeof reply->text - 1 - used;

    if (s.n > room)
        s.n = room;
    for (size_t i = 0; i < s.n; i++)
        reply->text[used + i] = clean(s.p[i]);
    reply->text[used + s.n] = '\0';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Cuts one to three digits off the front. */
static bool
take_number(struct slice *s, uint16_t *value)
{
    size_t n = 0;

    *value = 0;
    while (n < s->n && n < 3 && is_digit(s->p[n]))
        *value = (uint16_t)(*value * 10 + (s->p[n++] - '0'));
    s->p += n;
    s->n -= n;
    return n > 0;
}

static bool
take_dot(struct slice *s)
{
    if (s->n == 0 || s->p[0] != '.')
        return false;
    s->p++;
    s->n--;
    return true;
}

/* Cuts "5.7.1 " off the front if it is an enhanced code of `code`'s class (RFC 3463 2). */
static bool
take_enhanced(struct slice *s, uint16_t code, struct smtp_enhanced *enhanced)
{
    struct slice rest = *s;
    uint16_t class, subject, detail;

    if (!take_number(&rest, &class) || !take_dot(&rest) || !take_number(&rest, &subject) ||
        !take_dot(&rest) || !take_number(&rest, &detail))
        return false;
    if (rest.n > 0 && rest.p[0] != ' ' && rest.p[0] != '\t')
        return false;
    if (class != code / 100 || (class != 2 && class != 4 && class != 5))
        return false;
    *enhanced = (struct smtp_enhanced){(uint8_t) class, subject, detail};
    if (rest.n > 0) {
        rest.p++;
        rest.n--;
    }
    *s = rest;
    return true;
}

struct smtp_reply
smtp_verdict_reply(enum smtp_verdict verdict)
{
    const struct verdict_row *row = verdict_row(verdict);
    struct smtp_reply reply = {.code = row->code, .enhanced = row->enhanced};

    append_text(&reply, slice_of(row->text));
    return reply;
}

static bool
is_made_of(const struct smtp_reply *reply, const struct smtp_reply *own)
{
    return reply->code == own->code && reply->enhanced.class == own->enhanced.class &&
           reply->enhanced.subject == own->enhanced.subject &&
           reply->enhanced.detail == own->enhanced.detail &&
           strncmp(reply->text, own->text, strlen(own->text)) == 0;
}

const char *
smtp_reply_word(const struct smtp_reply *reply)
{
    const char *word = "other";
    size_t longest = 0;

    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++) {
        struct smtp_reply own = smtp_verdict_reply((enum smtp_verdict)v);

        if (strlen(own.text) < longest || !is_made_of(reply, &own))
            continue;
        longest = strlen(own.text);
        word = smtp_verdict_word((enum smtp_verdict)v);
    }
    return word;
}

struct smtp_reply
smtp_reply_make(uint16_t code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = {.code = code};
    struct slice s = slice_of(enhanced);

    if (enhanced != NULL)
        take_enhanced(&s, code, &reply.enhanced);
    append_text(&reply, slice_of(text));
    return reply;
}

struct smtp_reply
smtp_reply_queued(const char *ref, int64_t until_ms)
{
    char when[CLOCK_LOCAL_SIZE], text[120];

    snprintf(text, sizeof text, "[%s] queued until %s", ref, clock_local(until_ms, when));
    return smtp_reply_make(250, "2.0.0", text);
}

void
smtp_reply_add_ref(struct smtp_reply *reply, struct ref ref)
{
    char text[REF_SIZE], tail[REF_SIZE + 4];
    size_t used = strlen(reply->text), tail_length;

    tail_length =
        (size_t)snprintf(tail, sizeof tail, "%s[%s]", used ? " " : "", ref_text(ref, text));
    if (used > sizeof reply->text - 1 - tail_length)
        reply->text[sizeof reply->text - 1 - tail_length] = '\0';
    append_text(reply, slice_of(tail));
}

/* --- Writing. */
const char *
smtp_reply_text(const struct smtp_reply *reply, char *dst, size_t dst_size)
{
    const struct smtp_enhanced *e = &reply->enhanced;
    const char *gap = reply->text[0] ? " " : "";

    if (reply->code == 0)
        snprintf(dst, dst_size, "%s", reply->text);
    else if (e->class == 0)
        snprintf(dst, dst_size, "%03u%s%s", reply->code, gap, reply->text);
    else
        snprintf(dst, dst_size, "%03u %u.%u.%u%s%s", reply->code, e->class, e->subject, e->detail,
                 gap, reply->text);
    return dst;
}

void
smtp_reply_write(const struct smtp_reply *reply, struct buf *out)
{
    char line[SMTP_REPLY_LINE_SIZE];

    CHECK(reply->code != 0);
    buf_add_text(out, smtp_reply_text(reply, line, sizeof line));
    buf_add(out, "\r\n", 2);
}

/* --- Reading. */

/* Cuts the three digits off. */
static bool
take_code(struct slice *s, uint16_t *code)
{
    if (s->n < 3 || !is_digit(s->p[0]) || !is_digit(s->p[1]) || !is_digit(s->p[2]))
        return false;
    return take_number(s, code);
}

int
smtp_reply_from_text(struct slice text, struct smtp_reply *reply)
{
    *reply = (struct smtp_reply){0};
    if (take_code(&text, &reply->code)) {
        if (text.n > 0 && text.p[0] != ' ')
            return ERR_SYNTAX;
        if (text.n > 0) {
            text.p++;
            text.n--;
        }
        take_enhanced(&text, reply->code, &reply->enhanced);
    } else if (text.n > 0 && is_digit(text.p[0]))
        return ERR_SYNTAX;
    append_text(reply, text);
    return ERR_OK;
}

void
smtp_reply_parser_init(struct smtp_reply_parser *p)
{
    p->reply = (struct smtp_reply){0};
    p->line_length = 0;
    p->lines = 0;
    p->octets = 0;
    p->overlong = false;
}

/* Keeps as much of the piece as the line has room for. */
static void
keep(struct smtp_reply_parser *p, struct slice piece)
{
    size_t room = sizeof p->line - p->line_length;

    if (piece.n > room) {
        piece.n = room;
        p->overlong = true;
    }
    memcpy(p->line + p->line_length, piece.p, piece.n);
    p->line_length = (uint16_t)(p->line_length + piece.n);
}

static struct slice
finish_line(struct smtp_reply_parser *p)
{
    struct slice line = {p->line, p->line_length};

    while (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    p->line_length = 0;
    if (p->lines++ == 0)
        p->reply = (struct smtp_reply){0};
    return line;
}

/* One whole line; *last says whether it ends the reply. */
static int
parse_line(struct smtp_reply_parser *p, struct slice line, bool *last, struct slice *text)
{
    struct smtp_reply *reply = &p->reply;

    if (p->lines > SMTP_REPLY_LINES_MAX || !take_code(&line, &reply->code))
        return ERR_SYNTAX;
    *last = line.n == 0 || line.p[0] != '-';
    if (line.n > 0 && (line.p[0] == '-' || line.p[0] == ' ')) {
        line.p++;
        line.n--;
    }
    *text = line = slice_trim(line);
    take_enhanced(&line, reply->code, &reply->enhanced);
    line = slice_trim(line);
    if (reply->text[0] != '\0' && line.n > 0)
        append_text(reply, SLICE(" "));
    append_text(reply, line);
    return ERR_OK;
}

/* Lines of one reply may have different codes, and the last one counts: what was an enhanced code
 * of the first may be none of it, and what was text before may be one. */
static void
settle_enhanced(struct smtp_reply *reply)
{
    struct slice text = slice_of(reply->text);

    if (reply->enhanced.class == reply->code / 100)
        return;
    reply->enhanced = (struct smtp_enhanced){0};
    if (take_enhanced(&text, reply->code, &reply->enhanced))
        memmove(reply->text, text.p, text.n + 1);
}

static void
finish_reply(struct smtp_reply_parser *p)
{
    settle_enhanced(&p->reply);
    p->lines = 0;
    p->octets = 0;
}

int
smtp_reply_parse(struct smtp_reply_parser *p, struct slice input, size_t *consumed,
                 void (*each_line)(void *ctx, struct slice text), void *ctx)
{
    struct slice rest = input;
    bool last = false;

    *consumed = 0;
    if (p->lines == 0 && p->line_length == 0)
        p->overlong = false;
    while (!last) {
        const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
        struct slice piece = {rest.p, end ? (size_t)(end - rest.p) : rest.n}, text;
        size_t used = piece.n + (end != NULL);

        if (piece.n > 0)
            keep(p, piece);
        *consumed += used;
        if (used > REPLY_OCTETS_MAX - p->octets)
            return ERR_SYNTAX;
        p->octets += (uint32_t)used;
        if (end == NULL)
            return ERR_AGAIN;
        rest.p += used;
        rest.n -= used;
        if (parse_line(p, finish_line(p), &last, &text) < 0)
            return ERR_SYNTAX;
        if (each_line != NULL)
            each_line(ctx, text);
    }
    finish_reply(p);
    return ERR_OK;
}
