/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A name needs no more than its last 253 octets, so that an expansion of any length runs through a
 * small buffer that forgets its beginning.
 */
#include "spf/spf_macro.h"

#include <stdio.h>

#define NAME_MAX_OCTETS (INET_DOMAIN_SIZE - 1)
#define LABEL_MAX_OCTETS 63
#define TAIL_SIZE (4 * INET_DOMAIN_SIZE)
#define VALUE_SIZE SPF_SENDER_SIZE
#define PARTS_MAX 128

struct tail {
    char octets[TAIL_SIZE];
    size_t n;
    bool is_foreign; /* has had a value that is not ASCII */
};

static bool
is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 0x7e)
            return false;
    return true;
}

static void
add(struct tail *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (t->n == TAIL_SIZE) {
            memmove(t->octets, t->octets + TAIL_SIZE / 2, TAIL_SIZE / 2);
            t->n = TAIL_SIZE / 2;
        }
        t->octets[t->n++] = p[i];
    }
}

/* --- Values. */

static const char hex[] = "0123456789abcdef";

/* %{i}: dotted; IPv6 by nibbles. */
static void
address_value(const struct inet_endpoint *client, char dst[VALUE_SIZE])
{
    size_t n = 0;

    if (client->family == 4) {
        (void)inet_address_text(client, dst);
        return;
    }
    for (unsigned i = 0; i < 16; i++) {
        dst[n++] = hex[client->addr[i] >> 4];
        dst[n++] = '.';
        dst[n++] = hex[client->addr[i] & 15];
        dst[n++] = '.';
    }
    dst[n - 1] = '\0';
}

static void
value_of(char letter, const struct spf_macro_values *v, char dst[VALUE_SIZE])
{
    const char *text = "";

    switch (letter) {
    case 's':
        snprintf(dst, VALUE_SIZE, "%s@%s", v->local_part, v->sender_domain);
        return;
    case 'i':
        address_value(v->client, dst);
        return;
    case 'l':
        text = v->local_part;
        break;
    case 'o':
        text = v->sender_domain;
        break;
    case 'd':
        text = v->domain;
        break;
    case 'p':
        text = v->validated != NULL ? v->validated : "unknown";
        break;
    case 'v':
        text = v->client->family == 4 ? "in-addr" : "ip6";
        break;
    case 'h':
        text = v->helo;
        break;
    }
    snprintf(dst, VALUE_SIZE, "%s", text);
}

/* --- Transformers (RFC 7208 7.3). */

static void
add_escaped(struct tail *t, struct slice part)
{
    for (size_t i = 0; i < part.n; i++) {
        unsigned char c = (unsigned char)part.p[i];
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || (c != '\0' && strchr("-._~", c) != NULL);

        add(t, is_plain ? part.p + i : escape, is_plain ? 1 : 3);
    }
}

struct transform {
    char letter;
    bool is_escaped, is_reversed;
    unsigned keep; /* parts from the right; 0: all */
    struct slice delimiters;
};

static unsigned
split(struct slice value, struct slice delimiters, struct slice parts[PARTS_MAX])
{
    unsigned count = 0;
    size_t began = 0;

    for (size_t i = 0; i <= value.n; i++) {
        if (i < value.n && memchr(delimiters.p, value.p[i], delimiters.n) == NULL)
            continue;
        if (count == PARTS_MAX) /* the last ones count */
            memmove(parts, parts + 1, --count * sizeof *parts);
        parts[count++] = (struct slice){value.p + began, i - began};
        began = i + 1;
    }
    return count;
}

static void
add_value(struct tail *t, const struct transform *how, const struct spf_macro_values *values)
{
    char value[VALUE_SIZE];
    struct slice parts[PARTS_MAX];
    unsigned count, first;

    value_of(how->letter, values, value);
    t->is_foreign = t->is_foreign || !is_ascii(slice_of(value));
    count = split(slice_of(value), how->delimiters, parts);
    first = how->keep > 0 && how->keep < count ? count - how->keep : 0;
    for (unsigned i = first; i < count; i++) {
        struct slice part = parts[how->is_reversed ? count - 1 - i : i];

        if (i > first)
            add(t, ".", 1);
        if (how->is_escaped)
            add_escaped(t, part);
        else
            add(t, part.p, part.n);
    }
}

/* `s` is what stands between the braces. */
static struct transform
read_transform(struct slice s)
{
    struct transform how = {
        .letter = (char)(s.p[0] | 0x20), .is_escaped = !(s.p[0] & 0x20), .delimiters = SLICE(".")};
    size_t at = 1;

    for (; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++)
        if (how.keep < PARTS_MAX)
            how.keep = how.keep * 10 + (unsigned)(s.p[at] - '0');
    if (at < s.n && (s.p[at] | 0x20) == 'r') {
        how.is_reversed = true;
        at++;
    }
    if (at < s.n)
        how.delimiters = (struct slice){s.p + at, s.n - at};
    return how;
}

/* --- The whole. */

/* The macro at the start of `s`, which is valid; its length. */
static size_t
add_macro(struct tail *t, struct slice s, const struct spf_macro_values *values)
{
    const char *close;
    struct transform how;

    switch (s.p[1]) {
    case '%':
        add(t, "%", 1);
        return 2;
    case '_':
        add(t, " ", 1);
        return 2;
    case '-':
        add(t, "%20", 3);
        return 2;
    }
    close = memchr(s.p, '}', s.n);
    how = read_transform((struct slice){s.p + 2, (size_t)(close - s.p) - 2});
    add_value(t, &how, values);
    return (size_t)(close - s.p) + 1;
}

bool
spf_macro_has(struct slice spec, const char *letters)
{
    if (spec.n == 0 || memchr(spec.p, '%', spec.n) == NULL)
        return false;
    for (size_t i = 0; i + 2 < spec.n; i++) {
        if (spec.p[i] != '%')
            continue;
        if (spec.p[i + 1] == '{' && strchr(letters, spec.p[i + 2] | 0x20) != NULL)
            return true;
        i++;
    }
    return false;
}

/* Into lower case. */
static bool
copy_name(struct slice name, char dst[INET_DOMAIN_SIZE])
{
    size_t label = 0;

    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];

        label = c == '.' ? 0 : label + 1;
        if (c == '\0' || c > 0x7e || label > LABEL_MAX_OCTETS ||
            (c == '.' && (i == 0 || name.p[i - 1] == '.')))
            return false;
        dst[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    dst[name.n] = '\0';
    return label > 0;
}

bool
spf_macro_name(struct slice name, char dst[INET_DOMAIN_SIZE])
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    while (name.n > NAME_MAX_OCTETS) /* RFC 7208 7.3: labels go from the left */
        if (slice_split(&name, '.').p == NULL || name.p == NULL)
            return false;
    return copy_name(name, dst);
}

bool
spf_macro_expand(struct slice spec, const struct spf_macro_values *values,
                 char dst[INET_DOMAIN_SIZE])
{
    struct tail t;

    if (memchr(spec.p, '%', spec.n) == NULL)
        return spf_macro_name(spec, dst);
    t.n = 0;
    t.is_foreign = false;
    while (spec.n > 0) {
        size_t length = 1;

        if (spec.p[0] == '%')
            length = add_macro(&t, spec, values);
        else
            add(&t, spec.p, 1);
        spec = (struct slice){spec.p + length, spec.n - length};
    }
    return !t.is_foreign && spf_macro_name((struct slice){t.octets, t.n}, dst);
}

void
spf_macro_reverse_name(const struct inet_endpoint *client, char dst[INET_DOMAIN_SIZE])
{
    const uint8_t *a = client->addr;
    size_t n = 0;

    if (client->family == 4) {
        snprintf(dst, INET_DOMAIN_SIZE, "%u.%u.%u.%u.in-addr.arpa", a[3], a[2], a[1], a[0]);
        return;
    }
    for (unsigned i = 16; i-- > 0;) {
        dst[n++] = hex[a[i] & 15];
        dst[n++] = '.';
        dst[n++] = hex[a[i] >> 4];
        dst[n++] = '.';
    }
    snprintf(dst + n, INET_DOMAIN_SIZE - n, "ip6.arpa");
}
