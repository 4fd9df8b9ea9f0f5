/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl block and allow: what is written decides what it is of, an address or network of the
 * client, a sender's address, or a sender's domain.  Adding what is there already changes its
 * reason and end.
 */
#include "admin/sender_rule.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ban.h"
#include "admin/commands.h"
#include "admin/field.h"
#include "admin/registry_row.h"
#include "admin/until.h"
#include "base/clock.h"

static const char *
noun_of(const struct call *call)
{
    return call->line.command->noun;
}

/* --- What it is of. */

enum kind { KIND_NETWORK, KIND_SENDER, KIND_DOMAIN };
static const char *const columns[] = {
    [KIND_NETWORK] = "network", [KIND_SENDER] = "sender", [KIND_DOMAIN] = "domain"};

struct value {
    enum kind kind;
    char text[FIELD_TEXT_SIZE]; /* as it is stored */
};

static enum command_status
read_network(const char *noun, const char *text, struct value *value)
{
    struct inet_network network;
    char network_text[INET_ENDPOINT_SIZE];
    enum command_status status = field_network(noun, text, &network);

    value->kind = KIND_NETWORK;
    if (status == COMMAND_DONE)
        snprintf(value->text, sizeof value->text, "%s", inet_network_text(&network, network_text));
    return status;
}

static enum command_status
read_sender(const char *noun, const char *text, struct value *value)
{
    char why[FIELD_TEXT_SIZE];
    bool is_null = false;
    const char *wrong = field_check_mailbox(NULL, text, value->text, &is_null, why);

    value->kind = KIND_SENDER;
    if (text[0] == '@')
        return call_usage("%s: \"%s\": for every sender of a domain write the domain alone: %s",
                          noun, text, text + 1);
    if (wrong)
        return call_usage("%s: \"%s\" %s", noun, text, wrong);
    for (char *c = value->text; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    return COMMAND_DONE;
}

/* ".top" is all of a top-level domain: normalised as a name below it. */
static enum command_status
read_domain(const char *noun, const char *text, struct value *value)
{
    char below[FIELD_TEXT_SIZE], normal[INET_DOMAIN_SIZE];
    bool is_parent = text[0] == '.';
    const char *why;

    value->kind = KIND_DOMAIN;
    if (text[0] == '*')
        return call_usage("%s: \"%s\": for the subdomains write a leading dot: %s", noun, text,
                          text + 1);
    snprintf(below, sizeof below, "%s%.400s", is_parent ? "a" : "", text);
    if (inet_domain_normalize(slice_of(below), normal, &why) != ERR_OK)
        return call_usage(
            "%s: \"%s\" is no address, network, sender or domain: as a name it %s; "
            "write 203.0.113.7, 203.0.113.0/24, sam@sender.example, sender.example, or "
            ".sender.example for its subdomains",
            noun, text, why);
    snprintf(value->text, sizeof value->text, "%s", normal + is_parent);
    return COMMAND_DONE;
}

static enum command_status
read_value(const char *noun, const char *text, struct value *value)
{
    if (strchr(text, '@'))
        return read_sender(noun, text, value);
    if (strchr(text, '/') || strchr(text, ':') || strspn(text, "0123456789.") == strlen(text))
        return read_network(noun, text, value);
    return read_domain(noun, text, value);
}

enum command_status
sender_rule_value(const char *noun, const char *text, const char **column,
                  char stored[FIELD_TEXT_SIZE])
{
    struct value value = {.kind = KIND_NETWORK};
    enum command_status status = read_value(noun, text, &value);

    *column = columns[value.kind];
    memcpy(stored, value.text, FIELD_TEXT_SIZE);
    return status;
}

/* --- For whom. */

struct owner {
    char name[FIELD_NAME_SIZE];
    char id[16]; /* "0": every customer of every node */
};

/* The customer is looked up by find_owner. */
static enum command_status
read_owner(const struct call *call, struct owner *owner)
{
    const char *name = call_value(call, "customer"), *wide = call_value(call, "node-wide");

    *owner = (struct owner){.id = "0"};
    if ((name != NULL) == (wide != NULL))
        return call_usage("%s %s needs to know for whom: --customer NAME%s --node-wide (networks, "
                          "for every customer)",
                          noun_of(call), call->line.command->verb,
                          name ? " and not with it" : ", or");
    return name ? field_customer_name(name, owner->name) : COMMAND_DONE;
}

static enum command_status
find_owner(struct call *call, struct owner *owner)
{
    return owner->name[0] ? registry_row_customer(call, owner->name, owner->id) : COMMAND_DONE;
}

static enum command_status
check_node_wide(const struct call *call, const struct owner *owner, const struct value *value)
{
    if (owner->name[0] || value->kind == KIND_NETWORK)
        return COMMAND_DONE;
    return call_usage(
        "%s: \"%s\": --node-wide is for addresses and networks of clients alone; whom "
        "to %s by name is each customer's: use --customer NAME",
        noun_of(call), value->text, noun_of(call));
}

static enum command_status
read_values(const struct call *call, const struct owner *owner)
{
    enum command_status status = COMMAND_DONE;
    struct value value;

    for (unsigned i = 0; i < call->line.operand_count; i++)
        if (read_value(noun_of(call), call->line.operands[i], &value) != COMMAND_DONE ||
            check_node_wide(call, owner, &value) != COMMAND_DONE)
            status = COMMAND_USAGE;
    return status;
}

/* --- Adding. */

/* In milliseconds as text; "" without --until. */
static enum command_status
read_until(const struct call *call, char until[24])
{
    const char *text = call_value(call, "until");
    char now[CLOCK_LOCAL_SIZE];
    int64_t until_ms;
    int rc;

    until[0] = '\0';
    if (text == NULL)
        return COMMAND_DONE;
    rc = until_parse(text, call->printing.now_ms, &until_ms);
    if (rc != ERR_OK)
        return call_usage(
            "--until: \"%s\" is %s; it is now %s; use 2026-12-01, \"2026-12-01 15:00\", "
            "+2d or +90m",
            text, rc == ERR_RANGE ? "not in the future, or too far in it" : "no time",
            clock_local(call->printing.now_ms, now));
    snprintf(until, 24, "%lld", (long long)until_ms);
    return COMMAND_DONE;
}

static enum command_status
clear_ended(struct call *call)
{
    PGresult *result;
    enum command_status status = database_query(
        call, "DELETE FROM postern.sender_rules WHERE expires_at < now() - interval '1 day'", 0,
        NULL, &result);

    PQclear(result);
    return status;
}

/* An allow goes before a block of the same. */
static enum command_status
warn_of_opposite(struct call *call, const struct owner *owner, const struct value *value)
{
    const char *params[] = {owner->id, value->text, noun_of(call)};
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT FROM postern.sender_rules WHERE coalesce(customer_id, 0) = $1::integer AND "
        "coalesce(network::text, sender, domain) = $2 AND action <> $3 AND (expires_at IS NULL OR "
        "expires_at > now())",
        3, params, &result);

    if (status == COMMAND_DONE && PQntuples(result) > 0)
        call_warn(call, "%s is on the other list too, and an allow goes before a block of the same",
                  value->text);
    PQclear(result);
    return status;
}

static enum command_status
insert(struct call *call, const struct owner *owner, const struct value *value, const char *until)
{
    const char *reason = call_value(call, "reason");
    const char *params[] = {owner->id, noun_of(call), value->text,
                            reason && reason[0] ? reason : NULL, until[0] ? until : NULL};
    PGresult *result;
    enum command_status status;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql,
               "INSERT INTO postern.sender_rules (customer_id, action, %s, reason, expires_at) "
               "VALUES (nullif($1::integer, 0), $2, $3::%s, $4, to_timestamp($5::bigint / 1000.0)) "
               "ON CONFLICT (coalesce(customer_id, 0), action, coalesce(network::text, sender, "
               "domain)) DO UPDATE SET reason = excluded.reason, expires_at = excluded.expires_at",
               columns[value->kind], value->kind == KIND_NETWORK ? "cidr" : "text");
    status = database_query(call, buf_text(&sql), 5, params, &result);
    buf_fini(&sql);
    PQclear(result);
    return status == COMMAND_DONE ? warn_of_opposite(call, owner, value) : status;
}

/* Of UTF-8. */
static unsigned
count_characters(const char *text)
{
    unsigned count = 0;

    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static enum command_status
check_reason(const struct call *call)
{
    const char *reason = call_value(call, "reason");

    if (strcmp(noun_of(call), "block") == 0 && (reason == NULL || reason[0] == '\0'))
        return call_need_reason(call);
    if (reason && count_characters(reason) > 200)
        return call_usage("--reason: is longer than 200 characters; it is shown in lists");
    return COMMAND_DONE;
}

static enum command_status
add_all(struct call *call, const struct owner *owner, const char *until)
{
    enum command_status status = clear_ended(call);
    struct value value;

    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++) {
        status = read_value(noun_of(call), call->line.operands[i], &value);
        if (status == COMMAND_DONE)
            status = insert(call, owner, &value, until);
    }
    return status;
}

enum command_status
sender_rule_add(struct call *call)
{
    struct owner owner;
    char until[24];
    enum command_status status = read_owner(call, &owner), others[3];

    others[0] = read_values(call, &owner);
    others[1] = check_reason(call);
    others[2] = read_until(call, until);
    for (unsigned i = 0; i < 3; i++)
        if (status == COMMAND_DONE)
            status = others[i];
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = find_owner(call, &owner);
    if (status == COMMAND_DONE)
        status = add_all(call, &owner, until);
    status = database_end(call, status);
    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        call_done(call, "added", noun_of(call), call->line.operands[i]);
    return status;
}

/* --- Removing. */

/* What the relay on this node has banned by itself. */
static bool
end_ban(const struct call *call, const struct owner *owner, const struct value *value)
{
    return strcmp(noun_of(call), "block") == 0 && owner->name[0] != '\0' &&
           value->kind == KIND_NETWORK &&
           ban_end(call, (uint32_t)strtoul(owner->id, NULL, 10), value->text);
}

/* COMMAND_NOTHING: it is not there, which has been said. */
static enum command_status
remove_one(struct call *call, const struct owner *owner, const char *operand)
{
    struct value value;
    enum command_status status = read_value(noun_of(call), operand, &value);
    const char *params[] = {owner->id, noun_of(call), value.text};
    PGresult *result;

    if (status != COMMAND_DONE)
        return status;
    status = database_query(
        call,
        "DELETE FROM postern.sender_rules WHERE coalesce(customer_id, 0) = $1::integer AND action "
        "= $2 AND coalesce(network::text, sender, domain) = $3",
        3, params, &result);
    if (status == COMMAND_DONE && !end_ban(call, owner, &value) &&
        strcmp(PQcmdTuples(result), "0") == 0) {
        call_complain("there is no %s of %s %s%s; `relayctl %s list` shows all", noun_of(call),
                      operand, owner->name[0] ? "of customer " : "node-wide", owner->name,
                      noun_of(call));
        status = COMMAND_NOTHING;
    }
    PQclear(result);
    return status;
}

static enum command_status
remove_all(struct call *call, const struct owner *owner, bool *is_removed, unsigned *missing)
{
    enum command_status status = clear_ended(call);

    *missing = 0;
    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++) {
        status = remove_one(call, owner, call->line.operands[i]);
        is_removed[i] = status == COMMAND_DONE;
        *missing += status == COMMAND_NOTHING;
        if (status == COMMAND_NOTHING)
            status = COMMAND_DONE;
    }
    return status;
}

static enum command_status
remove_in_change(struct call *call, struct owner *owner, bool *is_removed)
{
    unsigned missing = 0;
    enum command_status status = find_owner(call, owner);

    if (status == COMMAND_DONE)
        status = remove_all(call, owner, is_removed, &missing);
    if (status == COMMAND_DONE && missing == call->line.operand_count)
        status = COMMAND_NOTHING;
    status = database_end(call, status);
    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        if (is_removed[i])
            call_done(call, "removed", noun_of(call), call->line.operands[i]);
    return status == COMMAND_DONE && missing > 0 ? COMMAND_PARTLY : status;
}

enum command_status
sender_rule_remove(struct call *call)
{
    struct owner owner;
    enum command_status status = read_owner(call, &owner), others[2];
    char question[128];
    bool *is_removed;

    others[0] = read_values(call, &owner);
    others[1] = call_need_reason(call);
    for (unsigned i = 0; i < 2; i++)
        if (status == COMMAND_DONE)
            status = others[i];
    snprintf(question, sizeof question, "Remove %u from the list of what is %sed?",
             call->line.operand_count, noun_of(call));
    if (status == COMMAND_DONE)
        status = call_confirm(call, question);
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    is_removed = mem_alloc(call->line.operand_count * sizeof *is_removed);
    status = remove_in_change(call, &owner, is_removed);
    free(is_removed);
    return status;
}

/* --- Showing. */

enum row_column {
    ROW_ACTION,
    ROW_KIND,
    ROW_VALUE,
    ROW_CUSTOMER,
    ROW_REASON,
    ROW_UNTIL,
    ROW_WHO,
    ROW_AT
};

enum command_status
sender_rule_query(struct call *call, const char *customer_id, const char *action, PGresult **rows)
{
    char now[24];
    const char *params[] = {customer_id, action, now};

    snprintf(now, sizeof now, "%lld", (long long)call->printing.now_ms);
    return database_query(
        call,
        "SELECT r.action, CASE WHEN r.network IS NOT NULL THEN 'network' WHEN r.sender IS NOT NULL "
        "THEN 'sender' ELSE 'domain' END, CASE WHEN masklen(r.network) = CASE family(r.network) "
        "WHEN "
        "4 THEN 32 ELSE 128 END THEN host(r.network) ELSE coalesce(r.network::text, r.sender, "
        "r.domain) END, c.name, r.reason, " DATABASE_MS(
            "r.expires_at") ", r.created_by, " DATABASE_MS("r.created_at") " FROM "
                                                                           "postern.sender_rules r "
                                                                           "LEFT JOIN "
                                                                           "postern.customers c ON "
                                                                           "c.id = "
                                                                           "r.customer_id WHERE "
                                                                           "($1 = '' OR "
                                                                           "coalesce(r.customer_id,"
                                                                           " 0) = "
                                                                           "nullif($1, "
                                                                           "'')::integer) AND ($2 "
                                                                           "= '' OR r.action = $2) "
                                                                           "AND "
                                                                           "(r.expires_at IS NULL "
                                                                           "OR r.expires_at > "
                                                                           "to_timestamp($3::"
                                                                           "bigint / "
                                                                           "1000.0)) ORDER BY "
                                                                           "c.name NULLS FIRST, 2, "
                                                                           "3",
        3, params, rows);
}

struct json_t *
sender_rule_json(const PGresult *rows)
{
    json_t *all = json_array();

    for (int row = 0; row < PQntuples(rows); row++)
        CHECK(json_array_append_new(
                  all, json_pack("{s:s, s:s, s:s, s:s?, s:o, s:s}", "action",
                                 PQgetvalue(rows, row, ROW_ACTION), "kind",
                                 PQgetvalue(rows, row, ROW_KIND), "what",
                                 PQgetvalue(rows, row, ROW_VALUE), "reason",
                                 database_text(rows, row, ROW_REASON), "expires_at",
                                 printer_json_time(database_number(rows, row, ROW_UNTIL)), "who",
                                 PQgetvalue(rows, row, ROW_WHO))) == 0);
    return all;
}

void
sender_rule_summary(const PGresult *rows, char dst[64])
{
    int blocked = 0;

    for (int row = 0; row < PQntuples(rows); row++)
        blocked += strcmp(PQgetvalue(rows, row, ROW_ACTION), "block") == 0;
    if (PQntuples(rows) == 0)
        snprintf(dst, 64, "none");
    else
        snprintf(dst, 64, "%d blocked, %d allowed (below)", blocked, PQntuples(rows) - blocked);
}

static const struct printer_column list_columns[] = {
    {"action", "LIST", PRINTER_LEFT},
    {"kind", "OF", PRINTER_LEFT},
    {"what", "WHAT", PRINTER_LEFT},
    {"customer", "CUSTOMER", PRINTER_LEFT},
    {"reason", "REASON", PRINTER_WRAP | PRINTER_BELOW},
    {"expires_at", "UNTIL", PRINTER_LEFT},
    {"who", "WHO", PRINTER_LEFT},
    {"created_at", "SINCE", PRINTER_LEFT},
};

static void
print_row(struct printer *p, const PGresult *rows, int row)
{
    const char *customer = database_text(rows, row, ROW_CUSTOMER);

    printer_text(p, PQgetvalue(rows, row, ROW_ACTION));
    printer_text(p, PQgetvalue(rows, row, ROW_KIND));
    printer_text(p, PQgetvalue(rows, row, ROW_VALUE));
    if (customer)
        printer_text(p, customer);
    else
        printer_none(p, "every one");
    printer_text(p, database_text(rows, row, ROW_REASON));
    printer_date(p, database_number(rows, row, ROW_UNTIL));
    printer_text(p, PQgetvalue(rows, row, ROW_WHO));
    printer_date(p, database_number(rows, row, ROW_AT));
}

static struct printer *
begin_table(const struct call *call, const PGresult *rows)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));

    for (int row = 0; row < PQntuples(rows); row++)
        print_row(p, rows, row);
    return p;
}

static unsigned
end_table(struct printer *p)
{
    unsigned count = printer_row_count(p);

    printer_finish(&p);
    return count;
}

unsigned
sender_rule_table(const struct call *call, const PGresult *rows)
{
    return end_table(begin_table(call, rows));
}

/* One that the relay on this node has made by itself. */
static void
print_ban(void *ctx, const struct ban *ban)
{
    struct printer *p = ctx;

    printer_text(p, "block");
    printer_text(p, "network");
    printer_text(p, ban->what);
    printer_text(p, ban->customer ? ban->customer : "?");
    printer_text(p, "backscatter");
    printer_date(p, ban->until_ms);
    printer_text(p, "relayd");
    printer_date(p, ban->since_ms);
}

enum command_status
sender_rule_list(struct call *call)
{
    const char *name = call_value(call, "customer");
    bool is_wide = call_value(call, "node-wide") != NULL;
    struct owner owner = {.name = ""};
    struct printer *p;
    PGresult *rows;
    unsigned count;
    enum command_status status = COMMAND_DONE;

    if (name && is_wide)
        return call_usage(
            "--customer shows one customer's list and --node-wide the operators' own; "
            "use one of them, or neither for all");
    if (name)
        status = field_customer_name(name, owner.name);
    if (status == COMMAND_DONE)
        status = find_owner(call, &owner);
    if (is_wide)
        snprintf(owner.id, sizeof owner.id, "0");
    if (status == COMMAND_DONE)
        status = sender_rule_query(call, owner.id, noun_of(call), &rows);
    if (status != COMMAND_DONE)
        return status;
    p = begin_table(call, rows);
    PQclear(rows);
    if (strcmp(noun_of(call), "block") == 0 && !is_wide)
        ban_list(call, (uint32_t)strtoul(owner.id, NULL, 10), print_ban, p);
    count = end_table(p);
    if (count > 0)
        return COMMAND_DONE;
    call_complain("nothing is on this list");
    return name || is_wide ? COMMAND_NOTHING : COMMAND_DONE;
}
