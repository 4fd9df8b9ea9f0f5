/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libconfuse stops at its first error, miscounts lines in comments, lets texts run over lines and
 * puts environment variables into values.  So the text is cleaned first (comments become blanks,
 * a text that is not closed in its line is reported, "${" is defused), and an erroneous line is
 * reported, blanked and the whole read again, until nothing is wrong or ATTEMPTS_MAX is reached.
 * Values count only from the last attempt.
 */
#include "base/config_file.h"

#include <confuse.h>
#include <stdio.h>
#include <stdlib.h>

#define ATTEMPTS_MAX 100
#define PROBLEM_SIZE 400
#define DEFUSE '\001' /* stands between '$' and '{' while libconfuse reads */

struct value {
    size_t option;
    unsigned line;
    char *text;
};

struct reading {
    const struct config_file_option *options;
    size_t count;
    const struct config_file_ops *ops;
    void *ctx;
    struct buf clean; /* what libconfuse reads */
    /* scanner */
    const char *p, *end;
    unsigned line;
    size_t line_start; /* in `clean` */
    bool in_word;
    /* one attempt */
    struct value *values;
    size_t value_count;
    unsigned error_line; /* 0: no error */
    char error[PROBLEM_SIZE];
};

static struct reading *current; /* libconfuse's callbacks carry no context of ours */

static void
tell(struct reading *r, unsigned line, const char *setting, const char *text)
{
    r->ops->on_problem(r->ctx, line, setting, text);
}

/* --- cleaning --- */

static void
blank(char *from, char *to)
{
    for (; from < to; from++)
        if (*from != '\n')
            *from = ' ';
}

/* Reports the line, takes it out, and goes to its end. */
static void
refuse_line(struct reading *r, const char *text)
{
    tell(r, r->line, NULL, text);
    blank(r->clean.mem + r->line_start, r->clean.mem + r->clean.end);
    while (r->p < r->end && *r->p != '\n')
        r->p++;
}

static void
copy(struct reading *r)
{
    buf_add(&r->clean, r->p, 1);
    if (r->p[0] == '$' && r->p + 1 < r->end && r->p[1] == '{')
        buf_add(&r->clean, &(char){DEFUSE}, 1);
    r->p++;
}

static void
end_line(struct reading *r)
{
    struct slice line = buf_slice(&r->clean);

    line.p += r->line_start;
    line.n -= r->line_start;
    line = slice_trim(line);
    if (line.n > 0 && line.p[line.n - 1] == '=')
        refuse_line(r, "a setting has no value; write NAME = VALUE in one line");
    copy(r);
    r->line++;
    r->line_start = r->clean.end;
    r->in_word = false;
}

static void
scan_block_comment(struct reading *r)
{
    unsigned began_line = r->line;

    for (r->p += 2; r->p < r->end; r->p++) {
        if (r->p[0] == '*' && r->p + 1 < r->end && r->p[1] == '/') {
            r->p += 2;
            buf_add_text(&r->clean, " ");
            return;
        }
        if (r->p[0] == '\n') {
            buf_add_text(&r->clean, "\n");
            r->line++;
            r->line_start = r->clean.end;
        }
    }
    tell(r, began_line, NULL, "a comment begins here and does not end; close it with */");
}

static const char control_problem[] = "a control character stands here; write plain text";

static bool
is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static void
scan_quoted(struct reading *r)
{
    char quote = *r->p;

    copy(r);
    while (r->p < r->end && *r->p != quote && !is_control(*r->p)) {
        if (*r->p == '\\' && r->p + 1 < r->end && !is_control(r->p[1]))
            copy(r);
        copy(r);
    }
    if (r->p < r->end && is_control(*r->p) && *r->p != '\n' && *r->p != '\r') {
        refuse_line(r, control_problem);
        return;
    }
    if (r->p == r->end || *r->p != quote) {
        refuse_line(r, quote == '"' ? "a text is not closed in its line; end it with \""
                                    : "a text is not closed in its line; end it with '");
        return;
    }
    copy(r);
}

static bool
may_be_empty(const struct reading *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->options[i].name, name) == 0)
            return r->options[i].may_be_empty;
    return false;
}

/* libconfuse passes an empty list over in silence. */
static void
refuse_empty_list(struct reading *r)
{
    struct slice name, before = buf_slice(&r->clean);
    char setting[128];

    while (before.n > 0 && (before.p[before.n - 1] == ' ' || before.p[before.n - 1] == '\n'))
        before.n--;
    if (before.n == 0 || before.p[before.n - 1] != '{')
        return;
    for (name = before; name.n > 0 && name.p[name.n - 1] != '\n'; name.n--)
        ;
    before.p += name.n;
    before.n -= name.n;
    name = slice_trim(slice_split(&before, '='));
    if (slice_to_text(name, setting, sizeof setting) && !may_be_empty(r, setting))
        tell(r, r->line, setting, "is an empty list; write a value, or leave the setting out");
}

static bool
starts(const struct reading *r, const char *mark)
{
    return (size_t)(r->end - r->p) >= strlen(mark) && memcmp(r->p, mark, strlen(mark)) == 0;
}

static void
scan_one(struct reading *r)
{
    char c = *r->p;

    if (c == '\n')
        end_line(r);
    else if (!r->in_word && (c == '#' || starts(r, "//")))
        while (r->p < r->end && *r->p != '\n')
            r->p++;
    else if (!r->in_word && starts(r, "/*"))
        scan_block_comment(r);
    else if (c == '"' || c == '\'')
        scan_quoted(r);
    else if (c == '\t' || c == '\r') {
        buf_add_text(&r->clean, " ");
        r->p++;
        r->in_word = false;
    } else if (is_control(c))
        refuse_line(r, control_problem);
    else {
        if (c == '}')
            refuse_empty_list(r);
        r->in_word = strchr(" ={}(),+", c) == NULL;
        copy(r);
    }
}

static void
clean(struct reading *r, struct slice text)
{
    static const char mark[] = "\xef\xbb\xbf"; /* what some editors put before UTF-8 */

    r->p = text.p;
    r->end = text.p + text.n;
    r->line = 1;
    if (starts(r, mark))
        r->p += sizeof mark - 1;
    while (r->p < r->end)
        scan_one(r);
    if (buf_size(&r->clean) > r->line_start) { /* the last line has no end */
        r->p = "\n";
        r->end = r->p + 1;
        end_line(r);
    }
}

/* --- one attempt --- */

static size_t
option_index(const struct reading *r, const char *name)
{
    size_t i = 0;

    while (strcmp(r->options[i].name, name) != 0)
        i++;
    return i;
}

static void
add_value(struct reading *r, size_t option, unsigned line, const char *text)
{
    struct value *v;
    size_t n = 0;

    r->values = mem_realloc(r->values, (r->value_count + 1) * sizeof *r->values);
    v = &r->values[r->value_count++];
    *v = (struct value){option, line, mem_strdup(text)};
    for (const char *at = text; *at; at++)
        if (*at != DEFUSE)
            v->text[n++] = *at;
    v->text[n] = '\0';
}

static void
drop_values(struct reading *r)
{
    while (r->value_count > 0)
        free(r->values[--r->value_count].text);
}

/* After each value, and once more at the end of a list. */
static int
on_valid(cfg_t *cfg, cfg_opt_t *opt)
{
    struct reading *r = current;
    size_t option = option_index(r, opt->name), had = 0, has = cfg_opt_size(opt);

    for (size_t i = 0; i < r->value_count; i++)
        had += r->values[i].option == option;
    if (has > had || !r->options[option].is_list)
        add_value(r, option, (unsigned)cfg->line, cfg_opt_getnstr(opt, (unsigned)has - 1));
    return 0;
}

static void on_error(cfg_t *cfg, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

static void
on_error(cfg_t *cfg, const char *fmt, va_list args)
{
    struct reading *r = current;

    if (r->error_line)
        return;
    r->error_line = cfg->line > 0 ? (unsigned)cfg->line : 1;
    vsnprintf(r->error, sizeof r->error, fmt, args);
}

static cfg_opt_t *
make_options(const struct reading *r)
{
    cfg_opt_t end = CFG_END(), *opts = mem_alloc((r->count + 1) * sizeof *opts);

    for (size_t i = 0; i < r->count; i++) {
        cfg_opt_t text = CFG_STR(NULL, NULL, CFGF_NODEFAULT);
        cfg_opt_t list = CFG_STR_LIST(NULL, NULL, CFGF_NODEFAULT);

        opts[i] = r->options[i].is_list ? list : text;
        opts[i].name = r->options[i].name;
    }
    opts[r->count] = end;
    return opts;
}

static void
attempt(struct reading *r)
{
    cfg_opt_t *opts = make_options(r);
    cfg_t *cfg = cfg_init(opts, CFGF_NONE);

    CHECK(cfg != NULL);
    drop_values(r);
    r->error_line = 0;
    cfg_set_error_function(cfg, on_error);
    for (size_t i = 0; i < r->count; i++)
        cfg_set_validate_func(cfg, r->options[i].name, on_valid);
    current = r;
    if (cfg_parse_buf(cfg, buf_text(&r->clean)) != CFG_SUCCESS && r->error_line == 0) {
        r->error_line = 1;
        snprintf(r->error, sizeof r->error, "cannot be read");
    }
    current = NULL;
    cfg_free(cfg);
    free(opts);
}

/* --- from an error to a sentence --- */

/* Levenshtein's distance of short words. */
static unsigned
distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(b);

    if (n >= ARRAY_SIZE(row))
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned best = diagonal + (a[i] != b[j]);

            if (row[j] + 1 < best)
                best = row[j] + 1;
            diagonal = row[j + 1];
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static const char *
nearest(const struct reading *r, const char *word)
{
    const char *best = NULL;
    unsigned least = 3 + (unsigned)strlen(word) / 4;

    for (size_t i = 0; i < r->count; i++) {
        unsigned d = distance(word, r->options[i].name);

        if (d < least) {
            least = d;
            best = r->options[i].name;
        }
    }
    return best;
}

static void
tell_unknown(struct reading *r, struct slice rest)
{
    char word[128], text[PROBLEM_SIZE];
    const char *best;

    rest.n = rest.n > 0 ? rest.n - 1 : 0; /* the quote behind it */
    if (!slice_to_text(rest, word, sizeof word))
        snprintf(word, sizeof word, "?");
    best = nearest(r, word);
    if (best)
        snprintf(text, sizeof text, "there is no such setting; did you mean %s?", best);
    else
        snprintf(text, sizeof text, "there is no such setting; postern.conf(5) lists all");
    tell(r, r->error_line, word, text);
}

static void
tell_error(struct reading *r)
{
    static const struct slice unknown = {"no such option '", 16};
    struct slice error = slice_of(r->error);
    char text[PROBLEM_SIZE + 100];

    if (slice_starts_nocase(error, unknown)) {
        tell_unknown(r, (struct slice){error.p + unknown.n, error.n - unknown.n});
        return;
    }
    snprintf(text, sizeof text,
             "%s; write NAME = VALUE or NAME = { VALUE, VALUE }, with \" around texts that hold "
             "spaces",
             r->error);
    tell(r, r->error_line, NULL, text);
}

/* --- taking a line out --- */

/* From the start of `line` to behind its end; false if there is no such line. */
static bool
find_line(struct reading *r, unsigned line, char **from, char **to)
{
    char *at = (char *)(uintptr_t)buf_text(&r->clean), *end = r->clean.mem + r->clean.end;

    while (line > 1 && at < end)
        line -= *at++ == '\n';
    if (at == end || line == 0)
        return false;
    *from = at;
    while (at < end && *at != '\n')
        at++;
    *to = at;
    return true;
}

/* Where the list or section ends that the line [from, to) leaves open: behind its brace, or `to` if
 * the file does not say. A list holds no settings, a section may. */
static char *
open_end(struct reading *r, char *from, char *to)
{
    bool is_section = memchr(from, '=', (size_t)(to - from)) == NULL;
    char *end = r->clean.mem + r->clean.end;
    int depth = 1;

    for (char *at = to; at < end && (is_section || *at != '='); at++) {
        depth += (*at == '{') - (*at == '}');
        if (depth == 0)
            return at + 1;
    }
    return to;
}

/* Blanks an erroneous line: with the rest of what it opens, and without the closing brace of what
 * it ends. False if there was nothing to blank. */
static bool
take_out(struct reading *r, unsigned line)
{
    bool is_stray_brace = strstr(r->error, "closing brace") != NULL;
    char *from, *to;
    int depth = 0;

    if (!find_line(r, line, &from, &to) ||
        slice_trim((struct slice){from, (size_t)(to - from)}).n == 0)
        return false;
    for (char *at = from; at < to; at++)
        depth += (*at == '{') - (*at == '}');
    if (depth > 0)
        to = open_end(r, from, to);
    blank(from, to);
    if (depth < 0 && !is_stray_brace)
        to[-1] = '}';
    return true;
}

/* The end of the file inside a list: the line where that begins is the one to mend. What stands
 * before it is in order, so there is nothing to read again. */
static bool
blame_open_list(struct reading *r)
{
    const char *text = buf_text(&r->clean);
    unsigned line = 1, last_line = r->error_line;

    if (strstr(r->error, "premature end") == NULL)
        return false;
    for (size_t i = 0; text[i]; i++) {
        line += text[i] == '\n';
        if (text[i] == '{')
            r->error_line = line;
        else if (text[i] == '}')
            r->error_line = last_line;
    }
    snprintf(r->error, sizeof r->error, "a list or setting begins here and does not end");
    return true;
}

void
config_file_read(struct slice text, const struct config_file_option *options, size_t count,
                 const struct config_file_ops *ops, void *ctx)
{
    struct reading r = {.options = options, .count = count, .ops = ops, .ctx = ctx};
    bool is_at_end = false;

    buf_init(&r.clean, 0);
    buf_text(&r.clean); /* takes memory, so that it can be pointed into */
    clean(&r, text);
    for (int i = 0; i < ATTEMPTS_MAX && !is_at_end; i++) {
        attempt(&r);
        if (r.error_line == 0)
            break;
        is_at_end = blame_open_list(&r);
        tell_error(&r);
        is_at_end |= !take_out(&r, r.error_line);
    }
    for (size_t i = 0; i < r.value_count; i++)
        ops->on_value(ctx, r.values[i].option, r.values[i].line, r.values[i].text);
    drop_values(&r);
    free(r.values);
    buf_fini(&r.clean);
}
