/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A reply that was pasted is known by its text; a code alone may be that of several replies, and
 * all are shown.
 */
#include "admin/replies.h"

#include <stdlib.h>
#include <string.h>

#include "admin/paragraph.h"

#define COMMAND_INDENT (PARAGRAPH_INDENT + 2)

const char *
replies_remedy_label(enum smtp_remedy remedy)
{
    static const char *const labels[] = {
        [SMTP_REMEDY_SENDER] = "The sender",
        [SMTP_REMEDY_CUSTOMER] = "The customer",
        [SMTP_REMEDY_OPERATOR] = "We",
    };

    return labels[remedy];
}

/* --- What is meant in this case. */

/* It is pasted into a shell: nothing in it may mean something there. */
static bool
is_plain(const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                ".:@/_+=-";

    return value != NULL && value[0] != '\0' && value[0] != '-' &&
           value[strspn(value, plain)] == '\0';
}

/* NULL: the word stands for itself. */
static const char *
value_of(const struct replies_case *about, struct slice word)
{
    const struct {
        const char *word, *value;
    } values[] = {
        {"CUSTOMER", about->customer},   {"ADDRESS", about->address}, {"SENDER", about->sender},
        {"RECIPIENT", about->recipient}, {"DOMAIN", about->domain},   {"CHECK", about->check},
        {"RULE", about->rule},           {"BACKEND", about->backend},
    };

    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (slice_equal(word, slice_of(values[i].word)))
            return is_plain(values[i].value) ? values[i].value : NULL;
    return NULL;
}

static void
fill(struct buf *out, struct slice text, const struct replies_case *about)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    while (text.n > 0) {
        struct slice word = {text.p, 0};
        bool is_capital = strchr(capitals, text.p[0]) != NULL;
        const char *value;

        while (word.n < text.n && (strchr(capitals, text.p[word.n]) != NULL) == is_capital)
            word.n++;
        value = about && is_capital ? value_of(about, word) : NULL;
        if (value)
            buf_add_text(out, value);
        else
            buf_add(out, word.p, word.n);
        text = (struct slice){text.p + word.n, text.n - word.n};
    }
}

/* --- Prose and commands. */

bool
replies_next_part(const char **remedy, struct replies_part *part)
{
    const char *p = *remedy + strspn(*remedy, " ");

    part->is_command = *p == '`';
    p += part->is_command;
    part->text = slice_trim((struct slice){p, strcspn(p, "`")});
    p += strcspn(p, "`");
    *remedy = p + (part->is_command && *p == '`');
    return part->text.n > 0;
}

void
replies_add(struct buf *text, const char *remedy, const struct replies_case *about)
{
    struct replies_part part;
    const char *gap = "";

    while (replies_next_part(&remedy, &part)) {
        buf_add_text(text, gap);
        fill(text, part.text, about);
        gap = "\n";
    }
}

void
replies_print_remedy(FILE *out, enum smtp_remedy who, const char *remedy,
                     const struct replies_case *about)
{
    const char *label = replies_remedy_label(who);
    struct replies_part part;
    struct buf text;

    buf_init(&text, 0);
    while (replies_next_part(&remedy, &part)) {
        buf_clear(&text);
        fill(&text, part.text, about);
        if (part.is_command) /* whole, to be pasted */
            fprintf(out, "%*s%s\n", COMMAND_INDENT, "", buf_text(&text));
        else
            paragraph_print(out, label, buf_text(&text));
        label = "";
    }
    buf_fini(&text);
}

void
replies_print_help(FILE *out, enum smtp_verdict verdict, const struct replies_case *about)
{
    paragraph_print(out, "Why", smtp_verdict_help(verdict));
    for (int r = 0; r < SMTP_REMEDY_COUNT; r++)
        replies_print_remedy(out, (enum smtp_remedy)r,
                             smtp_verdict_remedy(verdict, (enum smtp_remedy)r), about);
}

bool
replies_next_of_word(enum smtp_verdict verdict, enum smtp_verdict *other)
{
    const char *word = smtp_verdict_word(verdict);

    for (; smtp_verdict_find(word, 0, other) == ERR_OK; (*other)++)
        if (*other != verdict)
            return true;
    return false;
}

static void
print_word(FILE *out, enum smtp_verdict verdict)
{
    enum smtp_verdict other = 0;
    struct buf text;

    buf_init(&text, 0);
    buf_add_text(&text, smtp_verdict_word(verdict));
    for (; replies_next_of_word(verdict, &other); other++) {
        struct smtp_reply reply = smtp_verdict_reply(other);

        buf_printf(&text, ", also of %u \"%s\"", reply.code, reply.text);
    }
    paragraph_print(out, "Word", buf_text(&text));
    buf_fini(&text);
}

static void
print_verdict(FILE *out, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);
    char line[SMTP_REPLY_LINE_SIZE];

    paragraph_print(out, "Reply", smtp_reply_text(&reply, line, sizeof line));
    print_word(out, verdict);
    replies_print_help(out, verdict, NULL);
}

/* --- What is asked for. */

struct asked {
    const char *word;
    struct smtp_reply reply; /* code 0: any */
    bool has_text;           /* the whole reply */
};

static bool
same_code(const struct smtp_enhanced *a, const struct smtp_enhanced *b)
{
    return a->class == b->class && a->subject == b->subject && a->detail == b->detail;
}

static bool
is_asked(const struct asked *asked, enum smtp_verdict verdict)
{
    struct smtp_reply own = smtp_verdict_reply(verdict);

    if (strcmp(asked->word, smtp_verdict_word(verdict)) == 0)
        return true;
    if (asked->reply.code == 0 && asked->reply.enhanced.class == 0)
        return false;
    return (asked->reply.code == 0 || asked->reply.code == own.code) &&
           (asked->reply.enhanced.class == 0 || same_code(&asked->reply.enhanced, &own.enhanced)) &&
           (!asked->has_text || strncmp(asked->reply.text, own.text, strlen(own.text)) == 0);
}

/* "5.7.23" alone is no reply yet. */
static void
read_asked(const char *text, struct asked *asked)
{
    char whole[SMTP_REPLY_LINE_SIZE];

    *asked = (struct asked){.word = text};
    if (text[0] < '0' || text[0] > '9')
        return;
    if (text[1] == '.') {
        snprintf(whole, sizeof whole, "%c50 %s", text[0], text);
        if (smtp_reply_from_text(slice_of(whole), &asked->reply) < 0)
            asked->reply = (struct smtp_reply){0};
        asked->reply.code = 0;
    } else if (smtp_reply_from_text(slice_of(text), &asked->reply) < 0)
        asked->reply = (struct smtp_reply){0};
    asked->has_text = asked->reply.text[0] != '\0';
}

static unsigned
print_asked(FILE *out, const struct asked *asked)
{
    unsigned count = 0;

    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++) {
        if (!is_asked(asked, (enum smtp_verdict)v))
            continue;
        if (count++ > 0)
            fputc('\n', out);
        print_verdict(out, (enum smtp_verdict)v);
    }
    return count;
}

int
replies_print(FILE *out, const char *const *words, unsigned count)
{
    struct asked asked;
    unsigned printed;
    struct buf text;

    buf_init(&text, 0);
    for (unsigned i = 0; i < count; i++)
        buf_printf(&text, "%s%s", i ? " " : "", words[i]);
    read_asked(buf_text(&text), &asked);
    printed = print_asked(out, &asked);
    if (printed == 0 && asked.has_text) { /* its code at least; the text is a backend's */
        asked.has_text = false;
        printed = print_asked(out, &asked);
    }
    buf_fini(&text);
    return printed > 0 ? ERR_OK : ERR_NOT_FOUND;
}
