/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl completion: a few lines for the shell, which ask us on every press of the key.  So all
 * shells know the same, by the table of commands, and never an older one.
 *
 *   relayctl completion --words -- spool list --customer a
 *     acme
 *
 * A candidate a line, behind a tab what it is; ":files": the names of files.  The database is asked
 * for names with little patience, and nothing is said if it does not answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/registry_form.h"
#include "policy/policy.h"
#include "smtp/smtp_reply.h"

#define PATIENCE_S "2" /* the least that libpq takes */
#define NAMES_MAX "200"

/* --- The scripts. */

static const struct {
    const char *shell, *script;
} scripts[] = {
    {"bash",
     "# bash: source <(relayctl completion bash), or as a file in /usr/share/bash-completion/"
     "completions\n"
     "_relayctl() {\n"
     "    local line\n"
     "    COMPREPLY=()\n"
     "    while IFS= read -r line; do\n"
     "        if [[ $line == :files ]]; then\n"
     "            compopt -o filenames 2>/dev/null\n"
     "            mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$2\")\n"
     "        else\n"
     "            COMPREPLY+=(\"${line%%$'\\t'*}\")\n"
     "        fi\n"
     "    done < <(\"$1\" completion --words -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
     "}\n"
     "complete -F _relayctl relayctl\n"},
    {"zsh",
     "#compdef relayctl\n"
     "# zsh: source <(relayctl completion zsh), or as a file _relayctl in a folder of $fpath\n"
     "_relayctl() {\n"
     "    local line word\n"
     "    local -a found\n"
     "    while IFS= read -r line; do\n"
     "        if [[ $line == :files ]]; then\n"
     "            _files\n"
     "        else\n"
     "            word=${line%%$'\\t'*}\n"
     "            found+=(\"${word//:/\\\\:}:${${line#$word}#$'\\t'}\")\n"
     "        fi\n"
     "    done < <(\"${words[1]}\" completion --words -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
     "    (( ${#found} )) && _describe relayctl found\n"
     "}\n"
     "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"
     "    _relayctl \"$@\"\n"
     "else\n"
     "    compdef _relayctl relayctl\n"
     "fi\n"},
    {"fish",
     "# fish: relayctl completion fish | source, or as a file in ~/.config/fish/completions\n"
     "function __relayctl_complete\n"
     "    set -l words (commandline -opc)\n"
     "    for line in ($words[1] completion --words -- $words[2..-1] (commandline -ct) "
     "2>/dev/null)\n"
     "        if test \"$line\" = :files\n"
     "            __fish_complete_path (commandline -ct)\n"
     "        else\n"
     "            echo $line\n"
     "        end\n"
     "    end\n"
     "end\n"
     "complete -c relayctl -f -a '(__relayctl_complete)'\n"},
};

/* --- Candidates. */

struct completing {
    const struct call *call;
    const char *prefix; /* what is there of the word */
    const char *lead;   /* "--policy=": in front of a value */
    size_t cut;         /* octets of a candidate that the shell has in a word of their own */
    const char *config_path;
};

static void
offer(const struct completing *c, const char *word, const char *text)
{
    char whole[512];
    int n = snprintf(whole, sizeof whole, "%s%s", c->lead, word);

    if (n < 0 || (size_t)n >= sizeof whole || strncmp(word, c->prefix, strlen(c->prefix)) != 0 ||
        c->cut > (size_t)n)
        return;
    fprintf(c->call->printing.out, "%s%s%.60s\n", whole + c->cut, text ? "\t" : "",
            text ? text : "");
}

static void
offer_files(const struct completing *c)
{
    fputs(":files\n", c->call->printing.out);
}

/* --- Names, from the database. */

static PGconn *
connect_quickly(const struct completing *c, struct config **config)
{
    const char *const keywords[] = {"dbname", "connect_timeout", "options", NULL};
    const char *values[] = {NULL, PATIENCE_S, "-c statement_timeout=500", NULL};
    struct buf problems;
    PGconn *pg = NULL;

    buf_init(&problems, 0);
    if (config_load(c->config_path ? c->config_path : CONFIG_DEFAULT_FILE, &problems, config) ==
            ERR_OK &&
        (*config)->database[0]) {
        values[0] = (*config)->database;
        pg = PQconnectdbParams(keywords, values, 1);
    }
    buf_fini(&problems);
    return pg;
}

static void
offer_names(const struct completing *c, const char *query)
{
    struct config *config = NULL;
    PGconn *pg = connect_quickly(c, &config);
    const char *params[] = {c->prefix};
    PGresult *result = NULL;

    if (PQstatus(pg) == CONNECTION_OK)
        result = PQexecParams(pg, query, 1, NULL, params, NULL, NULL, 0);
    for (int row = 0; row < PQntuples(result); row++)
        offer(c, PQgetvalue(result, row, 0), NULL);
    PQclear(result);
    PQfinish(pg);
    config_free(&config);
}

static void
offer_customers(const struct completing *c)
{
    offer_names(c, "SELECT name FROM postern.customers WHERE starts_with(name, $1) ORDER BY name "
                   "LIMIT " NAMES_MAX);
}

static void
offer_domains(const struct completing *c)
{
    offer_names(c, "SELECT name FROM postern.domains WHERE starts_with(name, $1) ORDER BY name "
                   "LIMIT " NAMES_MAX);
}

static void
offer_backends(const struct completing *c)
{
    offer_names(c, "SELECT c.name || '/' || b.number FROM postern.backends b JOIN "
                   "postern.customers c ON c.id = b.customer_id WHERE starts_with(c.name || '/' || "
                   "b.number, $1) ORDER BY c.name, b.number LIMIT " NAMES_MAX);
}

static void
offer_filters(const struct completing *c)
{
    offer_names(c, "SELECT DISTINCT c.name || '/' || f.label FROM postern.upstream_filters f JOIN "
                   "postern.customers c ON c.id = f.customer_id WHERE starts_with(c.name || '/' || "
                   "f.label, $1) ORDER BY 1 LIMIT " NAMES_MAX);
}

/* --- Words that an option may have. */

static void
offer_verdicts(const struct completing *c)
{
    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++)
        offer(c, smtp_verdict_word((enum smtp_verdict)v), NULL);
    offer(c, "refused", NULL);
    offer(c, "spooled", NULL);
}

static void
offer_policies(const struct completing *c)
{
    char word[64];

    for (unsigned i = 0; i < POLICY_PROFILE_COUNT; i++)
        offer(c, policy_profile_name((enum policy_profile)i), "a profile");
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        for (unsigned a = 0; a < POLICY_ACTION_COUNT; a++)
            if (policy_check_can((enum policy_check)i, (enum policy_action)a)) {
                snprintf(word, sizeof word, "%s=%s", policy_check_name((enum policy_check)i),
                         policy_action_name((enum policy_action)a));
                offer(c, word, NULL);
            }
}

static const char *const summary_words[] = {"customer", "domain", "backend", NULL};
static const char *const recipients_words[] = {"complete", "listed", NULL};
static const char *const check_words[] = {"spf", NULL};
static const char *const state_words[] = {"waiting",   "no-route", "held",  "offered", "prepared",
                                          "listening", "damaged",  "ended", NULL};
/* Of options that set no field of the registry; those have their words in its table. */
static const struct {
    const char *noun; /* NULL: any */
    const char *option;
    const char *const *words;
    void (*offer)(const struct completing *c);
} values[] = {
    {"spool", "by", summary_words, NULL},       {NULL, "recipients", recipients_words, NULL},
    {NULL, "check", check_words, NULL},         {NULL, "state", state_words, NULL},
    {"audit", "what", audit_tables, NULL},      {NULL, "verdict", NULL, offer_verdicts},
    {NULL, "policy", NULL, offer_policies},     {NULL, "customer", NULL, offer_customers},
    {NULL, "domain", NULL, offer_domains},      {NULL, "backend", NULL, offer_backends},
    {"spool", "to", NULL, offer_backends},      {NULL, "config", NULL, offer_files},
    {"simulate", "message", NULL, offer_files},
};

static const char *const *
field_words(const char *option)
{
    static const struct field *const tables[] = {customer_fields, domain_fields, backend_fields,
                                                 filter_fields};

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        for (const struct field *field = tables[i]; field->option; field++)
            if (strcmp(field->option, option) == 0)
                return field->words;
    return NULL;
}

/* "keep|return", "N|none": those in small letters. */
static void
offer_alternatives(const struct completing *c, const char *value)
{
    struct slice rest = slice_of(value);
    char word[64];

    while (rest.p != NULL)
        if (slice_to_text(slice_split(&rest, '|'), word, sizeof word) && word[0] >= 'a' &&
            word[0] <= 'z')
            offer(c, word, NULL);
}

static void
offer_words(const struct completing *c, const char *const *words)
{
    for (; words && *words; words++)
        offer(c, *words, NULL);
}

static void
offer_values(const struct completing *c, const struct command *command,
             const struct command_option *option)
{
    offer_alternatives(c, option->value);
    if (strstr(option->value, "FILE") || strcmp(option->value, "FOLDER") == 0)
        offer_files(c);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (strcmp(values[i].option, option->name) == 0 &&
            (values[i].noun == NULL || (command && strcmp(values[i].noun, command->noun) == 0))) {
            offer_words(c, values[i].words);
            if (values[i].offer && strstr(option->value, "FOLDER") == NULL &&
                strstr(option->value, "FILE") == NULL)
                values[i].offer(c);
            return;
        }
    if (strchr(option->value, '|') == NULL)
        offer_words(c, field_words(option->name));
}

/* --- Operands: what add makes new is not there yet. */

static void
offer_operands(const struct completing *c, const struct command *command)
{
    const char *operands = command->operands ? command->operands : "";
    bool is_new = command->verb && strcmp(command->verb, "add") == 0;

    if (strstr(operands, "FILE"))
        offer_files(c);
    else if (strstr(operands, "CUSTOMER/N") && strcmp(command->noun, "backend") == 0)
        offer_backends(c);
    else if (strstr(operands, "CUSTOMER/LABEL"))
        offer_filters(c);
    else if (!is_new && strcmp(command->noun, "customer") == 0 && operands[0])
        offer_customers(c);
    else if (!is_new && strcmp(command->noun, "domain") == 0 && operands[0])
        offer_domains(c);
    else if (strcmp(command->noun, "completion") == 0)
        for (size_t i = 0; i < ARRAY_SIZE(scripts); i++)
            offer(c, scripts[i].shell, NULL);
}

/* --- Where in the line we are. */

struct offering {
    const struct completing *completing;
    const struct command_line *line;
};

static void
on_offer_option(void *ctx, const struct command_option *option)
{
    const struct offering *offering = ctx;
    char word[64];

    for (unsigned i = 0; offering->line && i < offering->line->given_count; i++)
        if (offering->line->given[i].option == option)
            return;
    snprintf(word, sizeof word, "--%s", option->name);
    offer(offering->completing, word, option->text);
}

static void
offer_nouns(const struct completing *c)
{
    for (const struct command *const *noun = commands; *noun; noun++)
        offer(c, (*noun)->noun, (*noun)->verb ? NULL : (*noun)->summary);
}

static void
offer_verbs(const struct completing *c, const char *noun)
{
    for (const struct command *v = command_verbs(commands, noun); v && v->noun; v++)
        if (v->verb)
            offer(c, v->verb, v->summary);
}

/* What stands before the word that is being written. */
struct before {
    const char *noun, *verb;
    const struct command *command;
    const struct command_option *waiting; /* for its value */
    struct command_line line;             /* what was given */
};

static void
take_option(struct before *b, struct completing *c, const char *word)
{
    const char *equals = strchr(word, '=');
    struct slice name = slice_of(word + 2);
    const struct command_option *option;

    if (strcmp(word, "-c") == 0)
        name = SLICE("config");
    else if (strncmp(word, "--", 2) != 0)
        return;
    if (equals)
        name.n = (size_t)(equals - name.p);
    option = command_find_option(b->command, name);
    if (option == NULL)
        return;
    if (b->line.given_count < COMMAND_OPTIONS_MAX)
        b->line.given[b->line.given_count++].option = option;
    if (option->value && equals == NULL)
        b->waiting = option;
    else if (equals && strcmp(option->name, "config") == 0)
        c->config_path = equals + 1;
}

static void
take_word(struct before *b, struct completing *c, const char *word)
{
    if (b->waiting) {
        if (strcmp(b->waiting->name, "config") == 0)
            c->config_path = word;
        b->waiting = NULL;
    } else if (word[0] == '-' && word[1])
        take_option(b, c, word);
    else if (b->noun == NULL) {
        b->noun = word;
        b->command = command_find(commands, word, NULL);
    } else if (b->verb == NULL) {
        b->verb = word;
        b->command = command_find(commands, b->noun, word);
    }
}

static void
offer_here(struct completing *c, const struct before *b)
{
    struct offering offering = {.completing = c, .line = &b->line};

    if (b->waiting)
        offer_values(c, b->command, b->waiting);
    else if (c->prefix[0] == '-')
        command_each_option(b->command, on_offer_option, &offering);
    else if (b->noun == NULL) {
        offer_nouns(c);
        offer(c, "help", "Explain a command or a reply");
    } else if (strcmp(b->noun, "help") == 0 && b->verb == NULL)
        offer_nouns(c);
    else if (strcmp(b->noun, "help") == 0)
        offer_verbs(c, b->verb);
    else if (b->verb == NULL && command_has_verbs(commands, b->noun))
        offer_verbs(c, b->noun);
    else if (b->command)
        offer_operands(c, b->command);
}

/* bash has "=" as a word of its own: "--policy", "=", "st" are put together again. */
static unsigned
join_words(const char **operands, unsigned count, char joined[][256], struct completing *c)
{
    unsigned to = 0;

    for (unsigned i = 0; i < count; i++) {
        bool is_equals = strcmp(operands[i], "=") == 0 && to > 0;
        const char *value = is_equals && i + 1 < count ? operands[i + 1] : "";

        c->cut = 0;
        if (is_equals) {
            size_t n = strlen(joined[--to]);

            c->cut = n + 1;
            snprintf(joined[to] + n, 256 - n, "=%s", value);
            i++;
        } else
            snprintf(joined[to], 256, "%s", operands[i]);
        to++;
    }
    return to;
}

/* "--policy=st": the value of that option. */
static void
split_last(struct completing *c, struct before *b, char *last)
{
    char *equals = strncmp(last, "--", 2) == 0 ? strchr(last, '=') : NULL;

    c->prefix = last;
    c->lead = "";
    if (equals == NULL)
        return;
    *equals = '\0';
    take_option(b, c, last);
    *equals = '=';
    c->prefix = mem_strdup(equals + 1);
    equals[1] = '\0';
    c->lead = last;
}

static enum command_status
complete(struct call *call)
{
    struct completing c = {.call = call, .prefix = "", .lead = ""};
    unsigned count = call->line.operand_count;
    char(*words)[256] = mem_alloc((count + 1) * sizeof *words);
    struct before before = {.noun = NULL};

    words[0][0] = '\0';
    count = join_words(call->line.operands, count, words, &c);
    for (unsigned i = 0; i + 1 < count; i++)
        take_word(&before, &c, words[i]);
    split_last(&c, &before, words[count ? count - 1 : 0]);
    offer_here(&c, &before);
    if (c.lead[0])
        free((char *)(uintptr_t)c.prefix);
    free(words);
    return COMMAND_DONE;
}

enum command_status
completion(struct call *call)
{
    const char *shell = call->line.operand_count > 0 ? call->line.operands[0] : NULL;

    if (call_value(call, "words"))
        return complete(call);
    if (shell == NULL)
        return call_usage("completion needs %s, for example: %s", call->line.command->operands,
                          call->line.command->example);
    if (call->line.operand_count > 1)
        return call_usage("\"%s\" is one word too many; the form is: relayctl completion [OPTIONS] "
                          "%s",
                          call->line.operands[1], call->line.command->operands);
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++)
        if (strcmp(scripts[i].shell, shell) == 0) {
            fputs(scripts[i].script, call->printing.out);
            return COMMAND_DONE;
        }
    return call_usage("shell: \"%s\" is unknown; use bash, zsh or fish", shell);
}
