/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl domain check: what the world sees of customers' domains.  The registry says which they
 * are and what was agreed on; lib/survey looks and judges, many domains at once, printed in order.
 */
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/domain_lookup.h"
#include "admin/field.h"
#include "admin/missing.h"
#include "admin/registry_row.h"
#include "admin/survey_screen.h"
#include "policy/policy.h"
#include "survey/survey_domain.h"
#include "survey/survey_host.h"

#define AT_ONCE 20 /* surveys */

struct subject {
    struct checking *checking;
    char name[FIELD_DOMAIN_SIZE];
    char *customer, *token;
    struct survey_domain domain;
    struct survey_backend *backends;
    struct survey *survey;
    bool is_done;
};

struct checking {
    struct survey_screen screen;
    struct subject *subjects;
    size_t count, room, started, printed;
    unsigned missing; /* names that are not registered */
    unsigned silent;  /* of those printed: DNS gave no answer about their MX */
};

/* --- Subjects, from the registry. */

#define SUBJECT_QUERY                                                                       \
    "SELECT d.name, c.name, d.mode, c.policy, d.ownership_token, "                          \
    "(SELECT string_agg(concat_ws(' ', b.lookup, coalesce(b.host, host(b.address))), ',') " \
    "FROM postern.backends b WHERE " DOMAIN_LOOKUP_IS_ITS_BACKEND                           \
    ") FROM postern.domains d JOIN postern.customers c ON c.id = d.customer_id WHERE "

#define BY_CUSTOMER "$1 = '' OR c.name = $1 ORDER BY d.name"

static void
add_backend(struct subject *s, struct slice text)
{
    struct slice lookup = slice_split(&text, ' ');
    struct survey_backend *b;

    if (text.p == NULL)
        return;
    s->backends = mem_realloc(s->backends, (s->domain.backend_count + 1) * sizeof *s->backends);
    b = &s->backends[s->domain.backend_count++];
    *b = (struct survey_backend){.is_mx = slice_equal(lookup, SLICE("mx"))};
    if (inet_endpoint_parse(text, 25, &b->address) < 0)
        slice_to_text(text, b->host, sizeof b->host);
}

static void
read_backends(struct subject *s, const char *text)
{
    struct slice rest = slice_of(text);

    while (rest.p != NULL)
        add_backend(s, slice_split(&rest, ','));
}

static bool
does_greylist(const char *text)
{
    policy_set policy;
    const char *why;

    return policy_change(POLICY_SET_OFF, slice_of(text), &policy, &why) == ERR_OK &&
           policy_action_of(policy, POLICY_GREYLIST) != POLICY_OFF;
}

static void
add_subject(struct checking *checking, const PGresult *result, int row, const char *name)
{
    struct subject *s;

    if (checking->count == checking->room) {
        checking->room = checking->room ? checking->room * 2 : 64;
        checking->subjects =
            mem_realloc(checking->subjects, checking->room * sizeof *checking->subjects);
    }
    s = &checking->subjects[checking->count++];
    *s = (struct subject){.checking = checking};
    snprintf(s->name, sizeof s->name, "%s", name ? name : PQgetvalue(result, row, 0));
    s->customer = mem_strdup(PQgetvalue(result, row, 1));
    s->domain.is_fallback = strcmp(PQgetvalue(result, row, 2), "fallback") == 0;
    s->domain.greylists = does_greylist(PQgetvalue(result, row, 3)) || s->domain.is_fallback;
    s->token = mem_strdup(database_text(result, row, 4));
    s->domain.token = s->token;
    read_backends(s, PQgetvalue(result, row, 5));
}

static enum command_status
find_name(struct call *call, struct checking *checking, const char *text)
{
    char name[FIELD_DOMAIN_SIZE];
    const char *params[] = {name};
    enum command_status status = field_domain_name(text, name);
    PGresult *result;

    if (status == COMMAND_DONE)
        status = database_query(call, SUBJECT_QUERY DOMAIN_LOOKUP_BY_NAME, 1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) > 0)
        add_subject(checking, result, 0, name);
    else
        status = missing_complain(call, MISSING_DOMAIN, name);
    PQclear(result);
    if (status != COMMAND_NOTHING)
        return status;
    checking->missing++;
    return COMMAND_DONE;
}

static enum command_status
find_all(struct call *call, struct checking *checking, const char *customer)
{
    const char *params[] = {customer};
    PGresult *result;
    enum command_status status =
        database_query(call, SUBJECT_QUERY BY_CUSTOMER, 1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    for (int row = 0; row < PQntuples(result); row++)
        add_subject(checking, result, row, NULL);
    PQclear(result);
    if (checking->count == 0)
        call_complain("no domain matches; `relayctl domain list` shows all");
    return COMMAND_DONE;
}

static enum command_status
find_subjects(struct call *call, struct checking *checking)
{
    const char *customer = call_value(call, "customer");
    char name[FIELD_NAME_SIZE] = "", id[16];
    enum command_status status = COMMAND_DONE;

    if (call->line.operand_count == 0) {
        if (customer)
            status = field_customer_name(customer, name);
        if (status == COMMAND_DONE && customer)
            status = registry_row_customer(call, name, id);
        return status == COMMAND_DONE ? find_all(call, checking, name) : status;
    }
    for (unsigned i = 0; i < call->line.operand_count && status == COMMAND_DONE; i++)
        status = find_name(call, checking, call->line.operands[i]);
    return status;
}

/* --- Looking. */

static void start_more(struct checking *checking);

static void
print_subject(struct checking *checking, struct subject *s)
{
    const char *mode = s->domain.is_fallback ? "fallback" : "mx";
    char about[FIELD_NAME_SIZE + 64];

    snprintf(about, sizeof about, "customer %s, mode %s", s->customer, mode);
    survey_screen_print(
        &checking->screen, s->survey, about,
        json_pack("{s:s, s:s, s:s}", "name", s->name, "customer", s->customer, "mode", mode));
    checking->silent +=
        survey_count(s->survey) > 0 && survey_item(s->survey, 0)->id == SURVEY_MX_UNKNOWN;
    survey_free(&s->survey);
}

/* Of so many nothing is known: of the others nothing will be, one deadline after the other. */
static bool
is_hopeless(const struct checking *checking)
{
    return checking->silent >= AT_ONCE && checking->silent == checking->printed;
}

static void
on_done(void *ctx)
{
    struct subject *s = ctx;
    struct checking *checking = s->checking;

    s->is_done = true;
    while (checking->printed < checking->count && checking->subjects[checking->printed].is_done)
        print_subject(checking, &checking->subjects[checking->printed++]);
    if (checking->printed == checking->count || is_hopeless(checking))
        loop_stop(checking->screen.loop);
    else
        start_more(checking);
}

/* Not far ahead of what is printed, so that memory is bounded. */
static void
start_more(struct checking *checking)
{
    while (checking->started < checking->count && checking->started < checking->printed + AT_ONCE) {
        struct subject *s = &checking->subjects[checking->started++];

        s->domain.backends = s->backends;
        s->survey = survey_start(&checking->screen.world, s->name, survey_domain_judge, &s->domain,
                                 on_done, s);
    }
}

static enum command_status
look(struct call *call, struct checking *checking)
{
    enum command_status status = survey_screen_init(&checking->screen, call);

    if (status != COMMAND_DONE)
        return status;
    checking->screen.is_short = checking->count > 1;
    start_more(checking);
    loop_run(checking->screen.loop);
    status = survey_screen_status(&checking->screen);
    if (checking->printed < checking->count) {
        call_complain("DNS gives no answers: %zu of %zu domains were not looked at; `relayctl node "
                      "check` says how the resolver is",
                      checking->count - checking->printed, checking->count);
        status = COMMAND_PARTLY;
    }
    for (size_t i = checking->printed; i < checking->started; i++)
        survey_free(&checking->subjects[i].survey);
    survey_screen_fini(&checking->screen);
    return status;
}

static void
checking_fini(struct checking *checking)
{
    for (size_t i = 0; i < checking->count; i++) {
        free(checking->subjects[i].customer);
        free(checking->subjects[i].token);
        free(checking->subjects[i].backends);
    }
    free(checking->subjects);
}

/* --- A customer's own outgoing server. */

static enum command_status
read_sender(const struct call *call, struct survey_sender *sender, char domain[FIELD_DOMAIN_SIZE])
{
    const char *text = call_value(call, "sender");
    enum command_status status = COMMAND_DONE;

    *sender = (struct survey_sender){.helo = call_value(call, "helo")};
    if (call->line.operand_count > 1 || call_value(call, "customer") || call_value(call, "all"))
        return call_usage("with --sender name one domain at most, whose SPF is judged for that "
                          "address");
    if (inet_endpoint_parse(slice_of(text), 25, &sender->address) < 0)
        return call_usage("--sender: \"%s\" is no address; use 192.0.2.10 or 2001:db8::1", text);
    sender->address.port = 0;
    if (call->line.operand_count > 0) {
        status = field_domain_name(call->line.operands[0], domain);
        sender->domain = domain;
    }
    return status;
}

static enum command_status
check_sender(struct call *call)
{
    struct survey_screen screen;
    struct survey_sender sender;
    char domain[FIELD_DOMAIN_SIZE], text[INET_ENDPOINT_SIZE];
    enum command_status status = read_sender(call, &sender, domain);

    if (status == COMMAND_DONE)
        status = survey_screen_init(&screen, call);
    if (status != COMMAND_DONE)
        return status;
    inet_address_text(&sender.address, text);
    survey_screen_run(&screen, text, survey_sender_judge, &sender, "as a sender",
                      json_pack("{s:s, s:s?, s:s?}", "address", text, "helo", sender.helo, "domain",
                                sender.domain));
    status = survey_screen_status(&screen);
    survey_screen_fini(&screen);
    return status;
}

/* One way of saying which, and at least one. */
static enum command_status
check_selection(const struct call *call)
{
    unsigned ways = (call->line.operand_count > 0) + (call_value(call, "customer") != NULL) +
                    (call_value(call, "all") != NULL);

    if (call_value(call, "helo"))
        return call_usage("--helo is what a server calls itself: say --sender ADDRESS as well");
    if (ways == 1)
        return COMMAND_DONE;
    return call_usage(ways == 0 ? "which domains? Name them, or use --customer NAME or --all; for "
                                  "example: %s"
                                : "use names, --customer or --all, and one of them only; for "
                                  "example: %s",
                      call->line.command->example);
}

enum command_status
domain_check(struct call *call)
{
    struct checking checking = {.count = 0};
    enum command_status status;

    if (call_value(call, "sender"))
        return check_sender(call);
    status = check_selection(call);
    if (status == COMMAND_DONE)
        status = find_subjects(call, &checking);
    if (status == COMMAND_DONE && checking.count == 0)
        status = COMMAND_NOTHING;
    else if (status == COMMAND_DONE)
        status = look(call, &checking);
    if (status == COMMAND_DONE && checking.missing > 0)
        status = COMMAND_PARTLY;
    checking_fini(&checking);
    return status;
}
