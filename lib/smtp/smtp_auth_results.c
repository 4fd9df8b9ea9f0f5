/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Octet by octet where a decision is near, by memchr over the rest of lines.  A field is held from
 * its first letter on if that is an A; nearly all others are let go at the second or third octet.
 *
 *   LINE --a--> NAME --results--> COLON --:--> ID --> TOKEN or QUOTED --> kept (REST) or DROP
 *     \                                          \--> COMMENT (and back)
 *      \--other--> FIRST (in the first line, until it is known to be a field), REST
 */
#include "smtp/smtp_auth_results.h"

static const char name[] = "authentication-results";
#define NAME_SIZE (sizeof name - 1)

enum filter_state {
    FILTER_LINE,    /* at the start of a line that continues nothing that is held or dropped */
    FILTER_FIRST,   /* in what may be the name of the first field */
    FILTER_SPACE,   /* behind it */
    FILTER_REST,    /* on the way to the end of a line that stays */
    FILTER_CR,      /* behind a CR at the start of a line */
    FILTER_NAME,    /* `matched` octets of the name are here; held from here on */
    FILTER_COLON,   /* behind the name */
    FILTER_ID,      /* before the id */
    FILTER_COMMENT, /* in a comment there */
    FILTER_TOKEN,   /* in the id: `matched` octets are as ours */
    FILTER_QUOTED,
    FILTER_DROP, /* in a field that is left out */
    FILTER_OVER, /* the header has ended */
};

struct output {
    void (*on_piece)(void *ctx, struct slice piece);
    void *ctx;
};

static void
put(const struct output *out, struct slice piece)
{
    if (piece.n > 0)
        out->on_piece(out->ctx, piece);
}

static bool
is_held(const struct smtp_auth_results *f)
{
    return f->state >= FILTER_NAME && f->state <= FILTER_QUOTED;
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* --- Decisions. */

static void
keep(struct smtp_auth_results *f, const struct output *out, enum filter_state next)
{
    put(out, (struct slice){f->held, f->held_count});
    f->held_count = 0;
    f->state = next;
}

static void
drop(struct smtp_auth_results *f)
{
    f->held_count = 0;
    f->removed++;
    f->state = FILTER_DROP;
}

/* A dot of the root is no other name. */
static bool
is_ours(const struct smtp_auth_results *f)
{
    return !f->is_other && f->hostname[f->matched] == '\0';
}

static void
compare(struct smtp_auth_results *f, char c)
{
    if (f->hostname[f->matched] != '\0' && lower(f->hostname[f->matched]) == lower(c))
        f->matched++;
    else if (!(c == '.' && f->hostname[f->matched] == '\0'))
        f->is_other = true;
}

static void
decide(struct smtp_auth_results *f, const struct output *out)
{
    if (is_ours(f))
        drop(f);
    else
        keep(f, out, FILTER_REST);
}

static void
begin_id(struct smtp_auth_results *f, enum filter_state state)
{
    f->state = (uint8_t)state;
    f->matched = 0;
    f->is_other = f->is_escaped = false;
}

/* --- A name that is another. */

static void
take_first(struct smtp_auth_results *f, char c)
{
    if (c == ':') {
        f->in_first_line = false;
        f->state = FILTER_REST;
    } else if (c == ' ' || c == '\t')
        f->state = FILTER_SPACE;
    else if (f->state == FILTER_SPACE || c < 33 || c == 127)
        f->state = FILTER_OVER;
}

/* What was held is not our field's name; `c`, its last octet, is what shows it. */
static void
keep_name(struct smtp_auth_results *f, char c, const struct output *out)
{
    bool is_spaced = f->state == FILTER_COLON && f->held_count > NAME_SIZE + 1;

    keep(f, out, f->in_first_line ? FILTER_FIRST : FILTER_REST);
    if (!f->in_first_line)
        return;
    if (is_spaced)
        f->state = FILTER_SPACE;
    take_first(f, c);
}

/* --- A held octet, in its state. */

static void
take_name(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (lower(c) != name[f->matched])
        keep_name(f, c, out);
    else if (++f->matched == NAME_SIZE)
        f->state = FILTER_COLON;
}

static void
take_colon(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (c == ':') {
        f->state = FILTER_ID;
        f->in_first_line = false;
    } else if (c != ' ' && c != '\t')
        keep_name(f, c, out);
}

/* RFC 2045 5.1. */
static bool
is_token_octet(char c)
{
    return c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static void
take_before_id(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (is_space(c))
        return;
    if (c == '(') {
        f->state = FILTER_COMMENT;
        f->depth = 1;
        f->is_escaped = false;
    } else if (c == '"')
        begin_id(f, FILTER_QUOTED);
    else if (is_token_octet(c)) {
        begin_id(f, FILTER_TOKEN);
        compare(f, c);
    } else
        keep(f, out, FILTER_REST);
}

static void
take_comment(struct smtp_auth_results *f, char c)
{
    if (f->is_escaped)
        f->is_escaped = false;
    else if (c == '\\')
        f->is_escaped = true;
    else if (c == '(')
        f->depth++;
    else if (c == ')' && --f->depth == 0)
        f->state = FILTER_ID;
}

static void
take_token(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (is_token_octet(c))
        compare(f, c);
    else if (is_space(c) || c == '(' || c == ';' || c == '/') /* "/": RFC 5451's version */
        decide(f, out);
    else
        keep(f, out, FILTER_REST);
}

static void
take_quoted(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (!f->is_escaped && c == '\\')
        f->is_escaped = true;
    else if (!f->is_escaped && c == '"')
        decide(f, out);
    else if (c != '\r' && c != '\n') {
        f->is_escaped = false;
        compare(f, c);
    }
}

static void
take_held(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (f->held_count == SMTP_AUTH_RESULTS_HELD) {
        drop(f);
        return;
    }
    f->held[f->held_count++] = c;
    switch ((enum filter_state)f->state) {
    case FILTER_NAME:
        take_name(f, c, out);
        return;
    case FILTER_COLON:
        take_colon(f, c, out);
        return;
    case FILTER_ID:
        take_before_id(f, c, out);
        return;
    case FILTER_COMMENT:
        take_comment(f, c);
        return;
    case FILTER_TOKEN:
        take_token(f, c, out);
        return;
    case FILTER_QUOTED:
        take_quoted(f, c, out);
        return;
    case FILTER_LINE:
    case FILTER_FIRST:
    case FILTER_SPACE:
    case FILTER_REST:
    case FILTER_CR:
    case FILTER_DROP:
    case FILTER_OVER:
        return;
    }
}

/* The field that is held ends here. */
static void
end_held(struct smtp_auth_results *f, const struct output *out)
{
    if (f->state == FILTER_TOKEN && is_ours(f))
        drop(f);
    else
        keep(f, out, FILTER_REST);
}

/* --- An octet that stays, unless it begins something. */

/* False: the octet is held. */
static bool
begin_line(struct smtp_auth_results *f, char c)
{
    if (lower(c) == name[0]) {
        f->state = FILTER_NAME;
        f->matched = 0;
        return false;
    }
    if (c == '\r')
        f->state = FILTER_CR;
    else if (!f->in_first_line)
        f->state = FILTER_REST;
    else {
        f->state = FILTER_FIRST;
        if (c == ':' || c == ' ' || c == '\t')
            f->state = FILTER_OVER;
        else
            take_first(f, c);
    }
    return true;
}

/* The start of a line ends what the line before was part of, unless it is folded. */
static void
unfold(struct smtp_auth_results *f, char c, const struct output *out)
{
    bool is_folded = c == ' ' || c == '\t';

    if (is_held(f) && !is_folded)
        end_held(f, out);
    if (f->state == FILTER_DROP && !is_folded)
        f->state = FILTER_LINE;
    if (f->state == FILTER_REST)
        f->state = is_folded ? FILTER_REST : FILTER_LINE;
}

/* True: the octet stays, and lies in the input. */
static bool
take(struct smtp_auth_results *f, char c, const struct output *out)
{
    if (f->is_line_end)
        unfold(f, c, out);
    f->is_line_end = c == '\n';
    if (f->state == FILTER_CR)
        f->state = c == '\n' ? FILTER_OVER : FILTER_REST;
    else if (f->state == FILTER_FIRST || f->state == FILTER_SPACE)
        take_first(f, c);
    else if (f->state == FILTER_LINE && begin_line(f, c))
        return true;
    if (f->state == FILTER_DROP)
        return false;
    if (!is_held(f))
        return true;
    take_held(f, c, out);
    return false;
}

void
smtp_auth_results_init(struct smtp_auth_results *filter, const char *hostname)
{
    *filter = (struct smtp_auth_results){
        .hostname = hostname,
        .in_first_line = true,
        .state = hostname[0] != '\0' ? FILTER_LINE : FILTER_OVER,
    };
}

/* To the end of a line that stays, or of the piece. */
static const char *
skip_rest(const struct smtp_auth_results *f, const char *p, const char *end)
{
    const char *lf = NULL;

    if (f->state == FILTER_REST)
        lf = f->is_line_end ? p : memchr(p, '\n', (size_t)(end - p));
    return lf != NULL ? lf : end;
}

void
smtp_auth_results_feed(struct smtp_auth_results *filter, struct slice piece,
                       void (*on_piece)(void *ctx, struct slice piece), void *ctx)
{
    struct output out = {on_piece, ctx};
    const char *p = piece.p, *end = piece.p + piece.n, *stays = p;

    while (p < end) {
        if (filter->state == FILTER_OVER || filter->state == FILTER_REST)
            p = skip_rest(filter, p, end);
        if (p == end)
            break;
        if (!take(filter, *p, &out)) {
            /* What came before it goes first: take() has only held it, or let go what was held. */
            put(&out, (struct slice){stays, (size_t)(p - stays)});
            stays = p + 1;
        }
        p++;
    }
    put(&out, (struct slice){stays, (size_t)(end - stays)});
}

void
smtp_auth_results_end(struct smtp_auth_results *filter,
                      void (*on_piece)(void *ctx, struct slice piece), void *ctx)
{
    struct output out = {on_piece, ctx};

    if (is_held(filter))
        end_held(filter, &out);
}
