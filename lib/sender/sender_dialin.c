/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A pattern is a line of terms that must all hold; the first line that holds decides, the
 * operator's before ours.  A name is prepared once: its labels, where its registered domain begins,
 * the words before that, and whether the address is written there.
 */
#include "sender/sender_dialin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sender/sender_dialin_address.h"

#define FILE_MAX_BYTES (256 * 1024)
#define PATTERNS_MAX 4000
#define TERMS_MAX 6
#define TERM_SIZE 64
#define WORDS_MAX 128 /* of a name of 253 octets */
#define LABELS_MAX 127

enum term_kind { TERM_WORD, TERM_END, TERM_ADDRESS };

struct pattern {
    bool is_exception;
    unsigned term_count;
    struct term {
        enum term_kind kind;
        char text[TERM_SIZE];
    } terms[TERMS_MAX];
    char *text; /* as written */
};

struct sender_dialin {
    struct pattern *items;
    size_t count;
};

static const char *const shipped[] = {
#include "sender/dialin_patterns.inc"
};

/* --- Globs. */

/* Without backtracking but to the last star: time is the product of the lengths at most. */
static bool
glob(const char *pattern, struct slice text)
{
    const char *star = NULL, *end = text.p + text.n, *resume = NULL, *at = text.p;

    while (at < end) {
        if (*pattern == '*') {
            star = pattern++;
            resume = at;
        } else if (*pattern != '\0' && (*pattern == '?' || *pattern == *at)) {
            pattern++;
            at++;
        } else if (star != NULL) {
            pattern = star + 1;
            at = ++resume;
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* --- A name. */

struct named {
    char text[INET_DOMAIN_SIZE];
    char host[INET_DOMAIN_SIZE]; /* before the registered domain, without the dot */
    struct slice labels[LABELS_MAX], words[WORDS_MAX];
    unsigned label_count, word_count;
    const struct inet_endpoint *address;
};

/* How many labels the registered domain has: two, or three of a country that registers under
 * second-level names. */
static unsigned
domain_labels(const struct named *named)
{
    static const char *const seconds[] = {"ac", "ad", "co",  "com", "edu", "go", "gob", "gov",
                                          "gv", "id", "mil", "ne",  "net", "or", "org"};
    const struct slice *labels = named->labels;
    unsigned count = named->label_count;

    if (count >= 3 && labels[count - 1].n == 2)
        for (size_t i = 0; i < ARRAY_SIZE(seconds); i++)
            if (slice_equal(labels[count - 2], slice_of(seconds[i])))
                return 3;
    return count < 2 ? count : 2;
}

static bool
is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static void
take_words(struct named *named)
{
    const char *at = named->host;

    while (*at != '\0' && named->word_count < WORDS_MAX) {
        const char *begin = at;

        while (is_letter(*at))
            at++;
        if (at > begin)
            named->words[named->word_count++] = (struct slice){begin, (size_t)(at - begin)};
        else
            at++;
    }
}

static void
prepare(const char *name, const struct inet_endpoint *address, struct named *named)
{
    struct slice rest;
    unsigned host_labels;
    size_t n = 0;

    named->label_count = named->word_count = 0;
    named->address = address;
    for (; name[n] != '\0' && n < sizeof named->text - 1; n++)
        named->text[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] - 'A' + 'a') : name[n];
    if (n > 0 && named->text[n - 1] == '.')
        n--;
    rest = (struct slice){named->text, n};
    named->text[n] = '\0';
    while (rest.p != NULL && named->label_count < LABELS_MAX)
        named->labels[named->label_count++] = slice_split(&rest, '.');
    host_labels = named->label_count - domain_labels(named);
    n = host_labels == 0 ? 0
                         : (size_t)(named->labels[host_labels - 1].p - named->text) +
                               named->labels[host_labels - 1].n;
    memcpy(named->host, named->text, n);
    named->host[n] = '\0';
    take_words(named);
}

/* --- Terms. */

static bool
has_word(const struct named *named, const char *pattern)
{
    for (unsigned i = 0; i < named->word_count; i++)
        if (glob(pattern, named->words[i]))
            return true;
    return false;
}

/* ".a.b": the last labels, each by its glob. */
static bool
has_end(const struct named *named, const char *pattern)
{
    unsigned at = named->label_count;
    char label[TERM_SIZE];

    for (const char *dot = pattern + strlen(pattern); dot > pattern;) {
        const char *end = dot;

        while (*--dot != '.')
            continue;
        snprintf(label, sizeof label, "%.*s", (int)(end - dot - 1), dot + 1);
        if (at == 0 || !glob(label, named->labels[--at]))
            return false;
    }
    return true;
}

static bool
holds(const struct pattern *pattern, const struct named *named)
{
    for (unsigned i = 0; i < pattern->term_count; i++) {
        const struct term *term = &pattern->terms[i];
        bool is_so = false;

        switch (term->kind) {
        case TERM_WORD:
            is_so = has_word(named, term->text);
            break;
        case TERM_END:
            is_so = has_end(named, term->text);
            break;
        case TERM_ADDRESS:
            is_so = sender_dialin_has_address(named->host, named->address);
            break;
        }
        if (!is_so)
            return false;
    }
    return true;
}

const char *
sender_dialin_match(const struct sender_dialin *patterns, const char *name,
                    const struct inet_endpoint *address)
{
    struct named named;

    prepare(name, address, &named);
    for (size_t i = 0; i < patterns->count; i++)
        if (holds(&patterns->items[i], &named))
            return patterns->items[i].is_exception ? NULL : patterns->items[i].text;
    return NULL;
}

/* --- Lines. */

static const char *
parse_end(struct slice word)
{
    struct slice rest = {word.p + 1, word.n - 1};

    while (rest.p != NULL)
        if (slice_split(&rest, '.').n == 0)
            return "has an end with an empty label; write one such as .dynamic.isp.example";
    return NULL;
}

static const char *
parse_term(struct slice word, struct term *term)
{
    static const char octets[] = "abcdefghijklmnopqrstuvwxyz0123456789*?-_.";
    bool is_end = word.p[0] == '.';

    if (slice_equal_nocase(word, slice_of("<addr>"))) {
        term->kind = TERM_ADDRESS;
        return NULL;
    }
    if (!slice_to_text(word, term->text, sizeof term->text))
        return "has a term of more than 63 characters; write a shorter one";
    for (char *at = term->text; *at != '\0'; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    term->kind = is_end ? TERM_END : TERM_WORD;
    if (strspn(term->text, octets) != word.n)
        return "has a character that no name has; write words, .ends, <addr>, with * and ? in them";
    if (!is_end && strspn(term->text, "abcdefghijklmnopqrstuvwxyz*?") != word.n)
        return "has a word with more than letters in it, which no word has; write the letters "
               "alone, or an end that begins with a dot";
    if (!is_end && strspn(term->text, "*?") == word.n)
        return "has a word without a letter, which is any; write what is meant";
    return is_end ? parse_end(word) : NULL;
}

/* NULL, or what is wrong.  A line without terms has none. */
static const char *
parse_line(struct slice line, struct pattern *pattern)
{
    struct slice rest = slice_trim(line);
    const char *wrong = NULL;

    pattern->is_exception = rest.n > 0 && rest.p[0] == '!';
    if (pattern->is_exception)
        rest = slice_trim((struct slice){rest.p + 1, rest.n - 1});
    if (pattern->is_exception && rest.n == 0)
        return "has nothing behind the !; write what is to be excepted";
    while (rest.p != NULL && rest.n > 0 && wrong == NULL) {
        struct slice word = slice_split(&rest, ' ');

        rest = rest.p != NULL ? slice_trim(rest) : rest;
        if (pattern->term_count == TERMS_MAX)
            return "has more than 6 terms; write two lines";
        wrong = parse_term(slice_trim(word), &pattern->terms[pattern->term_count++]);
    }
    return wrong;
}

static const char *
add_line(struct sender_dialin *patterns, struct slice line)
{
    struct pattern pattern = {.term_count = 0};
    struct slice rest = line, code = slice_trim(slice_split(&rest, '#'));
    const char *wrong = parse_line(code, &pattern);

    if (wrong != NULL || pattern.term_count == 0)
        return wrong;
    if (patterns->count == PATTERNS_MAX)
        return "is one too many; at most 4000 patterns can be used";
    patterns->items =
        mem_realloc(patterns->items, (patterns->count + 1) * sizeof patterns->items[0]);
    pattern.text = mem_alloc(code.n + 1);
    memcpy(pattern.text, code.p, code.n);
    patterns->items[patterns->count++] = pattern;
    return NULL;
}

/* --- Files. */

static int
add_text(struct sender_dialin *patterns, const char *path, struct slice text, struct buf *problems)
{
    unsigned number = 0;
    int rc = ERR_OK;

    while (text.p != NULL) {
        struct slice line = slice_split(&text, '\n');
        const char *wrong = add_line(patterns, line);

        number++;
        if (wrong == NULL)
            continue;
        buf_printf(problems, "%s:%u: dialin-patterns: the pattern %s\n", path, number, wrong);
        rc = ERR_SYNTAX;
    }
    return rc;
}

static int
add_file(struct sender_dialin *patterns, const char *path, struct buf *problems)
{
    struct buf text;
    int rc;

    buf_init(&text, FILE_MAX_BYTES);
    rc = buf_append_file(&text, path);
    if (rc == ERR_OK)
        rc = add_text(patterns, path, buf_slice(&text), problems);
    else if (rc == ERR_IO)
        buf_printf(problems, "%s: dialin-patterns: cannot be read: %s; name another file\n", path,
                   strerror(errno));
    else
        buf_printf(problems, "%s: dialin-patterns: is larger than 256 KiB; write fewer patterns\n",
                   path);
    buf_fini(&text);
    return rc;
}

int
sender_dialin_load(const char *path, struct buf *problems, struct sender_dialin **patterns)
{
    int rc = ERR_OK;

    *patterns = mem_alloc(sizeof **patterns);
    if (path[0] != '\0')
        rc = add_file(*patterns, path, problems);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_SIZE(shipped); i++) {
        const char *wrong = add_line(*patterns, slice_of(shipped[i]));

        CHECK(wrong == NULL); /* a test has read them */
    }
    if (rc < 0)
        sender_dialin_free(patterns);
    return rc;
}

void
sender_dialin_free(struct sender_dialin **held)
{
    struct sender_dialin *patterns = *held;

    *held = NULL;
    if (patterns == NULL)
        return;
    for (size_t i = 0; i < patterns->count; i++)
        free(patterns->items[i].text);
    free(patterns->items);
    free(patterns);
}
