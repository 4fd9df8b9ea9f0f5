/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of RFC 5321 4.1.2, one small function a production.  Each takes the scanner, moves it
 * behind what it has recognised and says whether it did; nothing is ever copied before it was
 * recognised whole.
 *
 * What is judged elsewhere: whether a local part may hold % ! / | @ (policy), whether a domain of
 * one label is good for anything (policy), SMTPUTF8 (the engine).  Octets above 0x7f are accepted
 * where RFC 6531 3.3 has them, if they are well-formed UTF-8, and flagged.  Control octets are in
 * no production, so they are refused everywhere.
 */
#include "smtp/smtp_path.h"

#include <assert.h>

struct scan {
    const char *p;
    const char *end;
};

static bool
take(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool
is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool
is_atext(unsigned char c) /* RFC 5322 3.2.3 */
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_qtext(unsigned char c) /* qtextSMTP: 32-33, 35-91, 93-126 */
{
    return c >= 32 && c <= 126 && c != '"' && c != '\\';
}

/* By the table of Unicode 3.9: no overlong form, no surrogate, nothing above U+10FFFF. */
size_t
smtp_utf8_length(struct slice s)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high, length;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (s.n < forms[i].length || p[0] < forms[i].first_low || p[0] > forms[i].first_high ||
            p[1] < forms[i].second_low || p[1] > forms[i].second_high)
            continue;
        for (unsigned k = 2; k < forms[i].length; k++)
            if (p[k] < 0x80 || p[k] > 0xbf)
                return 0;
        return forms[i].length;
    }
    return 0;
}

static bool
take_utf8(struct scan *s)
{
    size_t n = smtp_utf8_length((struct slice){s->p, (size_t)(s->end - s->p)});

    s->p += n;
    return n > 0;
}

/* A run of `is_member` or UTF-8; false if it is empty. */
static bool
take_run(struct scan *s, bool (*is_member)(unsigned char))
{
    const char *start = s->p;

    while (s->p < s->end) {
        if (is_member((unsigned char)*s->p))
            s->p++;
        else if (!take_utf8(s))
            break;
    }
    return s->p > start;
}

static bool
take_dot_string(struct scan *s)
{
    do {
        if (!take_run(s, is_atext))
            return false;
    } while (take(s, '.'));
    return true;
}

static bool
take_quoted_string(struct scan *s)
{
    if (!take(s, '"'))
        return false;
    while (!take(s, '"')) {
        if (take(s, '\\')) {
            if (s->p == s->end || *s->p < 32 || *s->p > 126) /* quoted-pairSMTP */
                return false;
            s->p++;
        } else if (!take_run(s, is_qtext))
            return false;
    }
    return true;
}

static bool
take_local(struct scan *s)
{
    const char *start = s->p;
    bool ok = s->p < s->end && *s->p == '"' ? take_quoted_string(s) : take_dot_string(s);

    return ok && s->p - start <= SMTP_LOCAL_MAX;
}

/* inet_domain_normalize wants two labels, which is a rule of the registry; RFC 5321 4.1.2 is
 * content with one, so a lone label is normalised in company. */
static bool
normalize_domain(struct slice s, char dst[INET_DOMAIN_SIZE])
{
    static const char company[] = ".example";
    char text[256 + sizeof company];
    const char *why;
    size_t n;

    if (s.n == 0 || s.n > 255 || s.p[s.n - 1] == '.')
        return false;
    if (memchr(s.p, '.', s.n) != NULL)
        return inet_domain_normalize(s, dst, &why) == ERR_OK;
    memcpy(text, s.p, s.n);
    memcpy(text + s.n, company, sizeof company);
    if (inet_domain_normalize(slice_of(text), dst, &why) < 0)
        return false;
    n = strlen(dst);
    CHECK(n >= sizeof company);
    dst[n - (sizeof company - 1)] = '\0';
    return true;
}

static bool
is_domain_octet(unsigned char c)
{
    return is_alnum(c) || c == '-' || c == '.' || c == '_'; /* '_': common, harmless, not RFC */
}

/* dst may be NULL: the names of a source route are recognised and dropped. */
static bool
take_domain(struct scan *s, char dst[INET_DOMAIN_SIZE])
{
    char scratch[INET_DOMAIN_SIZE];
    const char *start = s->p;

    if (!take_run(s, is_domain_octet))
        return false;
    return normalize_domain((struct slice){start, (size_t)(s->p - start)}, dst ? dst : scratch);
}

/* The inside of an address literal (RFC 5321 4.1.3). */
static bool
parse_address_literal(struct slice s, struct inet_endpoint *e)
{
    static const struct slice tag = {"IPv6:", 5};
    unsigned colons = 0;

    if (memchr(s.p, '[', s.n) != NULL)
        return false;
    if (!slice_starts_nocase(s, tag))
        return memchr(s.p, ':', s.n) == NULL && inet_endpoint_parse(s, 25, e) == ERR_OK;
    s.p += tag.n;
    s.n -= tag.n;
    for (size_t i = 0; i < s.n; i++)
        colons += s.p[i] == ':';
    return colons >= 2 && inet_endpoint_parse(s, 25, e) == ERR_OK;
}

/* General-address-literal: a tag (Ldh-str), a colon, dcontent.  No other tag is registered; it is
 * taken, kept as it is, and equal to no domain of anybody. */
static bool
is_general_literal(struct slice s)
{
    struct slice content = s, tag = slice_split(&content, ':');

    if (content.p == NULL || tag.n == 0 || content.n == 0 || tag.p[tag.n - 1] == '-' ||
        slice_equal_nocase(tag, SLICE("IPv6")))
        return false;
    for (size_t i = 0; i < tag.n; i++)
        if (!is_alnum((unsigned char)tag.p[i]) && tag.p[i] != '-')
            return false;
    for (size_t i = 0; i < content.n; i++) {
        unsigned char c = (unsigned char)content.p[i];

        if (c < 33 || c > 126 || c == '[' || c == '\\' || c == ']')
            return false;
    }
    return true;
}

static bool
take_literal(struct scan *s, char dst[INET_DOMAIN_SIZE])
{
    const char *start = s->p, *close;
    struct slice inside;
    struct inet_endpoint e;

    if (!take(s, '['))
        return false;
    close = memchr(s->p, ']', (size_t)(s->end - s->p));
    if (close == NULL || close == s->p)
        return false;
    inside = (struct slice){start + 1, (size_t)(close - start) - 1};
    static_assert(INET_DOMAIN_SIZE >= INET_ENDPOINT_SIZE, "a literal is stored as a domain");
    s->p = close + 1;
    if (parse_address_literal(inside, &e)) {
        inet_literal_text(&e, dst);
        return true;
    }
    return inet_endpoint_parse(inside, 25, &e) < 0 /* IPv6 without its tag */ &&
           is_general_literal(inside) &&
           slice_to_text((struct slice){start, (size_t)(s->p - start)}, dst, INET_DOMAIN_SIZE);
}

static bool
keep_text(struct smtp_path *path, const char *start, const char *end)
{
    struct slice text = {start, (size_t)(end - start)};

    path->needs_smtputf8 = !slice_is_ascii(text);
    return text.n + 2 <= SMTP_PATH_MAX && slice_to_text(text, path->text, sizeof path->text);
}

static bool
take_mailbox(struct scan *s, struct smtp_path *path)
{
    const char *start = s->p;

    if (!take_local(s))
        return false;
    path->local_length = (uint16_t)(s->p - start);
    if (!take(s, '@'))
        return false;
    if (s->p < s->end && *s->p == '[') {
        if (!take_literal(s, path->domain))
            return false;
    } else if (!take_domain(s, path->domain))
        return false;
    return keep_text(path, start, s->p);
}

/* A-d-l ":", "@one,@two:"; ignored as RFC 5321 appendix C asks. */
static bool
take_source_route(struct scan *s)
{
    do {
        if (!take(s, '@') || !take_domain(s, NULL))
            return false;
    } while (take(s, ','));
    return take(s, ':');
}

static bool
take_postmaster(struct scan *s, struct smtp_path *path)
{
    static const struct slice word = {"postmaster", 10};
    struct slice rest = {s->p, (size_t)(s->end - s->p)};

    if (rest.n <= word.n || rest.p[word.n] != '>' || !slice_starts_nocase(rest, word))
        return false;
    path->is_postmaster = true;
    path->local_length = (uint16_t)word.n;
    s->p += word.n;
    return keep_text(path, rest.p, s->p);
}

static bool
take_path(struct scan *s, struct smtp_path *path)
{
    if (s->p < s->end && *s->p == '@' && !take_source_route(s))
        return false;
    return take_mailbox(s, path);
}

static bool
take_null(struct scan *s, struct smtp_path *path)
{
    path->is_null = s->p < s->end && *s->p == '>';
    return path->is_null;
}

/* `special` is the form that only this kind of path has. */
static int
parse_path(struct slice text, struct smtp_path *path, size_t *consumed,
           bool (*special)(struct scan *, struct smtp_path *))
{
    struct scan s = {text.p, text.p + text.n};

    *path = (struct smtp_path){0};
    *consumed = 0;
    if (text.n == 0 || !take(&s, '<') || !(special(&s, path) || take_path(&s, path)) ||
        !take(&s, '>')) {
        *path = (struct smtp_path){0};
        return ERR_SYNTAX;
    }
    *consumed = (size_t)(s.p - text.p);
    return ERR_OK;
}

int
smtp_path_parse_reverse(struct slice s, struct smtp_path *path, size_t *consumed)
{
    return parse_path(s, path, consumed, take_null);
}

int
smtp_path_parse_forward(struct slice s, struct smtp_path *path, size_t *consumed)
{
    return parse_path(s, path, consumed, take_postmaster);
}

int
smtp_path_parse_mailbox(struct slice text, struct smtp_path *path)
{
    struct scan s = {text.p, text.p + text.n};

    *path = (struct smtp_path){0};
    if (text.n == 0 || !take_mailbox(&s, path) || s.p != s.end) {
        *path = (struct smtp_path){0};
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

/* The quotes of a local part are not part of its meaning (RFC 5321 4.1.2): "joe"@a is joe@a. */
void
smtp_path_key(const struct smtp_path *path, char dst[SMTP_PATH_SIZE])
{
    const char *p = path->text, *end = path->text + path->local_length;
    bool quoted = p < end && *p == '"';
    char *q = dst;

    for (p += quoted, end -= quoted; p < end; p++) {
        if (quoted && *p == '\\')
            p++;
        *q++ = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    }
    if (path->domain[0] != '\0') {
        size_t n = strlen(path->domain);

        *q++ = '@';
        memcpy(q, path->domain, n);
        q += n;
    }
    *q = '\0';
}
