/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Settings from texts: config.def says which there are and of what kind, config_kind.c how a kind
 * is read, config_rule.c and config_whole.c what else the values must keep.  The grammar is
 * config_file.c's.  Problems are collected with their lines and printed in the order of the file.
 */
#include "base/config_private.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config_file.h"
#include "base/mdoc.h"
#include "base/resolv_conf.h"

#define FILE_MAX_BYTES (1024 * 1024)

static const struct config_option options[] = {
#define OPTION(kind, name, field, fallback, text) \
    {KIND_##kind, name, offsetof(struct config, field), fallback, text},
#include "base/config.def"
#undef OPTION
};

/* --- problems --- */

void
config_add_problem(struct config_loading *l, unsigned line, const char *setting, const char *text)
{
    size_t size = strlen(text) + (setting ? strlen(setting) : 0) + 3;
    struct config_problem *p;

    l->problems = mem_realloc(l->problems, (l->problem_count + 1) * sizeof *l->problems);
    p = &l->problems[l->problem_count];
    *p = (struct config_problem){line, l->problem_count, mem_alloc(size)};
    l->problem_count++;
    snprintf(p->text, size, "%s%s%s", setting ? setting : "", setting ? ": " : "", text);
}

static int
compare_problems(const void *a, const void *b)
{
    const struct config_problem *x = a, *y = b;

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void
print_problems(struct config_loading *l, const char *path, struct buf *out)
{
    if (l->problem_count > 0)
        qsort(l->problems, l->problem_count, sizeof *l->problems, compare_problems);
    for (size_t i = 0; i < l->problem_count; i++) {
        if (l->problems[i].line)
            buf_printf(out, "%s:%u: %s\n", path, l->problems[i].line, l->problems[i].text);
        else
            buf_printf(out, "%s: %s\n", path, l->problems[i].text);
        free(l->problems[i].text);
    }
    free(l->problems);
}

/* --- one value --- */

static void *
field_of(struct config *config, const struct config_option *o)
{
    return (char *)config + o->offset;
}

static void
add_value_problem(struct config_loading *l, const struct config_option *o, unsigned line,
                  const char *value, const char *wrong)
{
    char text[CONFIG_PROBLEM_SIZE];

    snprintf(text, sizeof text, "\"%.100s\" %.290s", value, wrong);
    config_add_problem(l, line, o->name, text);
}

static void
set_value(struct config_loading *l, const struct config_option *o, unsigned line, const char *value)
{
    const char *wrong =
        config_kinds[o->kind].read(value, field_of(l->config, o), config_rule_default_port(o));

    if (!wrong)
        wrong = config_rule_check(l->config, o, value);
    if (wrong)
        add_value_problem(l, o, line, value, wrong);
}

static void
on_value(void *ctx, size_t option, unsigned line, const char *text)
{
    struct config_loading *l = ctx;
    const struct config_option *o = &options[option];
    char twice[CONFIG_PROBLEM_SIZE];

    if (l->lines[option] && !config_kinds[o->kind].is_list) {
        snprintf(twice, sizeof twice, "is set in line %u already; take one away", l->lines[option]);
        config_add_problem(l, line, o->name, twice);
        return;
    }
    l->lines[option] = line;
    set_value(l, o, line, text);
}

static void
on_problem(void *ctx, unsigned line, const char *setting, const char *text)
{
    config_add_problem(ctx, line, setting, text);
}

/* --- the whole --- */

unsigned
config_line_of(const struct config_loading *l, size_t offset)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        if (options[i].offset == offset)
            return l->lines[i];
    return 0;
}

static void
use_system_hostname(struct config *config)
{
    char name[256] = "";

    if (config->hostname[0] != '\0')
        return;
    if (gethostname(name, sizeof name - 1) < 0 || name[0] == '\0')
        snprintf(name, sizeof name, "localhost");
    config_kinds[KIND_TEXT].read(name, &config->hostname, 0);
}

static void
use_own_mx_name(struct config *config)
{
    if (config->mx_names.count == 0)
        config_kinds[KIND_WORDS].read(config->hostname, &config->mx_names, 0);
}

static int
read_resolv_conf(struct inet_endpoint *resolver)
{
    char text[8192];
    FILE *f = fopen("/etc/resolv.conf", "re");
    size_t n;

    if (f == NULL)
        return ERR_IO;
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    return resolv_conf_first((struct slice){text, n}, resolver);
}

static void
use_system_resolver(struct config *config)
{
    if (config->resolver.family == 0 && read_resolv_conf(&config->resolver) < 0)
        config->resolver = (struct inet_endpoint){.family = 4, .addr = {127, 0, 0, 1}, .port = 53};
    config->source_address.port = 0;
}

/* A list's default is one value. */
static void
use_defaults(struct config_loading *l)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *o = &options[i];

        if (l->lines[i] == 0 && (o->fallback || o->kind == KIND_TEXT))
            set_value(l, o, 0, o->fallback ? o->fallback : "");
        else if (o->kind == KIND_TEXT && *(char **)field_of(l->config, o) == NULL)
            config_kinds[KIND_TEXT].read("", field_of(l->config, o), 0);
    }
}

static void
read_settings(struct config_loading *l, struct slice text)
{
    static const struct config_file_ops ops = {on_value, on_problem};
    struct config_file_option table[CONFIG_OPTION_COUNT];

    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        table[i] = (struct config_file_option){
            options[i].name, config_kinds[options[i].kind].is_list, options[i].fallback == NULL};
    config_file_read(text, table, CONFIG_OPTION_COUNT, &ops, l);
    use_defaults(l);
    config_check_whole(l);
    use_system_hostname(l->config);
    use_own_mx_name(l->config);
    use_system_resolver(l->config);
}

#define CACHED_SIZES 64  /* of libc, 16 octets apart */
#define CACHED_BLOCKS 16 /* of each size; it keeps 7 */

/* What was read may hold a password, and what libconfuse frees keeps its content in libc's caches:
 * processes that are not to know it are forked from this one. M_PERTURB wipes the larger blocks. */
static void
wipe_freed_blocks(void)
{
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* where it would be all the work */
    void *blocks[CACHED_SIZES * CACHED_BLOCKS];
    size_t count = 0;

    for (size_t size = 1; size <= CACHED_SIZES; size++)
        for (int i = 0; i < CACHED_BLOCKS; i++) {
            blocks[count] = mem_alloc(size * 16 + 8);
            explicit_bzero(blocks[count++], size * 16 + 8);
        }
    while (count > 0)
        free(blocks[--count]);
#endif
}

static int
read_config(const char *path, struct buf *problems, struct config **config)
{
    struct config_loading l = {.config = mem_alloc(sizeof *l.config)};
    struct buf text;
    int rc;

    *config = NULL;
    buf_init(&text, FILE_MAX_BYTES);
    l.config->path = mem_strdup(path);
    rc = buf_append_file(&text, path);
    if (rc == ERR_LIMIT) {
        buf_printf(problems, "%s: is larger than 1 MiB; this is no configuration\n", path);
        rc = ERR_SYNTAX;
    } else if (rc < 0)
        buf_printf(problems, "%s: cannot be read: %s; name another file with -c\n", path,
                   strerror(errno));
    else {
        read_settings(&l, buf_slice(&text));
        rc = l.problem_count > 0 ? ERR_SYNTAX : ERR_OK;
        print_problems(&l, path, problems);
    }
    buf_fini(&text);
    if (rc < 0)
        config_free(&l.config);
    *config = l.config;
    return rc;
}

int
config_load(const char *path, struct buf *problems, struct config **config)
{
    int rc;

    (void)mallopt(M_PERTURB, 0x55);
    rc = read_config(path, problems, config);
    (void)mallopt(M_PERTURB, 0);
    wipe_freed_blocks();
    return rc;
}

static void
free_words(struct config_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    free(words->items);
}

static void
free_text(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void
config_free(struct config **config_p)
{
    struct config *config = *config_p;

    *config_p = NULL;
    if (config == NULL)
        return;
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        void *field = field_of(config, &options[i]);

        if (options[i].kind == KIND_TEXT)
            free_text(*(char **)field);
        else if (options[i].kind == KIND_WORDS)
            free_words(field);
        else if (options[i].kind == KIND_ENDPOINTS)
            free(((struct config_endpoints *)field)->items);
        else if (options[i].kind == KIND_NETWORKS)
            free(((struct config_networks *)field)->items);
    }
    free(config->path);
    free(config);
}

/* --- the documents --- */

#define SAMPLE_COLUMNS 78

static void
write_wrapped(struct buf *out, const char *prefix, const char *text)
{
    struct slice rest = slice_of(text);
    size_t column = 0;

    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');

        if (column > 0 && column + 1 + word.n > SAMPLE_COLUMNS) {
            buf_add_text(out, "\n");
            column = 0;
        }
        buf_add_text(out, column ? " " : prefix);
        buf_add_slice(out, word);
        column += (column ? 1 : strlen(prefix)) + word.n;
    }
    buf_add_text(out, "\n");
}

static void
write_sample_value(struct buf *out, const struct config_option *o)
{
    const struct config_kind_row *kind = &config_kinds[o->kind];
    const char *quote = kind->is_quoted ? "\"" : "";
    const char *value = o->fallback ? o->fallback : "";

    if (kind->is_list && !o->fallback)
        buf_add_text(out, "{}");
    else
        buf_printf(out, "%s%s%s%s%s", kind->is_list ? "{ " : "", quote, value, quote,
                   kind->is_list ? " }" : "");
}

void
config_write_sample(struct buf *out)
{
    buf_add_text(out, "# postern.conf: the defaults; postern.conf(5) explains the syntax.\n");
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        buf_add_text(out, "\n");
        write_wrapped(out, "# ", options[i].text);
        buf_printf(out, "#%s = ", options[i].name);
        write_sample_value(out, &options[i]);
        buf_add_text(out, "\n");
    }
}

void
config_write_manual(struct buf *out)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        const struct config_option *o = &options[i];

        buf_printf(out, ".It Ic %s No = Ar %s\n", o->name, config_kinds[o->kind].word);
        mdoc_add_lines(out, o->text);
        if (o->fallback)
            buf_printf(out, "Default:\n.Li %s .\n", o->fallback);
    }
}
