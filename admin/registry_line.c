/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A value of JSON becomes the text that an option would have, is checked as that, and becomes JSON
 * again: the same in the same form, so that it can be compared.
 */
#include "admin/registry_line.h"

#include <stdio.h>
#include <string.h>

#include "admin/customer_limit.h"
#include "admin/customer_policy.h"
#include "admin/recipient_file.h"
#include "admin/sender_rule.h"
#include "admin/until.h"
#include "base/parse.h"
#include "policy/policy.h"

/* --- Values. */

static json_t *
take(struct registry_line *line, json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    if (value)
        CHECK(json_object_set(line->taken, name, value) == 0);
    return value;
}

/* "a,b" of ["a", "b"]; false: it has something else. */
static bool
join(const json_t *array, char text[FIELD_TEXT_SIZE])
{
    size_t n = 0;

    snprintf(text, FIELD_TEXT_SIZE, "none");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *word = json_string_value(json_array_get(array, i));

        if (word == NULL || word[0] == '\0' || n + strlen(word) + 2 > FIELD_TEXT_SIZE)
            return false;
        n += (size_t)snprintf(text + n, FIELD_TEXT_SIZE - n, "%s%s", i ? "," : "", word);
    }
    return true;
}

/* As an option has it. */
static bool
text_of(const struct field *field, const json_t *value, char text[FIELD_TEXT_SIZE])
{
    if (json_is_string(value)) {
        bool fits = json_string_length(value) < FIELD_TEXT_SIZE;

        snprintf(text, FIELD_TEXT_SIZE, "%s", json_string_value(value));
        return fits;
    }
    if (json_is_integer(value))
        snprintf(text, FIELD_TEXT_SIZE, "%lld%s", (long long)json_integer_value(value),
                 field->check == field_check_size ? "B" : "");
    else if (json_is_boolean(value))
        snprintf(text, FIELD_TEXT_SIZE, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_null(value))
        snprintf(text, FIELD_TEXT_SIZE, "none");
    else
        return json_is_array(value) && join(value, text);
    return true;
}

/* "{a,b}" */
static json_t *
array_of(const char *text)
{
    char words[FIELD_TEXT_SIZE];
    struct slice rest = slice_of(words);
    json_t *array = json_array();

    snprintf(words, sizeof words, "%s", text + 1);
    words[strcspn(words, "}")] = '\0';
    rest.n = strlen(words);
    while (rest.n > 0) {
        struct slice word = slice_split(&rest, ',');

        CHECK(json_array_append_new(array, json_stringn(word.p, word.n)) == 0);
    }
    return array;
}

static json_t *
json_of(const struct field *field, const char *text, bool is_null)
{
    if (is_null)
        return json_null();
    if (strcmp(field->type, "integer") == 0 || strcmp(field->type, "bigint") == 0)
        return json_integer(strtoll(text, NULL, 10));
    if (strcmp(field->type, "boolean") == 0)
        return json_boolean(strcmp(text, "yes") == 0);
    return strcmp(field->type, "text[]") == 0 ? array_of(text) : json_string(text);
}

static enum command_status
complain_value(const char *name, const json_t *value, const char *wrong)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    call_usage("%s: %.200s %s", name, text ? text : "", wrong);
    free(text);
    return COMMAND_USAGE;
}

/* A policy stands for itself here: without a profile it is on top of that of new customers. */
static void
complete_policy(char text[FIELD_TEXT_SIZE])
{
    policy_set policy = policy_of_profile(POLICY_PROFILE_STANDARD);
    const char *why;

    CHECK(policy_change(policy, slice_of(text), &policy, &why) == ERR_OK);
    policy_text(policy, text);
}

static enum command_status
read_value(struct registry_line *line, const char *name, const struct field *field, json_t *value)
{
    char text[FIELD_TEXT_SIZE], checked[FIELD_TEXT_SIZE] = "", why[FIELD_TEXT_SIZE];
    bool is_null = false;
    const char *wrong;

    if (!text_of(field, value, text))
        return complain_value(name, value, "is too long, or no value that this has");
    if (json_is_null(value) && field->check == field_check_mailbox)
        is_null = true, wrong = NULL;
    else
        wrong = field->check(field, text, checked, &is_null, why);
    if (wrong)
        return wrong[0] ? complain_value(name, value, wrong) : COMMAND_USAGE;
    if (strcmp(field->column, "policy") == 0)
        complete_policy(checked);
    CHECK(json_object_set_new(line->doc, name, json_of(field, checked, is_null)) == 0);
    return COMMAND_DONE;
}

/* --- What names it. NULL: it is not there, or no text; explained. */

static const char *
take_text(struct registry_line *line, json_t *object, const char *name)
{
    json_t *value = take(line, object, name);

    if (json_is_string(value) && json_string_length(value) < FIELD_TEXT_SIZE)
        return json_string_value(value);
    call_usage("\"%s\" %s", name, value ? "must be a text" : "is missing");
    return NULL;
}

static void
set_part(struct registry_line *line, const char *name, const char *text)
{
    CHECK(json_object_set_new(line->parts, name, text ? json_string(text) : json_null()) == 0);
}

static enum command_status
read_customer(struct registry_line *line, json_t *object)
{
    const char *text = take_text(line, object, "name");
    char name[FIELD_NAME_SIZE];

    if (text == NULL || field_customer_name(text, name) != COMMAND_DONE)
        return COMMAND_USAGE;
    set_part(line, "name", name);
    snprintf(line->key, sizeof line->key, "%s", name);
    return COMMAND_DONE;
}

static const struct field *
find_limit(const char *column)
{
    for (const struct field *field = customer_fields; field->option; field++)
        for (size_t i = 0; i < CUSTOMER_LIMIT_COUNT; i++)
            if (strcmp(field->column, column) == 0 &&
                strcmp(customer_limits[i].column, column) == 0)
                return field;
    return NULL;
}

/* What is wrong has been said. */
static bool
is_customer(const char *text)
{
    char name[FIELD_NAME_SIZE];

    return text != NULL && field_customer_name(text, name) == COMMAND_DONE;
}

static enum command_status
read_change(struct registry_line *line, json_t *object)
{
    const char *customer = take_text(line, object, "customer"),
               *column = take_text(line, object, "field");
    const struct field *field = column ? find_limit(column) : NULL;
    json_t *value = take(line, object, "value");

    if (column == NULL || !is_customer(customer))
        return COMMAND_USAGE;
    if (field == NULL)
        return call_usage("field: \"%s\" is nothing that changes for a time", column);
    set_part(line, "customer", customer);
    set_part(line, "field", column);
    snprintf(line->key, sizeof line->key, "%.100s %.100s", customer, column);
    return value ? read_value(line, "value", field, value) : COMMAND_DONE;
}

static enum command_status
read_domain(struct registry_line *line, json_t *object)
{
    const char *text = take_text(line, object, "name");
    char name[FIELD_DOMAIN_SIZE];

    if (text == NULL || field_domain_name(text, name) != COMMAND_DONE)
        return COMMAND_USAGE;
    set_part(line, "name", name);
    snprintf(line->key, sizeof line->key, "%s", name);
    return COMMAND_DONE;
}

/* Of a backend and of a row of a filter. */
static enum command_status
read_numbered(struct registry_line *line, json_t *object)
{
    const char *customer = take_text(line, object, "customer");
    json_t *number = take(line, object, "number");
    json_int_t n = json_integer_value(number);

    if (!is_customer(customer))
        return COMMAND_USAGE;
    if (!json_is_integer(number) || n < 1 || n > 9999)
        return call_usage("\"number\" must be there, a number from 1 to 9999");
    set_part(line, "customer", customer);
    CHECK(json_object_set(line->parts, "number", number) == 0);
    snprintf(line->key, sizeof line->key, "%.100s/%d", customer, (int)n);
    return COMMAND_DONE;
}

static enum command_status
read_rule(struct registry_line *line, json_t *object)
{
    json_t *owner = take(line, object, "customer");
    const char *customer = json_string_value(owner), *column,
               *action = take_text(line, object, "action"), *what = take_text(line, object, "what");
    char stored[FIELD_TEXT_SIZE];

    if (customer == NULL && !json_is_null(owner))
        return call_usage("\"customer\" must be there: a name, or null for every customer");
    if (action == NULL || what == NULL || (customer && !is_customer(customer)))
        return COMMAND_USAGE;
    if (strcmp(action, "block") != 0 && strcmp(action, "allow") != 0)
        return call_usage("action: \"%s\" is unknown; use block or allow", action);
    if (sender_rule_value(action, what, &column, stored) != COMMAND_DONE)
        return COMMAND_USAGE;
    if (customer == NULL && strcmp(column, "network") != 0)
        return call_usage("what: \"%s\": for every customer there are only networks", what);
    set_part(line, "customer", customer);
    set_part(line, "action", action);
    set_part(line, "what", stored);
    set_part(line, column, stored);
    snprintf(line->key, sizeof line->key, "%.100s %s %s", customer ? customer : "*", action,
             stored);
    return COMMAND_DONE;
}

static enum command_status
read_recipient(struct registry_line *line, json_t *object)
{
    const char *text = take_text(line, object, "domain"),
               *local_part = take_text(line, object, "local_part"), *wrong;
    char domain[FIELD_DOMAIN_SIZE], mailbox[2 * FIELD_TEXT_SIZE], why[FIELD_TEXT_SIZE];
    struct recipient_address address;

    if (text == NULL || local_part == NULL || field_domain_name(text, domain) != COMMAND_DONE)
        return COMMAND_USAGE;
    snprintf(mailbox, sizeof mailbox, "%s@%s", local_part, domain + (domain[0] == '.'));
    wrong = strlen(mailbox) < FIELD_TEXT_SIZE ? recipient_address_parse(mailbox, &address, why)
                                              : "is too long";
    if (wrong)
        return call_usage("local_part: \"%.200s\" %s", local_part, wrong);
    set_part(line, "domain", domain);
    set_part(line, "local_part", address.local_part);
    snprintf(line->key, sizeof line->key, "%s@%s", address.local_part, domain);
    return COMMAND_DONE;
}

static enum command_status (*const read_name[REGISTRY_KIND_COUNT])(struct registry_line *line,
                                                                   json_t *object) = {
    [REGISTRY_CUSTOMER] = read_customer,   [REGISTRY_CHANGE] = read_change,
    [REGISTRY_DOMAIN] = read_domain,       [REGISTRY_BACKEND] = read_numbered,
    [REGISTRY_FILTER] = read_numbered,     [REGISTRY_RULE] = read_rule,
    [REGISTRY_RECIPIENT] = read_recipient,
};

/* --- The line. */

static enum command_status
find_form(struct registry_line *line, json_t *object)
{
    const char *kind = take_text(line, object, "kind");
    struct command_guess guess = {0};

    for (size_t i = 0; kind && i < REGISTRY_KIND_COUNT; i++) {
        if (strcmp(registry_forms[i].kind, kind) == 0)
            line->form = &registry_forms[i];
        command_guess_offer(&guess, kind, registry_forms[i].kind);
    }
    if (kind == NULL || line->form)
        return kind ? COMMAND_DONE : COMMAND_USAGE;
    return call_usage("kind: \"%s\" is unknown%s%s%s", kind, guess.best ? "; did you mean " : "",
                      guess.best ? guess.best : "", guess.best ? "?" : "");
}

static enum command_status
read_fields(struct registry_line *line, json_t *object)
{
    enum command_status status = COMMAND_DONE;
    const struct field *field;

    for (unsigned i = 0; (field = registry_form_field(line->form, i)) != NULL; i++) {
        json_t *value = field->check ? take(line, object, field->column) : NULL;

        if (value && read_value(line, field->column, field, value) != COMMAND_DONE)
            status = COMMAND_USAGE;
    }
    return status;
}

static enum command_status
complain_unread(const struct registry_line *line, json_t *object)
{
    enum command_status status = COMMAND_DONE;
    const struct field *field;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        struct command_guess guess = {0};

        if (json_object_get(line->taken, name))
            continue;
        for (unsigned i = 0; (field = registry_form_field(line->form, i)) != NULL; i++)
            command_guess_offer(&guess, name, field->column);
        status = call_usage("a %s has no \"%.60s\"%s%s%s", line->form->kind, name,
                            guess.best ? "; did you mean " : "", guess.best ? guess.best : "",
                            guess.best ? "?" : "");
    }
    return status;
}

/* Of two that exclude each other, the one that is given empties the other. */
static enum command_status
exclude(struct registry_line *line, const char *one, const char *other)
{
    json_t *a = json_object_get(line->doc, one), *b = json_object_get(line->doc, other);

    if (a && b && !json_is_null(a) && !json_is_null(b))
        return call_usage("\"%s\" and \"%s\" exclude each other", one, other);
    if (a && !b && !json_is_null(a))
        CHECK(json_object_set_new(line->doc, other, json_null()) == 0);
    if (b && !a && !json_is_null(b))
        CHECK(json_object_set_new(line->doc, one, json_null()) == 0);
    return COMMAND_DONE;
}

static bool
has_ended(const struct registry_line *line, int64_t now_ms)
{
    const char *end =
        line->form->ends ? json_string_value(json_object_get(line->doc, line->form->ends)) : NULL;
    int64_t at_ms;

    return end && until_parse_moment(end, &at_ms) == ERR_OK && at_ms <= now_ms;
}

enum command_status
registry_line_read(json_t *object, unsigned long number, int64_t now_ms, struct registry_line *line)
{
    enum command_status status, fields_status;

    *line = (struct registry_line){
        .parts = json_object(), .doc = json_object(), .taken = json_object()};
    call_set_place("line %lu", number);
    status = find_form(line, object);
    if (status == COMMAND_DONE)
        status = read_name[line->form - registry_forms](line, object);
    if (status == COMMAND_DONE)
        call_set_place("line %lu: %s %.100s", number, line->form->kind, line->key);
    if (line->form) {
        fields_status = read_fields(line, object);
        if (fields_status == COMMAND_DONE)
            fields_status = exclude(line, "address", "host");
        if (fields_status == COMMAND_DONE)
            fields_status = exclude(line, "network", "spf_include");
        if (complain_unread(line, object) != COMMAND_DONE || fields_status != COMMAND_DONE)
            status = COMMAND_USAGE;
        line->has_ended = has_ended(line, now_ms);
    }
    call_set_place("%s", "");
    return status;
}

void
registry_line_fini(struct registry_line *line)
{
    json_decref(line->parts);
    json_decref(line->doc);
    json_decref(line->taken);
}
