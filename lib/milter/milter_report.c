/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A look at the added fields, not a parser of all that RFC 8601 permits: comments are skipped, and
 * what is written in another way than filters do is not believed.
 */
#include "milter/milter_report.h"

static bool
is_added(const struct milter_edit *edit, const char *name)
{
    return (edit->kind != MILTER_EDIT_CHANGE || edit->value[0] != '\0') &&
           slice_equal_nocase(slice_of(edit->name), slice_of(name));
}

bool
milter_report_is_spam(const struct milter_edits *edits)
{
    static const char *const names[] = {"X-Spam", "X-Spam-Flag", "X-Spam-Status"};

    for (unsigned i = 0; i < edits->count; i++)
        for (size_t n = 0; n < ARRAY_SIZE(names); n++)
            if (is_added(&edits->items[i], names[n]) &&
                slice_starts_nocase(slice_trim(slice_of(edits->items[i].value)), SLICE("yes")))
                return true;
    return false;
}

/* --- Authentication-Results. */

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
ends_word(char c)
{
    return is_space(c) || c == ';' || c == '(';
}

/* Spaces and comments, which nest; an open one takes all. */
static void
skip_space(struct slice *s)
{
    unsigned depth = 0;

    while (s->n > 0 && (depth > 0 || is_space(*s->p) || *s->p == '(')) {
        if (*s->p == '(')
            depth++;
        else if (*s->p == ')')
            depth--;
        s->p++;
        s->n--;
    }
}

/* The next word of a part; n 0: it has ended. */
static struct slice
next_word(struct slice *s)
{
    struct slice word;

    skip_space(s);
    word = (struct slice){s->p, 0};
    for (bool is_quoted = false; word.n < s->n && (is_quoted || !ends_word(s->p[word.n])); word.n++)
        if (s->p[word.n] == '"')
            is_quoted = !is_quoted;
    s->p += word.n;
    s->n -= word.n;
    return word;
}

/* The domain is `sender` or one above it. */
static bool
is_aligned(struct slice domain, const char *sender)
{
    struct slice s = slice_of(sender);

    if (domain.n == 0 || domain.n > s.n || memchr(domain.p, '.', domain.n) == NULL ||
        domain.p[0] == '.' || domain.p[domain.n - 1] == '.')
        return false;
    return slice_equal_nocase(domain, (struct slice){s.p + s.n - domain.n, domain.n}) &&
           (domain.n == s.n || s.p[s.n - domain.n - 1] == '.');
}

/* One method's result: "dkim=pass ... header.d=example.org ...". */
static bool
part_passes(struct slice *s, const char *sender)
{
    bool is_pass = false, is_of_sender = false, is_first = true;
    struct slice word;

    while ((word = next_word(s)).n > 0) {
        struct slice value = word, key = slice_split(&value, '=');

        if (is_first)
            is_pass = slice_equal_nocase(word, SLICE("dkim=pass"));
        else if (value.p != NULL && slice_equal_nocase(key, SLICE("header.d")))
            is_of_sender = is_aligned(value, sender);
        is_first = false;
    }
    if (s->n > 0) { /* at the semicolon */
        s->p++;
        s->n--;
    }
    return is_pass && is_of_sender;
}

/* Filters put words of the sender into it: where something is escaped, nothing is believed. */
static bool
field_passes(struct slice s, const char *hostname, const char *sender)
{
    bool passes = false;

    if (memchr(s.p, '\\', s.n) != NULL || !slice_equal_nocase(next_word(&s), slice_of(hostname)))
        return false;
    while (s.n > 0)
        passes = part_passes(&s, sender) || passes;
    return passes;
}

bool
milter_report_dkim_passes(const struct milter_edits *edits, const char *hostname,
                          const char *sender_domain)
{
    for (unsigned i = 0; i < edits->count; i++)
        if (is_added(&edits->items[i], "Authentication-Results") &&
            field_passes(slice_of(edits->items[i].value), hostname, sender_domain))
            return true;
    return false;
}
