/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lib/policy knows the forms; here are the sentences, the base on which a change is made, and the
 * table.  A change is worked out inside the registry's transaction, so that two of them do not undo
 * each other.
 */
#include "admin/customer_policy.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy.h"

/* --- Mistakes. */

static const char *
nearest_name(const char *word, bool with_profiles)
{
    struct command_guess guess = {0};

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        command_guess_offer(&guess, word, policy_check_name((enum policy_check)i));
    for (unsigned i = 0; with_profiles && i < POLICY_PROFILE_COUNT; i++)
        command_guess_offer(&guess, word, policy_profile_name((enum policy_profile)i));
    return guess.best;
}

static const char *
nearest_action(enum policy_check check, const char *word)
{
    struct command_guess guess = {0};

    for (unsigned i = 0; i < POLICY_ACTION_COUNT; i++)
        if (policy_check_can(check, (enum policy_action)i))
            command_guess_offer(&guess, word, policy_action_name((enum policy_action)i));
    return guess.best;
}

/* Of the first of the words that cannot stand. */
static const char *
nearest(struct slice word)
{
    char name[64], *action;
    enum policy_check check;

    if (!slice_to_text(word, name, sizeof name))
        return NULL;
    action = strchr(name, '=');
    if (action == NULL)
        return nearest_name(name, true);
    *action++ = '\0';
    return policy_check_of_name(slice_of(name), &check) == ERR_OK ? nearest_action(check, action)
                                                                  : nearest_name(name, false);
}

static struct slice
first_wrong(const char *text)
{
    struct slice rest = slice_of(text);
    bool is_first = true;

    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ',');
        policy_set policy;
        const char *why;

        if (policy_change(POLICY_SET_OFF, word, &policy, &why) != ERR_OK ||
            (!is_first && memchr(word.p, '=', word.n) == NULL))
            return word;
        is_first = false;
    }
    return SLICE("");
}

const char *
customer_policy_check(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE],
                      bool *is_null, char why[FIELD_TEXT_SIZE])
{
    const char *wrong, *near;
    policy_set policy;

    (void)field;
    (void)is_null;
    snprintf(dst, FIELD_TEXT_SIZE, "%s", text);
    if (strlen(text) < FIELD_TEXT_SIZE &&
        policy_change(POLICY_SET_OFF, slice_of(text), &policy, &wrong) == ERR_OK)
        return NULL;
    if (strlen(text) >= FIELD_TEXT_SIZE)
        return "is too long; use a profile, and an action for each check that differs from it";
    near = nearest(first_wrong(text));
    snprintf(why, FIELD_TEXT_SIZE, "is no policy: %.400s%s%.40s%s", wrong,
             near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return why;
}

/* --- A change. */

static enum command_status
read_base(struct call *call, const char *id, bool is_temporary, policy_set *base)
{
    char now[24];
    const char *params[] = {id, is_temporary ? "t" : "f", now}, *why;
    PGresult *result;
    enum command_status status;

    *base = policy_of_profile(POLICY_PROFILE_STANDARD);
    if (id == NULL)
        return COMMAND_DONE;
    snprintf(now, sizeof now, "%lld", (long long)call->printing.now_ms);
    status = database_query(
        call,
        "SELECT coalesce((SELECT value FROM postern.customer_changes WHERE customer_id = c.id AND "
        "field = 'policy' AND $2::boolean AND until_at > to_timestamp($3::bigint / 1000.0)), "
        "c.policy) FROM postern.customers c WHERE c.id = $1::integer",
        3, params, &result);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) == 1 &&
        policy_change(POLICY_SET_OFF, slice_of(PQgetvalue(result, 0, 0)), base, &why) != ERR_OK)
        *base = POLICY_SET_OFF; /* as relayd takes it */
    PQclear(result);
    return COMMAND_DONE;
}

enum command_status
customer_policy_resolve(struct call *call, const char *id, bool is_temporary,
                        struct field_values *values)
{
    enum command_status status = COMMAND_DONE;
    policy_set policy;
    const char *why;

    for (unsigned i = 0; status == COMMAND_DONE && i < values->count; i++) {
        if (strcmp(values->fields[i]->column, "policy") != 0)
            continue;
        status = read_base(call, id, is_temporary, &policy);
        CHECK(policy_change(policy, slice_of(values->texts[i]), &policy, &why) == ERR_OK);
        policy_text(policy, values->texts[i]);
    }
    return status;
}

void
customer_policy_say(const struct call *call, const struct field_values *values)
{
    for (unsigned i = 0; i < values->count && !call->printing.json; i++)
        if (strcmp(values->fields[i]->column, "policy") == 0)
            fprintf(call->printing.out, "policy: %s\n", values->texts[i]);
}

/* --- Showing. */

static policy_set
policy_of(const char *text)
{
    policy_set policy = POLICY_SET_OFF;
    const char *why;

    if (text == NULL || policy_change(POLICY_SET_OFF, slice_of(text), &policy, &why) != ERR_OK)
        return POLICY_SET_OFF;
    return policy;
}

struct json_t *
customer_policy_json(const char *text)
{
    policy_set policy = policy_of(text),
               profile = policy_of_profile(policy_nearest_profile(policy));
    json_t *checks = json_object();

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_check check = (enum policy_check)i;

        CHECK(json_object_set_new(
                  checks, policy_check_name(check),
                  json_pack("{s:s, s:s}", "action",
                            policy_action_name(policy_action_of(policy, check)), "profile",
                            policy_action_name(policy_action_of(profile, check)))) == 0);
    }
    return checks;
}

void
customer_policy_summary(const char *text, char dst[32])
{
    unsigned on = (unsigned)__builtin_popcount(policy_checks_of(policy_of(text)));

    snprintf(dst, 32, on ? "%u of %u (below)" : "none of %u", on ? on : POLICY_CHECK_COUNT,
             POLICY_CHECK_COUNT);
}

void
customer_policy_table(const struct call *call, const char *text)
{
    static const struct printer_column columns[] = {
        {"check", "CHECK", PRINTER_LEFT},
        {"action", "ACTION", PRINTER_LEFT},
        {"profile", "IN THE PROFILE", PRINTER_LEFT},
        {"meaning", "WHAT IT SAYS", PRINTER_WRAP},
    };
    policy_set policy = policy_of(text),
               profile = policy_of_profile(policy_nearest_profile(policy));
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_check check = (enum policy_check)i;
        enum policy_action action = policy_action_of(policy, check),
                           usual = policy_action_of(profile, check);

        printer_text(p, policy_check_name(check));
        printer_text(p, policy_action_name(action));
        printer_text(p, action == usual ? NULL : policy_action_name(usual));
        printer_text(p, policy_check_help(check));
    }
    printer_finish(&p);
}
