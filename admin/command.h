/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of relayctl: `relayctl NOUN VERB [OPTIONS] [OPERANDS]`.  One struct per command; the
 * parser, the help and the near-miss suggestions all read the same tables.  No getopt: options may
 * stand anywhere behind the verb, as --name VALUE or --name=VALUE; `--` ends them; `-` is an
 * operand.
 *
 * `commands` below is a list of tables, one a noun, that ends with NULL; a table has a row a verb,
 * and ends with noun NULL.
 */
#ifndef ADMIN_COMMAND_H
#define ADMIN_COMMAND_H

#include "base/buf.h"

/* DESIGN section 9. */
enum command_status {
    COMMAND_DONE = 0,
    COMMAND_FAILED = 1,
    COMMAND_USAGE = 2,
    COMMAND_NOTHING = 3, /* nothing matched */
    COMMAND_PARTLY = 4,
    COMMAND_LATER = 75, /* the database is away */
};

struct command_option {
    const char *name;  /* without dashes */
    const char *value; /* what the help calls the value; NULL: a switch */
    const char *text;
};

enum command_needs {
    COMMAND_NEEDS_NOTHING,
    COMMAND_NEEDS_CONFIG,
    COMMAND_NEEDS_DATABASE, /* connected, whatever the schema */
    COMMAND_NEEDS_REGISTRY, /* connected, and the schema fits */
};

/* Groups of options that many commands share. */
enum command_group {
    COMMAND_CHANGES = 1, /* --dry-run --reason --yes */
    COMMAND_SELECTS = 2, /* the selectors of messages */
    /* No options: */
    COMMAND_BY_SUPPORT = 4,  /* support staff may do it, although it changes something */
    COMMAND_BY_OPERATOR = 8, /* they may not, although it changes nothing that is served */
};

struct call;

struct command {
    const char *noun;
    const char *verb;     /* NULL: the noun stands alone */
    const char *operands; /* as the help writes them: "NAME", "[ID ...]"; NULL: none */
    unsigned min_operands, max_operands;
    const struct command_option *options; /* ends with name NULL; NULL: none */
    unsigned groups;                      /* enum command_group */
    enum command_needs needs;
    enum command_status (*run)(struct call *call);
    const char *summary; /* one line */
    const char *example;
    const char *more; /* further lines of the help; NULL: none */
};

#define COMMAND_MANY 100000u
#define COMMAND_OPTIONS_MAX 40

/* What the command line said, borrowed from argv. */
struct command_line {
    const struct command *command;
    struct {
        const struct command_option *option;
        const char *value; /* "" for a switch */
    } given[COMMAND_OPTIONS_MAX];
    unsigned given_count;
    const char **operands; /* free() */
    unsigned operand_count;
    bool help, version;
};

extern const struct command_option command_common_options[];
/* The options of one of the bits of enum command_group. */
const struct command_option *command_group_options(enum command_group group);

/* The table of a noun; NULL: there is none. */
const struct command *command_verbs(const struct command *const *commands, const char *noun);
/* A noun may have verbs, and stand alone as well. */
bool command_has_verbs(const struct command *const *commands, const char *noun);
/* A noun that stands alone needs no verb; NULL: there is none. */
const struct command *command_find(const struct command *const *commands, const char *noun,
                                   const char *verb);
/* Adds to `problem` that the noun has no such verb (NULL: that one is missing), and which is meant.
 */
void command_complain_verb(const struct command *verbs, const char *verb, struct buf *problem);
/* All options of a command, those of its groups and the common ones; of the latter alone: NULL. */
typedef void (*command_on_option)(void *ctx, const struct command_option *option);
void command_each_option(const struct command *command, command_on_option each, void *ctx);
const struct command_option *command_find_option(const struct command *command, struct slice name);

/* Reads argv[1 .. argc - 1] against `commands`. ERR_SYNTAX: `problem` has one sentence with the
 * remedy. With `help` set the command may be missing: then *noun_for_help is the noun or NULL. */
MUST_USE int command_parse(const struct command *const *commands, int argc, char *const *argv,
                           struct command_line *line, const char **noun_for_help,
                           struct buf *problem);
void command_line_fini(struct command_line *line);

/* The value that was given, "" for a switch, NULL if it was not. The command must have this option.
 */
const char *command_value(const struct command_line *line, const char *option);

/* Help: everything (noun NULL), a noun's verbs, or one command. ERR_NOT_FOUND. */
MUST_USE int command_help(const struct command *const *commands, const char *noun, const char *verb,
                          struct buf *out);

/* As command_help of a noun, with the help of each verb behind the list. */
MUST_USE int command_help_verbs(const struct command *const *commands, const char *noun,
                                struct buf *out);

/* The nearest of the candidates offered one by one; start with a zeroed struct. */
struct command_guess {
    const char *best;
    unsigned distance;
};
void command_guess_offer(struct command_guess *guess, const char *word, const char *candidate);

#endif
