/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Finds the command, then reads options and operands against its table.  Every mistake is answered
 * with the word that was wrong and what could have been meant.
 */
#include "admin/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inet.h"
#include "base/ref.h"

const struct command_option command_common_options[] = {
    {"config", "FILE", "the configuration file; also -c FILE"},
    {"json", NULL, "print JSON: postern-json(7) has the fields of every command"},
    {"help", NULL, "print this help; also -h"},
    {0},
};

static const struct command_option change_options[] = {
    {"dry-run", NULL, "check everything and say what would be done, but change nothing"},
    {"reason", "TEXT", "why; kept in the audit"},
    {"yes", NULL, "do not ask on a terminal"},
    {0},
};

static const struct command_option select_options[] = {
    {"customer", "NAME", "of this customer"},
    {"domain", "NAME", "with a recipient in this domain"},
    {"backend", "CUSTOMER/N", "whose route has this backend"},
    {"rcpt", "ADDRESS", "for this recipient; @example.net is a whole domain"},
    {"from", "ADDRESS", "from this sender; \"<>\" is the null sender, @example.net a whole domain"},
    {"older", "AGE", "received longer ago than this, e.g. 2h"},
    {"newer", "AGE", "received less long ago than this, e.g. 30m"},
    {"state", "WORD", "waiting, no-route, held, offered, prepared, listening, damaged or ended"},
    {"id", "ID", "this message, by its reference"},
    {"node", "N", "in the spool of that node, through PostgreSQL; else of this one"},
    {0},
};

const struct command_option *
command_group_options(enum command_group group)
{
    return group == COMMAND_CHANGES ? change_options : select_options;
}

/* --- Guessing. */

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
    a = a < b ? a : b;
    return a < c ? a : c;
}

/* Edits that turn `a` into `b`; a swap of neighbours is one (Damerau, optimal string alignment). */
static unsigned
edit_distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    unsigned rows[3][MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > MAX || m > MAX)
        return MAX;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two_before[j - 2] + 1 < now[j])
                now[j] = two_before[j - 2] + 1;
        }
    }
    return rows[n % 3][m];
}

void
command_guess_offer(struct command_guess *guess, const char *word, const char *candidate)
{
    size_t n = strlen(word);
    unsigned distance = edit_distance(word, candidate), allowed = n <= 3 ? 1 : 1 + (unsigned)n / 4;

    if (n >= 2 && strncmp(word, candidate, n) == 0) /* a beginning of it */
        distance = 1;
    if (distance > allowed || (guess->best && guess->distance <= distance))
        return;
    guess->best = candidate;
    guess->distance = distance;
}

static void
add_guess(struct buf *problem, const char *prefix, const struct command_guess *guess)
{
    if (guess->best)
        buf_printf(problem, "; did you mean %s%s?", prefix, guess->best);
}

/* --- Finding the command. */

const struct command *
command_verbs(const struct command *const *commands, const char *noun)
{
    for (; *commands; commands++)
        if (strcmp((*commands)->noun, noun) == 0)
            return *commands;
    return NULL;
}

const struct command *
command_find(const struct command *const *commands, const char *noun, const char *verb)
{
    for (const struct command *c = command_verbs(commands, noun); c && c->noun; c++)
        if (c->verb == NULL || (verb && strcmp(c->verb, verb) == 0))
            return c;
    return NULL;
}

bool
command_has_verbs(const struct command *const *commands, const char *noun)
{
    for (const struct command *c = command_verbs(commands, noun); c && c->noun; c++)
        if (c->verb)
            return true;
    return false;
}

static void
complain_noun(const struct command *const *commands, const char *noun, struct buf *problem)
{
    struct command_guess guess = {0};

    buf_printf(problem, "unknown command \"%s\"", noun);
    command_guess_offer(&guess, noun, "help");
    for (; *commands; commands++)
        command_guess_offer(&guess, noun, (*commands)->noun);
    add_guess(problem, "", &guess);
    if (guess.best == NULL)
        buf_add_text(problem, "; `relayctl help` lists all");
}

static void
add_verbs(const struct command *verbs, struct buf *out)
{
    const char *separator = "";

    for (; verbs->noun; verbs++)
        if (verbs->verb) {
            buf_printf(out, "%s%s", separator, verbs->verb);
            separator = ", ";
        }
}

void
command_complain_verb(const struct command *verbs, const char *verb, struct buf *problem)
{
    struct command_guess guess = {0};

    if (verb == NULL) {
        buf_printf(problem, "%s what? Its verbs are: ", verbs->noun);
        add_verbs(verbs, problem);
        return;
    }
    buf_printf(problem, "%s has no verb \"%s\"", verbs->noun, verb);
    for (const struct command *c = verbs; c->noun; c++)
        if (c->verb)
            command_guess_offer(&guess, verb, c->verb);
    add_guess(problem, "", &guess);
    if (guess.best == NULL) {
        buf_add_text(problem, "; its verbs are: ");
        add_verbs(verbs, problem);
    }
}

/* --- Options. */

void
command_each_option(const struct command *command, command_on_option each, void *ctx)
{
    const struct command_option *sets[] = {
        command ? command->options : NULL,
        command && (command->groups & COMMAND_SELECTS) ? select_options : NULL,
        command && (command->groups & COMMAND_CHANGES) ? change_options : NULL,
        command_common_options,
    };

    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        for (const struct command_option *o = sets[i]; o && o->name; o++)
            each(ctx, o);
}

struct search {
    struct slice name;
    const struct command_option *found;
    struct command_guess guess;
    char word[64];
};

static void
on_search(void *ctx, const struct command_option *option)
{
    struct search *search = ctx;

    if (slice_equal(search->name, slice_of(option->name)))
        search->found = option;
    else
        command_guess_offer(&search->guess, search->word, option->name);
}

static const struct command_option *
find_option(const struct command *command, struct slice name, struct command_guess *guess)
{
    struct search search = {.name = name};

    if (!slice_to_text(name, search.word, sizeof search.word))
        return NULL;
    command_each_option(command, on_search, &search);
    if (guess)
        *guess = search.guess;
    return search.found;
}

const struct command_option *
command_find_option(const struct command *command, struct slice name)
{
    return find_option(command, name, NULL);
}

/* Notes an option; `attached`: the value behind "=", NULL if there was none; `*i` moves on if the
 * value is the next word. */
static int
take_option(struct command_line *line, struct slice name, const char *attached, int argc,
            char *const *argv, int *i, struct buf *problem)
{
    struct command_guess guess = {0};
    const struct command_option *option = find_option(line->command, name, &guess);

    if (option == NULL) {
        buf_printf(problem, "unknown option --" SLICE_FMT, SLICE_ARG(name));
        add_guess(problem, "--", &guess);
        return ERR_SYNTAX;
    }
    if (option->value == NULL && attached) {
        buf_printf(problem, "option --%s takes no value", option->name);
        return ERR_SYNTAX;
    }
    if (option->value && !attached && (*i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0)) {
        buf_printf(problem, "option --%s needs a value: --%s %s", option->name, option->name,
                   option->value);
        return ERR_SYNTAX;
    }
    for (unsigned k = 0; k < line->given_count; k++)
        if (line->given[k].option == option) {
            buf_printf(problem, "option --%s is given twice", option->name);
            return ERR_SYNTAX;
        }
    CHECK(line->given_count < COMMAND_OPTIONS_MAX);
    line->given[line->given_count].option = option;
    line->given[line->given_count++].value = option->value == NULL ? ""
                                             : attached            ? attached
                                                                   : argv[++*i];
    return ERR_OK;
}

static int
take_word(struct command_line *line, int argc, char *const *argv, int *i, struct buf *problem)
{
    const char *word = argv[*i], *equals;
    struct slice name;

    if (word[1] != '-' && command_find_option(line->command, slice_of(word + 1)) != NULL) {
        buf_printf(problem, "unknown option %s; did you mean -%s?", word, word);
        return ERR_SYNTAX;
    }
    if (strncmp(word, "-c", 2) == 0)
        return take_option(line, SLICE("config"), word[2] ? word + 2 : NULL, argc, argv, i,
                           problem);
    if (strcmp(word, "-h") == 0)
        return take_option(line, SLICE("help"), NULL, argc, argv, i, problem);
    if (strncmp(word, "--", 2) != 0) {
        buf_printf(problem, "unknown option %s; options are written --name", word);
        return ERR_SYNTAX;
    }
    name = slice_of(word + 2);
    equals = strchr(word, '=');
    if (equals)
        name.n = (size_t)(equals - name.p);
    return take_option(line, name, equals ? equals + 1 : NULL, argc, argv, i, problem);
}

/* What was perhaps meant is a message, a client, an address, a domain or a customer. */
static const char *
selector_for(const char *word)
{
    struct inet_network network;
    struct ref ref;

    if (ref_find(slice_of(word), &ref) == ERR_OK)
        return "id";
    if (inet_network_parse(slice_of(word), &network) == ERR_OK)
        return "ip";
    return strchr(word, '@') ? "rcpt" : strchr(word, '.') ? "domain" : "customer";
}

static void
suggest_selector(const struct command *c, const char *word, struct buf *problem)
{
    const char *name = selector_for(word);

    if (command_find_option(c, slice_of(name)) != NULL)
        buf_printf(problem, "; did you mean --%s %s?", name, word);
}

static int
check_operands(const struct command *const *commands, const struct command_line *line,
               struct buf *problem)
{
    const struct command *c = line->command;

    if (line->operand_count < c->min_operands) {
        buf_printf(problem, "%s%s%s needs %s, for example: %s", c->noun, c->verb ? " " : "",
                   c->verb ? c->verb : "", c->operands, c->example);
        return ERR_SYNTAX;
    }
    if (line->operand_count <= c->max_operands)
        return ERR_OK;
    if (c->verb == NULL && command_has_verbs(commands, c->noun)) {
        command_complain_verb(command_verbs(commands, c->noun), line->operands[0], problem);
        return ERR_SYNTAX;
    }
    buf_printf(problem, "\"%s\" is one word too many; the form is: relayctl %s%s%s [OPTIONS]%s%s",
               line->operands[c->max_operands], c->noun, c->verb ? " " : "", c->verb ? c->verb : "",
               c->operands ? " " : "", c->operands ? c->operands : "");
    suggest_selector(c, line->operands[c->max_operands], problem);
    return ERR_SYNTAX;
}

/* Options may stand before the noun as well: -c FILE often does. Returns the index of the next word
 * that is none, or argc; options of the command itself are not known yet. */
static int
take_leading(struct command_line *line, int argc, char *const *argv, int *i, struct buf *problem)
{
    for (; *i < argc && argv[*i][0] == '-' && argv[*i][1]; ++*i) {
        int rc;

        if (strcmp(argv[*i], "--version") == 0) {
            line->version = true;
            continue;
        }
        rc = take_word(line, argc, argv, i, problem);
        if (rc < 0)
            return rc;
    }
    return ERR_OK;
}

static int
take_rest(struct command_line *line, int argc, char *const *argv, int i, struct buf *problem)
{
    bool options_ended = false;

    for (; i < argc; i++) {
        int rc;

        if (options_ended || argv[i][0] != '-' || argv[i][1] == '\0') {
            line->operands[line->operand_count++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            options_ended = true;
            continue;
        }
        rc = take_word(line, argc, argv, &i, problem);
        if (rc < 0)
            return rc;
    }
    return ERR_OK;
}

static bool
asks_help(const struct command_line *line)
{
    for (unsigned k = 0; k < line->given_count; k++)
        if (strcmp(line->given[k].option->name, "help") == 0)
            return true;
    return false;
}

int
command_parse(const struct command *const *commands, int argc, char *const *argv,
              struct command_line *line, const char **noun_for_help, struct buf *problem)
{
    const char *noun, *verb;
    int i = 1, rc;

    *line = (struct command_line){.operands = mem_alloc(((size_t)argc + 1) * sizeof(char *))};
    *noun_for_help = NULL;
    rc = take_leading(line, argc, argv, &i, problem);
    if (rc < 0)
        return rc;
    line->help = asks_help(line);
    noun = i < argc ? argv[i] : NULL;
    if (line->version || (line->help && noun == NULL))
        return ERR_OK;
    if (noun == NULL) {
        buf_add_text(problem, "what is to be done? `relayctl help` lists the commands");
        return ERR_SYNTAX;
    }
    if (strcmp(noun, "help") == 0) {
        line->help = true;
        while (++i < argc)
            line->operands[line->operand_count++] = argv[i];
        return ERR_OK;
    }
    if (command_verbs(commands, noun) == NULL) {
        complain_noun(commands, noun, problem);
        return ERR_SYNTAX;
    }
    verb = i + 1 < argc ? argv[i + 1] : NULL;
    line->command = command_find(commands, noun, verb);
    if (line->command == NULL) {
        line->help =
            line->help || (verb && (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0));
        if (line->help) {
            *noun_for_help = noun;
            return ERR_OK;
        }
        command_complain_verb(command_verbs(commands, noun), verb, problem);
        return ERR_SYNTAX;
    }
    i += line->command->verb ? 2 : 1;
    rc = take_rest(line, argc, argv, i, problem);
    line->help = asks_help(line);
    if (line->help)
        line->operand_count = 0;
    return rc < 0 || line->help ? rc : check_operands(commands, line, problem);
}

void
command_line_fini(struct command_line *line)
{
    free(line->operands);
    line->operands = NULL;
}

const char *
command_value(const struct command_line *line, const char *option)
{
    const struct command_option *wanted = find_option(line->command, slice_of(option), NULL);

    CHECK(wanted != NULL);
    for (unsigned k = 0; k < line->given_count; k++)
        if (line->given[k].option == wanted)
            return line->given[k].value;
    return NULL;
}
