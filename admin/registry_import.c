/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl import: makes the registry what a file says, in one registry change or not at all.  What
 * the file has no line of stays, but with --prune; what a line has no field of stays too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/registry_diff.h"
#include "admin/removal.h"

#define WRONG_MAX 20

/* --- The file. */

struct reading {
    struct call *call;
    struct registry_scope scope;
    unsigned long line, wrong, ended;
    bool has_header, has_end, was_asked;
    struct buf staged;
    struct registry_removed removed; /* what a person has agreed to */
};

static bool
is_kind(const json_t *object, const char *kind)
{
    const char *word = json_string_value(json_object_get(object, "kind"));

    return word != NULL && strcmp(word, kind) == 0;
}

/* What it says decides how much may be removed, so nothing in it is overlooked. */
static enum command_status
check_header(const struct reading *r, json_t *header)
{
    static const char *const fields[] = {"kind", "format", "customer", "recipients"};
    const json_t *customer = json_object_get(header, "customer"),
                 *recipients = json_object_get(header, "recipients");
    size_t known = 0;

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        known += json_object_get(header, fields[i]) != NULL;
    if (known < json_object_size(header))
        return call_usage("line %lu: the first line has a field that is unknown; it has kind, "
                          "format, customer and recipients",
                          r->line);
    if (customer && !json_is_string(customer) && !json_is_null(customer))
        return call_usage("line %lu: customer is no name", r->line);
    if (recipients && !json_is_boolean(recipients))
        return call_usage("line %lu: recipients is neither true nor false", r->line);
    return COMMAND_DONE;
}

static enum command_status
read_header(struct reading *r, json_t *object)
{
    const char *customer = json_string_value(json_object_get(object, "customer"));
    json_int_t format = json_integer_value(json_object_get(object, "format"));

    r->has_header = true;
    if (!is_kind(object, REGISTRY_FORM_HEADER))
        return call_usage("line %lu: the first line must be {\"kind\": \"" REGISTRY_FORM_HEADER
                          "\", \"format\": %d}",
                          r->line, REGISTRY_FORM_VERSION);
    if (format != REGISTRY_FORM_VERSION)
        return call_usage("line %lu: format %lld is not one that this relayctl knows; it is %d",
                          r->line, (long long)format, REGISTRY_FORM_VERSION);
    if (check_header(r, object) != COMMAND_DONE)
        return COMMAND_USAGE;
    r->scope.recipients = json_is_true(json_object_get(object, "recipients"));
    return customer ? field_customer_name(customer, r->scope.customer) : COMMAND_DONE;
}

static enum command_status
take_object(struct reading *r, json_t *object)
{
    struct registry_line line;
    enum command_status status;

    if (!r->has_header)
        return read_header(r, object);
    if (r->has_end)
        return call_usage("line %lu: stands behind the last line", r->line);
    r->has_end = is_kind(object, REGISTRY_FORM_END);
    if (r->has_end)
        return COMMAND_DONE;
    status = registry_line_read(object, r->line, r->call->printing.now_ms, &line);
    if (status == COMMAND_DONE && line.has_ended)
        r->ended++;
    else if (status == COMMAND_DONE)
        registry_diff_stage(&line, r->line, &r->staged);
    registry_line_fini(&line);
    return status;
}

static void
take_line(struct reading *r, const char *text, size_t n)
{
    json_error_t error;
    json_t *object;
    enum command_status status;

    if (strspn(text, " \t\r\n") == n)
        return;
    object = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(object))
        status = take_object(r, object);
    else
        status = call_usage("line %lu: is no JSON object: %s", r->line,
                            object ? "it is another value" : error.text);
    r->wrong += status != COMMAND_DONE;
    json_decref(object);
}

static enum command_status
read_lines(struct reading *r, FILE *f)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t n;

    while (r->wrong < WRONG_MAX && (n = getline(&text, &room, f)) >= 0) {
        bool has_mark = r->line++ == 0 && strncmp(text, "\xef\xbb\xbf", 3) == 0;

        take_line(r, text + (has_mark ? 3 : 0), (size_t)n - (has_mark ? 3 : 0));
        if (!r->has_header && r->wrong > 0)
            break;
    }
    free(text);
    return ferror(f) ? COMMAND_FAILED : COMMAND_DONE;
}

static enum command_status
judge(const struct reading *r, const char *path)
{
    if (r->wrong == WRONG_MAX)
        return call_usage("%d lines are wrong, and the rest has not been read; nothing is changed",
                          WRONG_MAX);
    if (r->wrong > 0)
        return call_usage("%lu line%s wrong; nothing is changed", r->wrong,
                          r->wrong == 1 ? " is" : "s are");
    if (!r->has_header)
        return call_usage("%s is empty; `relayctl export` writes such a file", path);
    if (r->scope.prunes && !r->has_end)
        return call_usage("%s does not end with the line {\"kind\": \"" REGISTRY_FORM_END
                          "\"}: it may be cut, so --prune removes nothing by it",
                          path);
    if (r->ended > 0)
        call_warn(r->call, "%lu line%s of what has ended by now: left out", r->ended,
                  r->ended == 1 ? " is" : "s are");
    return COMMAND_DONE;
}

static enum command_status
read_file(struct reading *r, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    enum command_status status = f ? read_lines(r, f) : COMMAND_FAILED;

    if (status != COMMAND_DONE)
        call_complain("%s cannot be read: %s", path, strerror(errno));
    if (f && !is_stdin)
        fclose(f);
    return status == COMMAND_DONE ? judge(r, path) : status;
}

/* --- The change. */

static void
print_counts(const struct call *call, const struct registry_counts *counts)
{
    static const struct printer_column columns[] = {
        {"added", "", PRINTER_LEFT}, {"changed", "", PRINTER_LEFT}, {"removed", "", PRINTER_LEFT},
        {"same", "", PRINTER_LEFT},  {"dry_run", "", PRINTER_LEFT}, {"warnings", "", PRINTER_LEFT},
    };
    struct printer *p;

    if (!call->printing.json) {
        fprintf(call->printing.out,
                "%s%lld added, %lld changed, %lld removed; %lld %s as the file has %s%s\n",
                call->dry_run ? "dry run: would have " : "", counts->added, counts->changed,
                counts->removed, counts->same, counts->same == 1 ? "was" : "were",
                counts->same == 1 ? "it" : "them", call->dry_run ? "; nothing is changed" : "");
        return;
    }
    p = printer_new(&call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));
    printer_number(p, counts->added);
    printer_number(p, counts->changed);
    printer_number(p, counts->removed);
    printer_number(p, counts->same);
    printer_bool(p, call->dry_run);
    printer_words(p, (const char *const *)call->warnings, call->warning_count);
    printer_finish(&p);
}

static enum command_status
make(struct call *call, struct removal *removal, const struct registry_counts *counts)
{
    enum command_status status = COMMAND_DONE;

    if (counts->removed > 0)
        status = removal_check(removal, "what the file has no line of", registry_diff_waiting,
                               registry_diff_waiting_alone, 0, NULL);
    if (status == COMMAND_DONE && call->dry_run)
        status = registry_diff_print(call);
    if (status == COMMAND_DONE)
        status = registry_diff_apply(call);
    return status == COMMAND_DONE ? registry_diff_check_result(call) : status;
}

static enum command_status
find(struct reading *r, struct registry_counts *counts)
{
    enum command_status status = registry_diff_load(r->call, &r->staged);

    return status == COMMAND_DONE ? registry_diff_find(r->call, &r->scope, counts) : status;
}

/* Looks what would go, and takes it back: nobody waits for the registry while a person thinks. */
static enum command_status
look(struct reading *r)
{
    struct registry_counts counts;
    enum command_status status = database_begin_change(r->call);

    if (status != COMMAND_DONE)
        return status;
    status = find(r, &counts);
    if (status == COMMAND_DONE)
        status = registry_diff_removed(r->call, &r->removed);
    PQclear(PQexec(r->call->pg, "ROLLBACK"));
    return status;
}

static enum command_status
ask(struct reading *r)
{
    enum command_status status = look(r);
    struct buf question;

    if (status != COMMAND_DONE || r->removed.counted[0] == '\0')
        return status;
    buf_init(&question, 0);
    buf_printf(&question, "Remove %s, of which the file has no line%s?", r->removed.counted,
               strstr(r->removed.counted, "domain") ? ", and refuse the mail of such domains" : "");
    status = call_confirm(r->call, buf_text(&question));
    buf_fini(&question);
    return status;
}

/* Nothing goes that nobody was asked about: as many are not the same. */
static enum command_status
check_asked(struct reading *r)
{
    struct registry_removed now;
    enum command_status status = r->was_asked ? registry_diff_removed(r->call, &now) : COMMAND_DONE;

    if (!r->was_asked || status != COMMAND_DONE || strcmp(now.digest, r->removed.digest) == 0)
        return status;
    call_complain("the registry has changed meanwhile, and other things would be removed: %s; "
                  "nothing is changed, try again",
                  now.counted[0] ? now.counted : "none");
    return COMMAND_FAILED;
}

/* Without a difference it is rolled back, so that no node reads its registry anew for nothing. */
static enum command_status
change(struct reading *r)
{
    struct call *call = r->call;
    struct registry_counts counts = {0};
    struct removal removal;
    enum command_status status = database_begin_change(call);
    bool differs = false;

    if (status != COMMAND_DONE)
        return status;
    removal_init(&removal, call);
    status = find(r, &counts);
    if (status == COMMAND_DONE)
        status = check_asked(r);
    if (status == COMMAND_DONE)
        status = registry_diff_check(call);
    if (status == COMMAND_DONE) {
        differs = counts.added + counts.changed + counts.removed > 0;
        status = differs ? make(call, &removal, &counts) : COMMAND_DONE;
    }
    if (differs || status != COMMAND_DONE)
        status = database_end(call, status);
    else
        PQclear(PQexec(call->pg, "ROLLBACK"));
    if (status == COMMAND_DONE && !(call->dry_run && call->printing.json))
        print_counts(call, &counts);
    status = removal_finish(&removal, status);
    removal_fini(&removal);
    return status;
}

enum command_status
registry_import(struct call *call)
{
    struct reading r = {.call = call, .scope.prunes = call_value(call, "prune") != NULL};
    enum command_status status = r.scope.prunes ? call_need_reason(call) : COMMAND_DONE;

    buf_init(&r.staged, 0);
    if (status == COMMAND_DONE)
        status = read_file(&r, call->line.operands[0]);
    r.was_asked = r.scope.prunes && call_asks(call);
    if (status == COMMAND_DONE && r.was_asked)
        status = ask(&r);
    if (status == COMMAND_DONE)
        status = change(&r);
    buf_fini(&r.staged);
    return status;
}
