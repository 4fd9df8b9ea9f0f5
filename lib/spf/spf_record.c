/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of RFC 7208 12, one function a rule, over slices.  libspf2's own parser takes much
 * that is no SPF and dies of some of it; so it never sees a term that has not been through here.
 */
#include "spf/spf_record.h"

#include <arpa/inet.h>

#include "base/parse.h"

static bool
is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_alnum(char c)
{
    return is_alpha(c) || is_digit(c);
}

static bool
is_qualifier(char c)
{
    return c == '+' || c == '-' || c == '~' || c == '?';
}

static struct slice
cut(struct slice s, size_t from)
{
    return (struct slice){s.p + from, s.n - from};
}

static bool
has_char(const char *set, char c)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* --- Which record. */

bool
spf_record_is(struct slice text)
{
    return slice_starts_nocase(text, SLICE("v=spf1")) && (text.n == 6 || text.p[6] == ' ');
}

enum spf_selected
spf_record_select(const struct slice *texts, unsigned count, struct slice *record)
{
    enum spf_selected selected = SPF_SELECTED_NONE;

    for (unsigned i = 0; i < count; i++) {
        if (!spf_record_is(texts[i]))
            continue;
        if (selected == SPF_SELECTED_ONE)
            return SPF_SELECTED_MANY;
        selected = SPF_SELECTED_ONE;
        *record = texts[i];
    }
    return selected;
}

/* --- Macros. */

/* The length of a macro-expand at the start of `s`; 0: there is none. `letters`: those allowed. */
static size_t
macro_length(struct slice s, const char *letters)
{
    size_t at = 3, digits_at = 3;
    bool is_zero = true;

    if (s.n < 2 || s.p[0] != '%')
        return 0;
    if (has_char("%_-", s.p[1]))
        return 2;
    if (s.n < 4 || s.p[1] != '{' || !has_char(letters, (char)(s.p[2] | 0x20)) || !is_alpha(s.p[2]))
        return 0;
    for (; at < s.n && is_digit(s.p[at]); at++)
        is_zero = is_zero && s.p[at] == '0';
    if (at > digits_at && is_zero) /* RFC 7208 7.3: nonzero */
        return 0;
    if (at < s.n && (s.p[at] | 0x20) == 'r')
        at++;
    while (at < s.n && has_char(".-+,/_=", s.p[at]))
        at++;
    return at < s.n && s.p[at] == '}' ? at + 1 : 0;
}

/* False: it is no macro-string. *tail: what follows the last macro in it. */
static bool
read_macro_string(struct slice s, const char *letters, struct slice *tail)
{
    *tail = s;
    while (s.n > 0) {
        size_t length = 1;

        if (s.p[0] == '%') {
            length = macro_length(s, letters);
            if (length == 0)
                return false;
            *tail = cut(s, length);
        } else if (s.p[0] < 0x21 || s.p[0] > 0x7e)
            return false;
        s = cut(s, length);
    }
    return true;
}

static bool
is_toplabel(struct slice label)
{
    bool has_letter = false;

    if (label.n == 0 || !is_alnum(label.p[0]) || !is_alnum(label.p[label.n - 1]))
        return false;
    for (size_t i = 0; i < label.n; i++) {
        if (!is_alnum(label.p[i]) && label.p[i] != '-')
            return false;
        has_letter = has_letter || !is_digit(label.p[i]);
    }
    return has_letter;
}

/* domain-spec = macro-string ( "." toplabel [ "." ] / macro-expand ).  The letters c, r and t are
 * for explanations only. */
static bool
is_domain_spec(struct slice s)
{
    struct slice tail;
    size_t dot;

    if (s.n == 0 || !read_macro_string(s, "slodiphv", &tail))
        return false;
    if (tail.n == 0)
        return true;
    if (tail.p[tail.n - 1] == '.')
        tail.n--;
    for (dot = tail.n; dot > 0 && tail.p[dot - 1] != '.'; dot--)
        ;
    return dot > 0 && is_toplabel(cut(tail, dot));
}

/* --- Prefixes. */

/* "/" and a number up to `most` without leading zeros at the end of *s, which loses them; true also
 * if there is none, and *bits stays. */
static bool
take_prefix(struct slice *s, unsigned most, uint8_t *bits)
{
    size_t at = s->n;
    uint64_t value;

    while (at > 0 && is_digit(s->p[at - 1]))
        at--;
    if (at == s->n || at == 0 || s->p[at - 1] != '/')
        return true;
    if (s->n - at > 3 || (s->n - at > 1 && s->p[at] == '0') ||
        parse_u64(cut(*s, at), &value) != ERR_OK || value > most)
        return false;
    *bits = (uint8_t)value;
    s->n = at - 1;
    return true;
}

/* [ "/" n ] [ "//" n ] at the end. */
static bool
take_dual_prefix(struct slice *s, struct spf_term *term)
{
    struct slice before = *s;

    term->bits4 = 32;
    term->bits6 = 128;
    if (!take_prefix(&before, UINT8_MAX, &term->bits6))
        return false;
    if (before.n > 0 && before.n < s->n && before.p[before.n - 1] == '/') {
        if (term->bits6 > 128)
            return false;
        s->n = before.n - 1;
    } else
        term->bits6 = 128;
    return take_prefix(s, 32, &term->bits4);
}

/* --- Mechanisms: what stands behind the name. */

static bool
read_all(struct slice s, struct spf_term *term)
{
    (void)term;
    return s.n == 0;
}

/* ":" domain-spec */
static bool
read_domain(struct slice s, struct spf_term *term)
{
    if (s.n == 0 || s.p[0] != ':')
        return false;
    term->domain = cut(s, 1);
    return is_domain_spec(term->domain);
}

static bool
read_ptr(struct slice s, struct spf_term *term)
{
    return s.n == 0 || read_domain(s, term);
}

/* [ ":" domain-spec ] [ dual-cidr-length ] */
static bool
read_hosts(struct slice s, struct spf_term *term)
{
    return take_dual_prefix(&s, term) && read_ptr(s, term);
}

/* qnum "." qnum "." qnum "." qnum, as inet_pton has it, which takes three times as long. */
static bool
read_quads(struct slice s, uint8_t addr[4])
{
    size_t at = 0;

    for (unsigned i = 0; i < 4; i++) {
        unsigned value = 0;
        size_t began;

        if (i > 0 && (at == s.n || s.p[at++] != '.'))
            return false;
        for (began = at; at < s.n && is_digit(s.p[at]) && at - began < 3; at++)
            value = 10 * value + (unsigned)(s.p[at] - '0');
        if (at == began || value > UINT8_MAX || (at - began > 1 && s.p[began] == '0'))
            return false;
        addr[i] = (uint8_t)value;
    }
    return at == s.n;
}

/* ":" and what begins the address, without its prefix. */
static bool
take_network(struct slice *s, struct inet_network *n, uint8_t family, uint8_t most)
{
    n->family = family;
    n->bits = most;
    if (!take_prefix(s, most, &n->bits) || s->n == 0 || s->p[0] != ':')
        return false;
    *s = cut(*s, 1);
    return true;
}

static bool
read_ip4(struct slice s, struct spf_term *term)
{
    return take_network(&s, &term->network, 4, 32) && read_quads(s, term->network.addr);
}

static bool
read_ip6(struct slice s, struct spf_term *term)
{
    char text[INET6_ADDRSTRLEN];

    return take_network(&s, &term->network, 6, 128) && slice_to_text(s, text, sizeof text) &&
           inet_pton(AF_INET6, text, term->network.addr) == 1;
}

static const struct mechanism {
    struct slice name;
    enum spf_term_kind kind;
    bool (*read)(struct slice s, struct spf_term *term);
} mechanisms[] = {
    {{"ip4", 3}, SPF_TERM_IP4, read_ip4},
    {{"ip6", 3}, SPF_TERM_IP6, read_ip6},
    {{"include", 7}, SPF_TERM_INCLUDE, read_domain},
    {{"all", 3}, SPF_TERM_ALL, read_all},
    {{"a", 1}, SPF_TERM_A, read_hosts},
    {{"mx", 2}, SPF_TERM_MX, read_hosts},
    {{"exists", 6}, SPF_TERM_EXISTS, read_domain},
    {{"ptr", 3}, SPF_TERM_PTR, read_ptr},
};

static bool
read_mechanism(struct slice name, struct slice value, struct spf_term *term)
{
    for (size_t i = 0; i < ARRAY_SIZE(mechanisms); i++)
        if (name.n == mechanisms[i].name.n && slice_equal_nocase(name, mechanisms[i].name)) {
            term->kind = mechanisms[i].kind;
            return mechanisms[i].read(value, term);
        }
    return false;
}

/* --- Modifiers. */

/* One that may be there once, with a domain-spec (RFC 7208 6). */
static bool
read_single(struct slice value, struct spf_term *term, enum spf_term_kind kind, bool *is_there)
{
    term->kind = kind;
    term->domain = value;
    if (*is_there)
        return false;
    *is_there = true;
    return is_domain_spec(value);
}

static bool
read_modifier(struct spf_record_reader *reader, struct slice name, struct slice value,
              struct spf_term *term)
{
    struct slice tail;

    if (slice_equal_nocase(name, SLICE("redirect")))
        return read_single(value, term, SPF_TERM_REDIRECT, &reader->has_redirect);
    if (slice_equal_nocase(name, SLICE("exp")))
        return read_single(value, term, SPF_TERM_EXP, &reader->has_exp);
    term->kind = SPF_TERM_UNKNOWN;
    return read_macro_string(value, "slodiphcrtv", &tail);
}

/* --- Terms. */

static bool
read_term(struct spf_record_reader *reader, struct spf_term *term)
{
    struct slice s = term->text, name;
    bool is_qualified = is_qualifier(s.p[0]);
    size_t n = 0;

    term->qualifier = is_qualified ? s.p[0] : '+';
    s = cut(s, is_qualified);
    if (s.n == 0 || !is_alpha(s.p[0]))
        return false;
    while (n < s.n && (is_alnum(s.p[n]) || s.p[n] == '-' || s.p[n] == '_' || s.p[n] == '.'))
        n++;
    name = (struct slice){s.p, n};
    if (n < s.n && s.p[n] == '=')
        return !is_qualified && read_modifier(reader, name, cut(s, n + 1), term);
    return read_mechanism(name, cut(s, n), term);
}

void
spf_record_begin(struct spf_record_reader *reader, struct slice record)
{
    *reader = (struct spf_record_reader){.rest = cut(record, 6)};
    if (record.n > SPF_RECORD_MAX)
        reader->rest.n = SPF_RECORD_MAX - 6;
    if (memchr(record.p, '\0', record.n) != NULL || record.n > SPF_RECORD_MAX)
        reader->problem = reader->rest;
}

/* n 0: there is none. */
static struct slice
next_text(struct slice *rest)
{
    const char *p = rest->p, *end = rest->p + rest->n, *space;

    while (p < end && *p == ' ')
        p++;
    space = p < end ? memchr(p, ' ', (size_t)(end - p)) : NULL;
    if (space == NULL)
        space = end;
    *rest = (struct slice){space, (size_t)(end - space)};
    return (struct slice){p, (size_t)(space - p)};
}

int
spf_record_next(struct spf_record_reader *reader, struct spf_term *term)
{
    struct slice *rest = &reader->rest;

    if (reader->problem.p != NULL)
        return ERR_SYNTAX;
    *term = (struct spf_term){.text = next_text(rest)};
    if (term->text.n == 0)
        return ERR_AGAIN;
    if (read_term(reader, term))
        return ERR_OK;
    reader->problem = term->text;
    return ERR_SYNTAX;
}

static const struct slice references[] = {{"include:", 8}, {"redirect=", 9}};

bool
spf_record_next_reference(struct slice *rest, struct slice *spec)
{
    struct slice text;

    while ((text = next_text(rest)).n > 0) {
        text = cut(text, is_qualifier(text.p[0]));
        for (size_t i = 0; i < ARRAY_SIZE(references); i++)
            if (text.n > 0 && (text.p[0] | 0x20) == references[i].p[0] &&
                slice_starts_nocase(text, references[i])) {
                *spec = cut(text, references[i].n);
                return true;
            }
    }
    return false;
}
