/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Checks that had nothing to judge are left out.  Of SPF it is said whether it was the cause, since
 * it is what people look for first.
 */
#include "admin/story_checks.h"

#include <string.h>

#include "admin/paragraph.h"
#include "admin/story_why.h"
#include "policy/policy.h"

static void
print_peer(FILE *out, const char *label, const char *text)
{
    struct buf b;

    if (text[0] == '\0')
        return;
    buf_init(&b, 0);
    event_words_peer(&b, text);
    paragraph_print(out, label, buf_text(&b));
    buf_fini(&b);
}

/* Whom a filter had it from: the checks are of that address. */
static void
print_origin(FILE *out, const json_t *event)
{
    const char *origin = event_words_text(event, "origin_client");

    if (strcmp(origin, "unknown") == 0)
        paragraph_print(out, "Origin",
                        "the filter's Received line names no client, so that "
                        "there is nothing to judge.");
    else if (origin[0])
        paragraph_printf(out, "Origin", "%s, says the filter's Received line: that is judged.",
                         origin);
}

/* --- Checks. */

/* policy_fact_word, and the word of a content scanner, in plain words; of the others there is
 * nothing to say. */
static const struct {
    const char *word, *text;
} results[] = {
    {"pass", "clear"}, /* told all together */
    {"fail", "hit"},
    {"forged", "forged"},
    {"odd", "odd"},
    {"temporary", "no answer from DNS"},
    /* of content scanners */
    {"reject", "refused the message"},
    {"defer", "put it off"},
    {"discard", "wanted it to vanish"},
    {"quarantine", "wants it held"},
    {"failed", "did not do its work"},
    {"away", "not asked, since it fails"},
    {"too large", "not asked, since the message is too large for it"},
};

static const char *
result_text(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(results); i++)
        if (strcmp(word, results[i].word) == 0)
            return results[i].text;
    return NULL;
}

/* What has found something and did not decide was let pass by the customer's policy. */
static bool
is_marked(const json_t *event, const json_t *check)
{
    static const char *const found[] = {"fail", "forged", "odd", "reject", "defer", "discard"};

    if (strcmp(event_words_text(check, "check"), event_words_text(event, "decided_by")) == 0 ||
        event_words_text(check, "white_list")[0])
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(found); i++)
        if (strcmp(event_words_text(check, "result"), found[i]) == 0)
            return true;
    return false;
}

static void
add_check(struct buf *b, const json_t *event, const json_t *check)
{
    const char *result = event_words_text(check, "result");

    buf_printf(b, "%s%s%s: %s%s", event_words_text(check, "check"),
               event_words_text(check, "name")[0] ? " " : "", event_words_text(check, "name"),
               result_text(result), is_marked(event, check) ? ", only marked" : "");
    if (event_words_text(check, "input")[0]) {
        buf_add_text(b, " (");
        event_words_peer(b, event_words_text(check, "input"));
        if (event_words_text(check, "answer")[0])
            buf_printf(b, ", which answers %s", event_words_text(check, "answer"));
        buf_add_text(b, ")");
    }
    if (event_words_text(check, "white_list")[0])
        buf_printf(b, ", but the white list %s has the client, and goes before",
                   event_words_text(check, "white_list"));
}

/* Those without a finding together, behind the others. */
static void
add_clear(struct buf *b, const json_t *event)
{
    const char *gap = buf_size(b) ? "; clear: " : "clear: ";
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        const char *name = event_words_text(check, "name");

        if (strcmp(event_words_text(check, "result"), "pass") != 0)
            continue;
        buf_printf(b, "%s%s%s%s", gap, event_words_text(check, "check"), name[0] ? " " : "", name);
        if (event_words_text(check, "white_list")[0])
            buf_printf(b, " (the white list %s has the client)",
                       event_words_text(check, "white_list"));
        gap = ", ";
    }
}

static void
print_checks(FILE *out, const json_t *event)
{
    json_t *check;
    struct buf b;
    size_t i;

    buf_init(&b, 0);
    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        const char *result = event_words_text(check, "result");

        if (result_text(result) == NULL || strcmp(result, "pass") == 0)
            continue;
        buf_add_text(&b, buf_size(&b) ? "; " : "");
        add_check(&b, event, check);
    }
    add_clear(&b, event);
    if (buf_size(&b) > 0)
        paragraph_print(out, "Checks", buf_text(&b));
    buf_fini(&b);
}

/* --- SPF. */

/* The check that is of a result; NULL: none is. */
static const char *
check_of_spf(const char *result)
{
    static const struct {
        const char *result;
        enum policy_check check;
    } checks[] = {
        {"fail", POLICY_SPF},
        {"softfail", POLICY_SPF_SOFT},
        {"permerror", POLICY_SPF_PERM},
        {"temperror", POLICY_SPF_TEMP},
    };

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (strcmp(result, checks[i].result) == 0)
            return policy_check_name(checks[i].check);
    return NULL;
}

static bool
has_looked_at_spf(const json_t *event)
{
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        if (strncmp(event_words_text(check, "check"), "spf", 3) == 0)
            return true;
    }
    return false;
}

/* By the policy of that time, which the event of a refusal has. */
static enum policy_action
action_of(const json_t *event, const char *name)
{
    policy_set policy = POLICY_SET_OFF;
    enum policy_check check;
    const char *why;

    if (policy_check_of_name(slice_of(name), &check) < 0 ||
        policy_change(policy, slice_of(event_words_text(event, "policy")), &policy, &why) < 0)
        return POLICY_OFF;
    return policy_action_of(policy, check);
}

static void
add_reason(struct buf *b, const json_t *event, const char *before, const char *after)
{
    if (event_words_text(event, "spf_reason")[0] == '\0')
        return;
    buf_add_text(b, before);
    event_words_peer(b, event_words_text(event, "spf_reason"));
    buf_add_text(b, after);
}

/* Another check has decided before it. */
static void
add_spf_too(struct buf *b, const json_t *event, const char *check, const char *result)
{
    static const char *const does[] = {
        [POLICY_MARK] = "mark", [POLICY_DEFER] = "put off", [POLICY_REJECT] = "refuse"};
    enum policy_action action = action_of(event, check);

    if (action < ARRAY_SIZE(does) && does[action]) {
        buf_printf(b, "Not the cause. But SPF %s too", result);
        add_reason(b, event, " (", ")");
        buf_printf(b, ", and the check %s would %s the message next.", check, does[action]);
    } else {
        buf_add_text(b, result);
        buf_add_text(b, ", but this customer's policy does not use it.");
    }
}

static const char *
domain_of_sender(const json_t *event)
{
    const char *at = strrchr(event_words_text(event, "from"), '@');

    return at ? at + 1 : event_words_text(event, "helo");
}

static void
add_spf(struct buf *b, const json_t *event, const char *result)
{
    const char *check = check_of_spf(result);
    bool is_decided = event_words_text(event, "decided_by")[0] != '\0';

    if (strcmp(result, "none") == 0) {
        buf_add_text(b, "none: ");
        event_words_peer(b, domain_of_sender(event));
        buf_add_text(b, " publishes no record");
    } else if (check && !has_looked_at_spf(event) && is_decided)
        add_spf_too(b, event, check, strcmp(result, "fail") == 0 ? "fails" : result);
    else if (check && !has_looked_at_spf(event))
        buf_printf(b, "%s, but this customer's policy does not use SPF.", result);
    else {
        buf_printf(b, "%s for the sender's domain", result);
        add_reason(b, event, ": ", "");
    }
}

static void
print_spf(FILE *out, const json_t *event)
{
    const char *result = event_words_text(event, "spf");
    const char *helo = event_words_text(event, "spf_helo");
    struct buf b;

    buf_init(&b, 0);
    if (result[0])
        add_spf(&b, event, result);
    else if (event_words_text(event, "decided_by")[0])
        buf_add_text(&b, "not looked at: another check decided before");
    if (buf_size(&b))
        paragraph_print(out, "SPF", buf_text(&b));
    buf_fini(&b);
    if (helo[0] && strcmp(helo, "none") != 0)
        paragraph_printf(out, "SPF of HELO", "%s%s%s", helo,
                         event_words_text(event, "spf_helo_reason")[0] ? ": " : "",
                         event_words_text(event, "spf_helo_reason"));
}

/* --- The decision. */

static void
print_by_check(FILE *out, const json_t *event)
{
    enum policy_check check;
    const char *name = event_words_text(event, "decided_by");

    if (policy_check_of_name(slice_of(name), &check) == ERR_OK)
        paragraph_printf(out, "Decided by", "us: the customer's policy, check %s (%s)", name,
                         policy_check_help(check));
    else
        print_peer(out, "Decided by", name);
}

static void
print_backend(FILE *out, const json_t *event, const char *label, const char *said)
{
    struct buf b;

    buf_init(&b, 0);
    buf_printf(&b, "the customer's own server");
    if (event_words_text(event, "backend")[0]) {
        buf_add_text(&b, ", ");
        event_words_peer(&b, event_words_text(event, "backend"));
    }
    if (event_words_text(event, "backend_tls")[0])
        buf_printf(&b, " over %s", event_words_text(event, "backend_tls"));
    if (event_words_text(event, "backend_reply")[0]) {
        buf_printf(&b, "%s", said);
        event_words_peer(&b, event_words_text(event, "backend_reply"));
    }
    paragraph_print(out, label, buf_text(&b));
    buf_fini(&b);
}

/* Whose word a verdict is that no check and no backend has given. */
static const struct {
    const char *verdict, *whose;
} deciders[] = {
    {"sender-blocked", "the customer's block list"},
    {"filters-only", "the customer's lock to its mail filters"},
    {"suspended", "an operator, who has suspended the customer"},
    {"not-listed", "the customer's list of its recipients"},
    {"user-unknown", "what the customer's server has said of this recipient before"},
    {"not-confirmed", "the domain's setting when-down"},
    {"backend-away", "the domain's setting when-down"},
    {"primary-is-up", "the domain's setting primary-up"},
    {"greylisted", "the domain's setting primary-up"},
    {"too-big", "a limit of the customer"},
    {"too-many-recipients", "a limit of the customer"},
    {"too-many-messages", "a limit of the customer"},
    {"connections-per-hour", "a limit of the customer"},
    {"quota-full", "a limit of the customer"},
    {"quota-full-at-dot", "a limit of the customer"},
    {"bare-line-end", "a rule for all mail, which the customer's setting bare-lf may relax"},
    {"relay-denied", "the list of the domains that we receive mail for"},
};

static const char *
decider_of(const json_t *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(deciders); i++)
        if (story_event_has_verdict(event, deciders[i].verdict))
            return deciders[i].whose;
    return "a rule for all mail";
}

/* Since when, by whom, why: what the database knows (story_look.h). */
static void
add_entry(struct buf *b, const json_t *event, const char *before)
{
    const json_t *entry = json_object_get(event, "entry");
    char when[STORY_EVENT_TIME_SIZE];

    if (entry)
        buf_printf(b, "%s%s, by %s", before, story_event_time(event_words_at_ms(entry), when),
                   event_words_text(entry, "who"));
}

/* "block WHAT: why" as people say it. */
static void
print_rule(FILE *out, const json_t *event)
{
    const char *rule = event_words_text(event, "rule");
    char what[STORY_WHY_RULE_SIZE];
    struct buf b;

    if (rule[0] == '\0')
        return;
    story_why_rule(event, what);
    buf_init(&b, 0);
    if (what[0]) {
        event_words_peer(&b, what);
        buf_add_text(&b, " is blocked");
        event_words_peer(&b, strstr(rule, what) + strlen(what));
        add_entry(&b, event, " (entered ");
        buf_add_text(&b, json_object_get(event, "entry") ? ")" : "");
    } else
        event_words_peer(&b, rule);
    paragraph_print(out, "Rule", buf_text(&b));
    buf_fini(&b);
}

static void
print_suspension(FILE *out, const json_t *event)
{
    const json_t *entry = json_object_get(event, "entry");
    struct buf b;

    if (entry == NULL || !story_event_has_verdict(event, "suspended"))
        return;
    buf_init(&b, 0);
    add_entry(&b, event, "since ");
    if (event_words_text(entry, "reason")[0])
        buf_printf(&b, ": %s", event_words_text(entry, "reason"));
    paragraph_print(out, "Suspended", buf_text(&b));
    buf_fini(&b);
}

static void
print_decided(FILE *out, const json_t *event)
{
    print_rule(out, event);
    print_suspension(out, event);
    if (event_words_text(event, "decided_by")[0])
        print_by_check(out, event);
    else if (story_event_has_verdict(event, "refused") ||
             story_event_has_verdict(event, "delivered"))
        print_backend(out, event, "Decided by", ", which said: ");
    else {
        if (story_event_class(event) > '2')
            paragraph_printf(out, "Decided by", "us: %s", decider_of(event));
        if (event_words_text(event, "backend_reply")[0])
            print_backend(out, event, "Server", ", which had said: ");
    }
}

void
story_checks_print(FILE *out, const json_t *event)
{
    print_origin(out, event);
    print_checks(out, event);
    print_spf(out, event);
    print_decided(out, event);
}
