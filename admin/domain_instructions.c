/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl domain instructions: what to tell a customer, to be pasted into a letter.  Our addresses
 * are those of the MX names in DNS, and those that deliveries come from.
 */
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/domain_lookup.h"
#include "admin/field.h"
#include "admin/missing.h"
#include "admin/survey_screen.h"
#include "notice/notice_language.h"
#include "survey/survey_domain.h"

#define TTL_S 3600
#define PREFERENCE_STEP 10

enum text_id {
#define TEXT(id, ...) TEXT_##id,
#include "admin/instructions.def"
#undef TEXT
};

static const char *const texts[][NOTICE_LANGUAGES] = {
#define TEXT(id, ...) [TEXT_##id] = {__VA_ARGS__},
#include "admin/instructions.def"
#undef TEXT
};

struct instructions {
    struct call *call;
    char name[FIELD_DOMAIN_SIZE];
    PGresult *row;
    enum notice_language language;
    bool is_fallback;
    struct survey_addresses addresses;
    bool is_unsure; /* not all of them could be looked up */
    struct buf text;
};

enum {
    CUSTOMER,
    MODE,
    LANGUAGE,
    MAX_SIZE,
    TOKEN,
    BACKENDS, /* their names, a blank between */
    HOST,     /* the first backend's, if it is known by one */
    SOURCES,  /* the addresses that they are connected to from, a blank between */
};

#define QUERY                                                                                  \
    "SELECT c.name, d.mode, c.language, c.max_message_size_bytes, d.ownership_token, "         \
    "(SELECT string_agg(c.name || '/' || b.number, ' ' ORDER BY b.number) FROM "               \
    "postern.backends b WHERE " DOMAIN_LOOKUP_IS_ITS_BACKEND "), "                             \
    "(SELECT CASE b.lookup WHEN 'address' THEN b.host END FROM postern.backends b "            \
    "WHERE " DOMAIN_LOOKUP_IS_ITS_BACKEND " ORDER BY b.priority, b.number LIMIT 1), "          \
    "(SELECT string_agg(DISTINCT host(b.source_address), ' ') FROM postern.backends b "        \
    "WHERE " DOMAIN_LOOKUP_IS_ITS_BACKEND ") FROM postern.domains d JOIN postern.customers c " \
    "ON c.id = d.customer_id WHERE " DOMAIN_LOOKUP_BY_NAME

/* --- What is known. */

static enum command_status
read_language(struct instructions *in)
{
    const char *word = call_value(in->call, "language");
    const char *wanted = word ? word : database_text(in->row, 0, LANGUAGE);

    in->language = notice_language_of(wanted);
    if (strcmp(wanted, notice_language_word(in->language)) == 0)
        return COMMAND_DONE;
    return call_usage("--language: \"%s\" is not known; use en, de, nl or da", wanted);
}

static void
add_address(struct survey_addresses *all, const struct inet_endpoint *address)
{
    struct inet_endpoint plain = *address;

    plain.port = 0;
    if (plain.family != 0 && all->count < SURVEY_ADDRESSES_MAX &&
        !survey_addresses_have(all, &plain))
        all->items[all->count++] = plain;
}

/* A judge that finds nothing, but sees addresses. */
static void
look_up(struct survey *survey, const void *question)
{
    struct instructions *in = *(struct instructions *const *)question;
    const struct config *config = in->call->config;
    struct survey_addresses some;

    in->addresses.count = 0;
    in->is_unsure = false;
    for (size_t i = 0; i < config->mx_names.count; i++) {
        survey_ask_addresses(survey, config->mx_names.items[i], &some);
        in->is_unsure = in->is_unsure || some.result != DNS_OK;
        for (unsigned j = 0; j < some.count; j++)
            add_address(&in->addresses, &some.items[j]);
    }
}

static void
add_sources(struct instructions *in)
{
    struct slice rest = slice_of(database_text(in->row, 0, SOURCES));
    struct inet_endpoint address;

    add_address(&in->addresses, &in->call->config->source_address);
    while (rest.p != NULL)
        if (inet_endpoint_parse(slice_split(&rest, ' '), 25, &address) == ERR_OK)
            add_address(&in->addresses, &address);
}

static void
on_done(void *ctx)
{
    loop_stop(ctx);
}

static enum command_status
find_addresses(struct instructions *in)
{
    struct survey_screen screen;
    enum command_status status = survey_screen_init(&screen, in->call);
    struct survey *survey;

    if (status != COMMAND_DONE)
        return status;
    survey = survey_start(&screen.world, in->name, look_up, &in, on_done, screen.loop);
    loop_run(screen.loop);
    survey_free(&survey);
    survey_screen_fini(&screen);
    add_sources(in);
    if (in->is_unsure)
        call_warn(in->call, "not every one of the MX names (setting mx-names) has an address in "
                            "DNS now: those that are shown may not be all");
    return COMMAND_DONE;
}

/* --- The text. */

static void
say(struct instructions *in, enum text_id id)
{
    char size[NOTICE_WHEN_SIZE];
    enum notice_language language = in->language;
    int64_t max_size = database_number(in->row, 0, MAX_SIZE);
    const struct config *config = in->call->config;
    uint64_t limit = max_size > 0 ? (uint64_t)max_size : config->max_message_size;
    struct notice_value values[] = {
        {"domain", in->name[0] == '.' ? in->name + 1 : in->name, 0},
        {"size", notice_size(language, limit, size), 0},
        {"count", NULL, id == TEXT_DNS_ONLY ? config->mx_names.count : in->addresses.count},
        {NULL, NULL, 0},
    };
    struct buf filled;

    buf_init(&filled, 0);
    notice_fill(&filled, language, texts[id][in->language], values);
    notice_wrap(&in->text, buf_slice(&filled));
    buf_fini(&filled);
}

static void
say_all(struct instructions *in, const enum text_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        say(in, ids[i]);
}

static void
begin_section(struct instructions *in, enum text_id id)
{
    buf_add_text(&in->text, "\n");
    say(in, id);
    buf_add_text(&in->text, "\n");
}

/* As it stands in a zone file: "acme.example.", "*.acme.example.". */
static void
add_owner(struct instructions *in)
{
    buf_printf(&in->text, "    %s%s.  %d  IN  ", in->name[0] == '.' ? "*" : "", in->name, TTL_S);
}

static void
add_mx(struct instructions *in, unsigned preference, const char *host)
{
    add_owner(in);
    buf_printf(&in->text, "MX  %u  %s\n", preference, host);
}

static void
say_dns(struct instructions *in)
{
    const struct config_words *names = &in->call->config->mx_names;
    const char *own = database_text(in->row, 0, HOST), *token = database_text(in->row, 0, TOKEN);
    unsigned preference = PREFERENCE_STEP;
    char host[INET_DOMAIN_SIZE + 2];

    begin_section(in, TEXT_DNS);
    say(in, in->is_fallback ? TEXT_DNS_BEHIND : TEXT_DNS_ONLY);
    buf_add_text(&in->text, "\n");
    if (in->is_fallback && own) {
        snprintf(host, sizeof host, "%s.", own);
        add_mx(in, preference, host);
    }
    preference += in->is_fallback ? PREFERENCE_STEP : 0;
    for (size_t i = 0; i < names->count; i++, preference += PREFERENCE_STEP) {
        snprintf(host, sizeof host, "%s.", names->items[i]);
        add_mx(in, preference, host);
    }
    buf_add_text(&in->text, "\n");
    say(in, TEXT_DNS_NAME);
    if (token == NULL)
        return;
    buf_add_text(&in->text, "\n");
    say(in, TEXT_DNS_TOKEN);
    buf_printf(&in->text, "\n    %s.  %d  IN  TXT  \"" SURVEY_OWNERSHIP_PREFIX "%s\"\n",
               in->name[0] == '.' ? in->name + 1 : in->name, TTL_S, token);
}

static void
say_order(struct instructions *in)
{
    static const enum text_id steps[] = {TEXT_ORDER_TTL, TEXT_ORDER_PREPARE, TEXT_ORDER_CHANGE};

    begin_section(in, TEXT_ORDER);
    say_all(in, steps, ARRAY_SIZE(steps));
    say(in, in->is_fallback ? TEXT_ORDER_OPEN : TEXT_ORDER_CLOSE);
}

static void
say_firewall(struct instructions *in)
{
    char text[INET_ENDPOINT_SIZE];

    begin_section(in, TEXT_FIREWALL);
    say(in, in->addresses.count ? TEXT_FIREWALL_ALLOW : TEXT_FIREWALL_ASK);
    if (in->addresses.count)
        buf_add_text(&in->text, "\n");
    for (unsigned i = 0; i < in->addresses.count; i++)
        buf_printf(&in->text, "    %s\n", inet_address_text(&in->addresses.items[i], text));
    if (in->is_fallback)
        return;
    buf_add_text(&in->text, "\n");
    say(in, TEXT_FIREWALL_NOBODY_ELSE);
}

static void
say_server(struct instructions *in)
{
    static const enum text_id points[] = {TEXT_SERVER_EXEMPT,    TEXT_SERVER_UNKNOWN,
                                          TEXT_SERVER_NO_BOUNCE, TEXT_SERVER_NULL,
                                          TEXT_SERVER_SIZE,      TEXT_SERVER_TLS};

    begin_section(in, TEXT_SERVER);
    say_all(in, points, ARRAY_SIZE(points));
}

static void
say_check(struct instructions *in)
{
    struct slice rest = slice_of(database_text(in->row, 0, BACKENDS));

    begin_section(in, TEXT_CHECK);
    say(in, TEXT_CHECK_US);
    buf_printf(&in->text, "\n    relayctl domain check %s\n", in->name);
    while (rest.p != NULL) {
        struct slice name = slice_split(&rest, ' ');

        buf_printf(&in->text, "    relayctl backend test " SLICE_FMT "\n", SLICE_ARG(name));
    }
}

static void
write_text(struct instructions *in)
{
    say(in, TEXT_TITLE);
    say_dns(in);
    say_order(in);
    say_firewall(in);
    say_server(in);
    say_check(in);
}

/* --- Printing. */

static json_t *
mx_as_json(const struct instructions *in)
{
    const struct config_words *names = &in->call->config->mx_names;
    json_t *list = json_array();

    for (size_t i = 0; i < names->count; i++)
        json_array_append_new(list, json_pack("{s:i, s:s}", "preference",
                                              PREFERENCE_STEP * (int)(i + 1 + in->is_fallback),
                                              "host", names->items[i]));
    return list;
}

static void
print_json(struct instructions *in)
{
    json_t *addresses = json_array(), *object;
    const char *token = database_text(in->row, 0, TOKEN);
    char text[INET_ENDPOINT_SIZE], *line;

    for (unsigned i = 0; i < in->addresses.count; i++)
        json_array_append_new(addresses,
                              json_string(inet_address_text(&in->addresses.items[i], text)));
    object = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "name", in->name, "customer",
                       database_text(in->row, 0, CUSTOMER), "mode", database_text(in->row, 0, MODE),
                       "language", notice_language_word(in->language), "mx", mx_as_json(in),
                       "addresses", addresses, "ownership_txt",
                       token ? json_sprintf(SURVEY_OWNERSHIP_PREFIX "%s", token) : json_null(),
                       "text", buf_text(&in->text));
    line = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(line != NULL);
    fprintf(in->call->printing.out, "%s\n", line);
    free(line);
    json_decref(object);
}

static enum command_status
tell(struct instructions *in)
{
    enum command_status status = read_language(in);

    if (status != COMMAND_DONE)
        return status;
    in->is_fallback = strcmp(database_text(in->row, 0, MODE), "fallback") == 0;
    status = find_addresses(in);
    if (status != COMMAND_DONE)
        return status;
    write_text(in);
    if (in->call->printing.json)
        print_json(in);
    else
        fputs(buf_text(&in->text), in->call->printing.out);
    return COMMAND_DONE;
}

enum command_status
domain_instructions(struct call *call)
{
    struct instructions in = {.call = call};
    const char *params[] = {in.name};
    enum command_status status = field_domain_name(call->line.operands[0], in.name);

    if (status == COMMAND_DONE)
        status = database_query(call, QUERY, 1, params, &in.row);
    if (status != COMMAND_DONE)
        return status;
    buf_init(&in.text, 0);
    status = PQntuples(in.row) > 0 ? tell(&in) : missing_complain(call, MISSING_DOMAIN, in.name);
    buf_fini(&in.text);
    PQclear(in.row);
    return status;
}
