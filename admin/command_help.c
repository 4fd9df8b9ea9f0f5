/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The help, from the tables of commands: of all, of a noun, of one command.
 */
#include <stdio.h>
#include <string.h>

#include "admin/command.h"
#include "admin/paragraph.h"

#define HELP_COLUMNS 80
#define HELP_OPTION_COLUMN 37 /* where the text of an option begins */

static void
on_print_option(void *ctx, const struct command_option *option)
{
    struct buf *out = ctx;
    size_t before = buf_size(out), column;

    buf_printf(out, "  --%s%s%s ", option->name, option->value ? " " : "",
               option->value ? option->value : "");
    column = buf_size(out) - before;
    if (column < HELP_OPTION_COLUMN) {
        buf_printf(out, "%*s", (int)(HELP_OPTION_COLUMN - column), "");
        column = HELP_OPTION_COLUMN;
    }
    paragraph_add(out, (unsigned)column, HELP_OPTION_COLUMN, HELP_COLUMNS, option->text);
}

static void
help_command(const struct command *c, struct buf *out)
{
    const char *space = c->verb ? " " : "", *verb = c->verb ? c->verb : "";

    buf_printf(out, "relayctl %s%s%s [OPTIONS]%s%s\n\n%s.\n", c->noun, space, verb,
               c->operands ? " " : "", c->operands ? c->operands : "", c->summary);
    if (c->more)
        paragraph_add(out, 0, 0, HELP_COLUMNS, c->more);
    buf_add_text(out, "\nOptions:\n");
    command_each_option(c, on_print_option, out);
    buf_printf(out, "\nExample:\n  %s\n", c->example);
}

static void
help_list(const struct command *verbs, struct buf *out)
{
    for (const struct command *c = verbs; c->noun; c++) {
        char name[64];

        snprintf(name, sizeof name, "%s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
        buf_printf(out, "  %-24s ", name);
        paragraph_add(out, 27, 27, HELP_COLUMNS, c->summary);
    }
}

static void
help_verbs(const struct command *verbs, struct buf *out)
{
    buf_printf(out, "relayctl %s VERB [OPTIONS] [OPERANDS]\n\nVerbs:\n", verbs->noun);
    help_list(verbs, out);
}

int
command_help(const struct command *const *commands, const char *noun, const char *verb,
             struct buf *out)
{
    const struct command *verbs, *command;

    if (noun == NULL) {
        buf_add_text(out, "relayctl [-c FILE] NOUN VERB [OPTIONS] [OPERANDS]\n\n"
                          "Administers Postern, the mail gate.\n\nCommands:\n");
        for (; *commands; commands++)
            help_list(*commands, out);
        buf_add_text(out, "\nOptions of all commands:\n");
        command_each_option(NULL, on_print_option, out);
        buf_add_text(out, "\nExit status: 0 done, 1 failed, 2 usage, 3 nothing matched, 4 partly "
                          "done,\n75 try later (database away).\n"
                          "\nExample:\n  relayctl customer add acme --contact ops@acme.example\n"
                          "\n`relayctl help NOUN VERB` says more; `relayctl help CODE` explains a "
                          "reply,\ne.g. 5.7.23.\n");
        return ERR_OK;
    }
    command = command_find(commands, noun, verb);
    if (command) {
        help_command(command, out);
        return ERR_OK;
    }
    verbs = command_verbs(commands, noun);
    if (verbs == NULL || verb)
        return ERR_NOT_FOUND;
    help_verbs(verbs, out);
    buf_printf(out,
               "\nExample:\n  %s\n\n`relayctl help %s VERB` says more; `relayctl help %s` and "
               "relayctl-%s(8)\nsay all.\n",
               verbs->example, noun, noun, noun);
    return ERR_OK;
}

int
command_help_verbs(const struct command *const *commands, const char *noun, struct buf *out)
{
    const struct command *verbs = command_verbs(commands, noun);

    if (!command_has_verbs(commands, noun))
        return command_help(commands, noun, NULL, out);
    help_verbs(verbs, out);
    for (; verbs->noun; verbs++) {
        buf_add_text(out, "\n");
        help_command(verbs, out);
    }
    return ERR_OK;
}
