/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of relayctl: what is understood, and that every mistake is answered with the word
 * that was wrong and what could have been meant.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "admin/command.h"

static const struct command_option thing_options[] = {
    {"contact", "ADDRESS", "whom to tell"},
    {"max-connections", "N", "how many"},
    {0},
};

static const struct command thing[] = {
    {.noun = "thing",
     .verb = "add",
     .operands = "NAME",
     .min_operands = 1,
     .max_operands = 1,
     .options = thing_options,
     .groups = COMMAND_CHANGES,
     .summary = "Add a thing",
     .example = "relayctl thing add x"},
    {.noun = "thing",
     .verb = "list",
     .groups = COMMAND_SELECTS,
     .summary = "List things",
     .example = "relayctl thing list"},
    {0},
};

static const struct command status[] = {
    {.noun = "status",
     .operands = "[ID ...]",
     .max_operands = COMMAND_MANY,
     .summary = "Look",
     .example = "relayctl status"},
    {0},
};

static const struct command_option look_options[] = {{"ip", "ADDRESS", "whose"}, {0}};

static const struct command look[] = {
    {.noun = "look", .options = look_options, .summary = "Look", .example = "relayctl look"},
    {0},
};

static const struct command *const table[] = {thing, status, look, NULL};

#define WORDS_MAX 12

static int
parse(const char *text, struct command_line *line, struct buf *problem)
{
    static char copy[256];
    char *argv[WORDS_MAX] = {(char *)"relayctl"};
    struct slice rest = {copy, strlen(text)};
    const char *noun;
    int argc = 1;

    memcpy(copy, text, strlen(text) + 1);
    while (text[0] && rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');

        copy[word.p + word.n - copy] = '\0';
        cr_assert(argc < WORDS_MAX);
        argv[argc++] = (char *)word.p;
    }
    return command_parse(table, argc, argv, line, &noun, problem);
}

static const struct {
    const char *text;
    const char *problem; /* contained in it; NULL: understood */
    const char *option, *value;
    unsigned operands;
} lines[] = {
    {"thing add x", NULL, "contact", NULL, 1},
    {"thing add x --contact a@b.example", NULL, "contact", "a@b.example", 1},
    {"thing add --contact a@b.example x", NULL, "contact", "a@b.example", 1},
    {"thing add x --contact=a@b.example", NULL, "contact", "a@b.example", 1},
    {"thing add x --contact=", NULL, "contact", "", 1},
    {"thing add x --contact -", NULL, "contact", "-", 1},
    {"thing add x --dry-run", NULL, "dry-run", "", 1},
    {"-c FILE thing add x", NULL, "config", "FILE", 1},
    {"thing add x -c FILE", NULL, "config", "FILE", 1},
    {"thing add x -cFILE", NULL, "config", "FILE", 1},
    {"--json status", NULL, "json", "", 0},
    {"status a b -", NULL, "json", NULL, 3},
    {"status -- --json", NULL, "json", NULL, 1},
    {"thing list --older 2h", NULL, "older", "2h", 0},
    {"thing add x --contct y", "unknown option --contct; did you mean --contact?", NULL, NULL, 0},
    {"thing add x --max-conections 3", "did you mean --max-connections?", NULL, NULL, 0},
    {"thing add x --dry", "did you mean --dry-run?", NULL, NULL, 0},
    {"thing add x --zzzzz", "unknown option --zzzzz", NULL, NULL, 0},
    {"thing add x --older 2h", "unknown option --older", NULL, NULL, 0},
    {"thing add x --contact", "needs a value: --contact ADDRESS", NULL, NULL, 0},
    {"thing add x --contact --dry-run", "needs a value", NULL, NULL, 0},
    {"thing add x --dry-run=yes", "takes no value", NULL, NULL, 0},
    {"thing add x --contact a --contact b", "given twice", NULL, NULL, 0},
    {"thing add x -q", "unknown option -q", NULL, NULL, 0},
    {"thing add", "needs NAME, for example: relayctl thing add x", NULL, NULL, 0},
    {"thing add x y", "\"y\" is one word too many", NULL, NULL, 0},
    {"thing ad x", "did you mean add?", NULL, NULL, 0},
    {"thing lsit", "did you mean list?", NULL, NULL, 0},
    {"thing frobnicate", "its verbs are: add, list", NULL, NULL, 0},
    {"thing", "Its verbs are: add, list", NULL, NULL, 0},
    {"thign add x", "did you mean thing?", NULL, NULL, 0},
    {"hlp thing", "did you mean help?", NULL, NULL, 0},
    {"thing add x -contact y", "unknown option -contact; did you mean --contact?", NULL, NULL, 0},
    {"thing list -config y", "unknown option -config; did you mean --config?", NULL, NULL, 0},
    {"thing list a@b.example", "did you mean --rcpt a@b.example?", NULL, NULL, 0},
    {"thing list b.example", "did you mean --domain b.example?", NULL, NULL, 0},
    {"thing list b", "did you mean --customer b?", NULL, NULL, 0},
    {"thing list P001-4KX3T-0B7Q2CF", "did you mean --id P001-4KX3T-0B7Q2CF?", NULL, NULL, 0},
    {"look 192.0.2.10", "did you mean --ip 192.0.2.10?", NULL, NULL, 0},
    {"look 2001:db8::/32", "did you mean --ip 2001:db8::/32?", NULL, NULL, 0},
    {"frobnicate", "`relayctl help` lists all", NULL, NULL, 0},
    {"", "what is to be done?", NULL, NULL, 0},
};

Test(command, reads_every_line_or_says_what_is_wrong)
{
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct command_line line;
        struct buf problem;
        const char *value;
        int rc;

        buf_init(&problem, 0);
        rc = parse(lines[i].text, &line, &problem);
        cr_expect_eq(rc, lines[i].problem ? ERR_SYNTAX : ERR_OK, "%s: %s", lines[i].text,
                     buf_text(&problem));
        if (lines[i].problem) {
            cr_expect(strstr(buf_text(&problem), lines[i].problem) != NULL, "%s: %s", lines[i].text,
                      buf_text(&problem));
        } else if (rc == ERR_OK) {
            value = command_value(&line, lines[i].option);
            cr_expect((value == NULL) == (lines[i].value == NULL) &&
                          (value == NULL || strcmp(value, lines[i].value) == 0),
                      "%s: %s", lines[i].text, value ? value : "(none)");
            cr_expect_eq(line.operand_count, lines[i].operands, "%s", lines[i].text);
        }
        command_line_fini(&line);
        buf_fini(&problem);
    }
}

Test(command, has_help_at_every_level_with_an_example)
{
    static const struct {
        const char *noun, *verb;
    } levels[] = {{NULL, NULL}, {"thing", NULL}, {"thing", "add"}, {"status", NULL}};

    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        struct buf out;

        buf_init(&out, 0);
        cr_expect_eq(command_help(table, levels[i].noun, levels[i].verb, &out), ERR_OK);
        cr_expect(strstr(buf_text(&out), "Example:\n  relayctl ") != NULL, "%s", buf_text(&out));
        buf_fini(&out);
    }
}

static const char *const help_lines[] = {
    "--help",           "-h",         "help",           "thing --help",      "thing add -h",
    "thing add --help", "help thing", "help thing add", "-c FILE help thing"};

Test(command, asks_for_help_in_many_ways)
{
    for (size_t i = 0; i < ARRAY_SIZE(help_lines); i++) {
        struct command_line line;
        struct buf problem;

        buf_init(&problem, 0);
        cr_expect_eq(parse(help_lines[i], &line, &problem), ERR_OK, "%s: %s", help_lines[i],
                     buf_text(&problem));
        cr_expect(line.help, "%s", help_lines[i]);
        command_line_fini(&line);
        buf_fini(&problem);
    }
}
