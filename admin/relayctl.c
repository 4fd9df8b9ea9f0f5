/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl: the command line of operators and support.  Reads the line, provides what the command
 * needs (configuration, database, a schema that fits), runs it, and exits with its status.  It does
 * no work of its own, and it needs no running daemon.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/pager.h"
#include "admin/paragraph.h"
#include "admin/replies.h"
#include "admin/spool_serve.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "config.h"

static int
show_command(const char *noun, const char *verb, bool all_verbs)
{
    struct buf out;
    int rc;

    buf_init(&out, 0);
    rc = all_verbs && noun && !verb ? command_help_verbs(commands, noun, &out)
                                    : command_help(commands, noun, verb, &out);
    fputs(buf_text(&out), stdout);
    buf_fini(&out);
    return rc;
}

static void
add_no_help(const char *noun, const char *verb, struct buf *problem)
{
    struct command_guess guess = {0};

    buf_printf(problem, "there is no command and no reply \"%s%s%s\"", noun, verb ? " " : "",
               verb ? verb : "");
    for (size_t i = 0; commands[i] != NULL; i++)
        command_guess_offer(&guess, noun, commands[i]->noun);
    for (unsigned i = 0; i < SMTP_VERDICT_COUNT; i++)
        command_guess_offer(&guess, noun, smtp_verdict_word((enum smtp_verdict)i));
    if (guess.best)
        buf_printf(problem, "; did you mean `relayctl help %s`?", guess.best);
    else
        buf_add_text(problem, "; `relayctl help` lists all commands, postern-replies(7) all "
                              "replies");
}

/* Of a command, or of a reply. */
static enum command_status
show_help(const char *const *words, unsigned count)
{
    const char *noun = count > 0 ? words[0] : NULL, *verb = count > 1 ? words[1] : NULL;
    const struct command *verbs = noun ? command_verbs(commands, noun) : NULL;
    enum command_status status;
    struct buf problem;

    if (show_command(noun, verb, true) == ERR_OK || replies_print(stdout, words, count) == ERR_OK)
        return COMMAND_DONE;
    buf_init(&problem, 0);
    if (verbs)
        command_complain_verb(verbs, verb, &problem);
    else
        add_no_help(noun, verb, &problem);
    status = call_usage("%s", buf_text(&problem));
    buf_fini(&problem);
    return status;
}

/* What was asked for with --help. */
static enum command_status
show_help_of(const struct command_line *line, const char *noun)
{
    const char *verb = line->command ? line->command->verb : NULL;

    CHECK(show_command(line->command ? line->command->noun : noun, verb, false) == ERR_OK);
    return COMMAND_DONE;
}

static void
complain_lines(struct slice text)
{
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        struct slice line = {.p = text.p, .n = end ? (size_t)(end - text.p) : text.n};
        size_t used = line.n + (end != NULL);

        call_complain(SLICE_FMT, SLICE_ARG(line));
        text = (struct slice){.p = text.p + used, .n = text.n - used};
    }
}

static enum command_status
load_config(struct call *call)
{
    struct buf problems;
    int rc;

    call->config_path = call_value(call, "config");
    if (call->config_path == NULL)
        call->config_path = CONFIG_DEFAULT_FILE;
    buf_init(&problems, 0);
    rc = config_load(call->config_path, &problems, &call->config);
    if (rc < 0)
        complain_lines(buf_slice(&problems));
    if (rc < 0 && buf_size(&problems) == 0)
        call_complain("%s: %s", call->config_path, err_text(rc));
    buf_fini(&problems);
    if (rc == ERR_OK && clock_set_timezone(call->config->timezone) < 0) {
        call_complain("%s: timezone: there is no zone \"%s\"; use a name such as Europe/Berlin",
                      call->config_path, call->config->timezone);
        rc = ERR_NOT_FOUND;
    }
    return rc < 0 ? COMMAND_FAILED : COMMAND_DONE;
}

static enum command_status
provide(struct call *call)
{
    enum command_needs needs = call->line.command->needs;
    enum command_status status = COMMAND_DONE;

    if (needs >= COMMAND_NEEDS_CONFIG)
        status = load_config(call);
    if (status == COMMAND_DONE && needs >= COMMAND_NEEDS_DATABASE)
        status = database_connect(call);
    if (status == COMMAND_DONE && needs >= COMMAND_NEEDS_REGISTRY)
        status = database_check_schema(call);
    return status;
}

/* $COLUMNS first, as other programs do.  0: there is no terminal, or it has no size. */
static unsigned
terminal_width(bool is_terminal)
{
    const char *text = getenv("COLUMNS");
    struct winsize size = {0};
    uint64_t columns;

    if (!is_terminal)
        return 0;
    if (text && parse_u64(slice_of(text), &columns) == ERR_OK && columns > 0 && columns < 10000)
        return (unsigned)columns;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static enum command_status
run(struct call *call, bool is_terminal, unsigned width)
{
    enum command_status status;

    call->printing = (struct printer_settings){
        .json = call_value(call, "json") != NULL,
        .colour = is_terminal && getenv("NO_COLOR") == NULL,
        .width = width,
        .now_ms = clock_wall_ms(),
        .out = stdout,
    };
    if (call->line.command->groups & COMMAND_CHANGES)
        call->dry_run = call_value(call, "dry-run") != NULL;
    status = provide(call);
    if (status == COMMAND_DONE)
        status = call->line.command->run(call);
    else if (call->line.command->run == status_show)
        status = status_not_looked(call, status);
    database_disconnect(call);
    config_free(&call->config);
    return status;
}

static enum command_status
start(struct call *call, int argc, char **argv)
{
    bool is_terminal = isatty(STDOUT_FILENO);
    unsigned width;
    const char *noun = NULL;
    struct buf problem;
    int rc;

    width = terminal_width(is_terminal || call->reads_for);
    paragraph_set_width(width);
    call_wrap_complaints(width > 0 && isatty(STDERR_FILENO));
    buf_init(&problem, 0);
    rc = command_parse(commands, argc, argv, &call->line, &noun, &problem);
    if (rc < 0)
        call_complain("%s", buf_text(&problem));
    buf_fini(&problem);
    if (rc < 0)
        return COMMAND_USAGE;
    if (call->line.version) {
        printf("relayctl %s\n", PACKAGE_VERSION);
        return COMMAND_DONE;
    }
    if (call->reads_for == NULL) /* whoever asked has one */
        pager_start(&call->line);
    if (call->line.help && call->line.operand_count > 0)
        return show_help(call->line.operands, call->line.operand_count);
    if (call->line.help)
        return show_help_of(&call->line, noun);
    return run(call, is_terminal, width);
}

/* Run by the keeper for who may not read the spool's files. */
static enum command_status
serve(int argc, char **argv)
{
    struct call call = {0};
    enum command_status status = COMMAND_FAILED;

    if (!spool_serve_begin(&argc, &argv, &call.reads_for))
        return COMMAND_FAILED;
    status = start(&call, argc, argv);
    command_line_fini(&call.line);
    call_fini(&call);
    spool_serve_end(status);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    free(argv);
    return status;
}

int
main(int argc, char **argv)
{
    struct call call = {0};
    enum command_status status;

    log_init("relayctl", STDERR_FILENO, LOG_LEVEL_WARN);
    if (argc == 4 && strcmp(argv[1], "--serve-reader") == 0)
        return (int)serve(argc, argv);
    status = start(&call, argc, argv);
    command_line_fini(&call.line);
    call_fini(&call);
    if (!pager_end() && (ferror(stdout) || fflush(stdout) != 0) && status == COMMAND_DONE)
        status = COMMAND_FAILED;
    return (int)status;
}
