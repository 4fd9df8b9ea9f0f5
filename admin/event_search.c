/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The selectors: reading, testing, SQL.  An event of a network (a line that counts, or one whose
 * address has been shortened) is found by any address of it.
 */
#define _GNU_SOURCE 1 /* strcasestr */

#include "admin/event_search.h"

#include <stdlib.h>
#include <string.h>

#include "admin/until.h"
#include "base/parse.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 100000
#define CONNECTION "connection" /* the kind of event */

/* --- Reading. */

/* In lower case, an octet beyond ASCII as the character of that number, as the log has it. */
static char *
as_logged(const char *text)
{
    struct buf b;
    char *copy;

    buf_init(&b, 0);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        unsigned char both[] = {(unsigned char)(0xc0 | *c >> 6),
                                (unsigned char)(0x80 | (*c & 0x3f))};
        char lower = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : (char)*c;

        if (*c < 0x80)
            buf_add(&b, &lower, 1);
        else
            buf_add(&b, both, 2);
    }
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

/* "<a@b.example>" as "a@b.example", as people paste it. */
static char *
read_address(const char *text)
{
    size_t n = strlen(text);
    char *address;

    if (n < 2 || text[0] != '<' || text[n - 1] != '>')
        return as_logged(text);
    address = as_logged(text + 1);
    address[strlen(address) - 1] = '\0';
    return address;
}

static char *
in_ascii(const char *text)
{
    char bare[FIELD_TEXT_SIZE], *ascii, *read;
    size_t n = text ? strlen(text) : 0;
    bool is_bracketed = n >= 2 && text[0] == '<' && text[n - 1] == '>';

    if (n == 0 || n >= sizeof bare)
        return NULL;
    snprintf(bare, sizeof bare, "%.*s", (int)(n - 2 * is_bracketed), text + is_bracketed);
    ascii = field_address_ascii(bare);
    read = ascii ? read_address(ascii) : NULL;
    free(ascii);
    return read;
}

static char *
read_message_id(const char *text)
{
    struct buf id;
    char *copy;

    buf_init(&id, 0);
    buf_printf(&id, text[0] == '<' ? "%s" : "<%s>", text);
    copy = mem_strdup(buf_text(&id));
    buf_fini(&id);
    return copy;
}

enum command_status
event_search_moment(const struct call *call, const char *option, int64_t *at_ms)
{
    const char *text = call_value(call, option);
    int64_t age_ms;

    if (text == NULL)
        return COMMAND_DONE;
    if (parse_duration_ms(slice_of(text), &age_ms) == ERR_OK)
        *at_ms = call->printing.now_ms - age_ms;
    else if (until_parse_moment(text, at_ms) != ERR_OK)
        return call_usage("--%s: \"%s\" is no time; use 30m, 2h or 3d (ago), 2026-12-01 or "
                          "\"2026-12-01 15:00\"",
                          option, text);
    return COMMAND_DONE;
}

static enum command_status
read_limit(const struct call *call, struct event_search *s)
{
    const char *text = call_value(call, "limit");
    uint64_t limit = LIMIT_DEFAULT;

    if (text != NULL && (parse_u64(slice_of(text), &limit) < 0 || limit == 0 || limit > LIMIT_MAX))
        return call_usage("--limit: \"%s\" is no number of 1 to %d", text, LIMIT_MAX);
    s->limit = limit;
    return COMMAND_DONE;
}

static enum command_status
read_client(const char *text, struct event_search *s)
{
    if (text == NULL || inet_network_parse(slice_of(text), &s->client) == ERR_OK)
        return COMMAND_DONE;
    return call_usage("--ip: \"%s\" is no address or network; use 192.0.2.10, 2001:db8::1 or "
                      "192.0.2.0/24",
                      text);
}

static enum command_status
read_id(const char *text, struct event_search *s)
{
    if (text == NULL || event_search_add_refs(s, text) > 0)
        return COMMAND_DONE;
    return call_usage("--id: \"%.100s\" is no id; ids look like P001-4KX3T-0B7Q2CF and stand in "
                      "replies and Received lines",
                      text);
}

static char *
read_with(char *(*read)(const char *text), const char *text)
{
    return text ? read(text) : NULL;
}

enum command_status
event_search_read(const struct call *call, struct event_search *s)
{
    enum command_status status;
    int64_t since_ms = 0, until_ms = 0;

    *s = (struct event_search){
        .sender = read_with(read_address, call_value(call, "from")),
        .recipient = read_with(read_address, call_value(call, "rcpt")),
        .message_id = read_with(read_message_id, call_value(call, "message-id")),
        .verdict = call_value(call, "verdict"),
        .customer = call_value(call, "customer"),
        .no_connections = call_value(call, "ip") == NULL,
    };
    s->sender_ascii = in_ascii(call_value(call, "from"));
    s->recipient_ascii = in_ascii(call_value(call, "rcpt"));
    status = read_limit(call, s);
    if (status == COMMAND_DONE)
        status = read_client(call_value(call, "ip"), s);
    if (status == COMMAND_DONE)
        status = field_domain_option(call, s->domain);
    if (status == COMMAND_DONE)
        status = read_id(call_value(call, "id"), s);
    if (status == COMMAND_DONE)
        status = event_search_moment(call, "since", &since_ms);
    if (status == COMMAND_DONE)
        status = event_search_moment(call, "until", &until_ms);
    if (status == COMMAND_DONE && since_ms && until_ms && since_ms >= until_ms)
        status = call_usage("--since is not before --until: no event can lie between");
    event_search_between(s, since_ms, until_ms);
    return status;
}

static char *
in_lower_case(const char *text)
{
    char *copy = mem_strdup(text);

    for (char *c = copy; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    return copy;
}

void
event_search_names(struct event_search *s, const char *sender, const char *recipient)
{
    s->sender = in_lower_case(sender);
    s->recipient = in_lower_case(recipient);
}

void
event_search_between(struct event_search *s, int64_t since_ms, int64_t until_ms)
{
    s->since_ms = since_ms;
    s->until_ms = until_ms;
    if (since_ms)
        clock_rfc3339(since_ms, s->since);
    if (until_ms)
        clock_rfc3339(until_ms, s->until);
}

void
event_search_fini(struct event_search *s)
{
    free(s->sender);
    free(s->recipient);
    free(s->sender_ascii);
    free(s->recipient_ascii);
    free(s->message_id);
    free(s->refs);
    *s = (struct event_search){0};
}

/* --- References. */

static void
add_ref(struct event_search *s, struct ref ref)
{
    for (size_t i = 0; i < s->ref_count; i++)
        if (ref_equal(s->refs[i], ref))
            return;
    if (s->refs == NULL)
        s->refs = mem_alloc(EVENT_SEARCH_REFS_MAX * sizeof *s->refs);
    if (s->ref_count < EVENT_SEARCH_REFS_MAX)
        s->refs[s->ref_count++] = ref;
}

static bool
is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

size_t
event_search_add_refs(struct event_search *s, const char *text)
{
    size_t n = strlen(text), found = 0;

    for (size_t i = 0; i + REF_SIZE - 1 <= n; i++) {
        struct ref ref;

        if ((i > 0 && is_word(text[i - 1])) || is_word(text[i + REF_SIZE - 1]) ||
            ref_parse((struct slice){text + i, REF_SIZE - 1}, &ref) < 0)
            continue;
        add_ref(s, ref);
        found++;
    }
    return found;
}

/* --- Testing. */

static const char *
text_of(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text ? text : "";
}

static bool
same_text(const char *a, const char *b)
{
    return slice_equal_nocase(slice_of(a), slice_of(b));
}

static bool
ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && same_text(text + n - m, end);
}

/* `wanted` with a leading @ is a whole domain. */
static bool
address_matches(const char *wanted, const char *ascii, const char *address)
{
    if (ascii && address_matches(ascii, NULL, address))
        return true;
    return wanted[0] == '@' ? ends_with(address, wanted) : same_text(address, wanted);
}

static bool
domain_matches(const char *wanted, const char *address)
{
    const char *at = strrchr(address, '@');

    return at != NULL && (wanted[0] == '.' ? ends_with(at + 1, wanted) : same_text(at + 1, wanted));
}

static bool
recipient_matches(const struct event_search *s, const char *address)
{
    return (s->recipient == NULL || address_matches(s->recipient, s->recipient_ascii, address)) &&
           (s->domain[0] == '\0' || domain_matches(s->domain, address));
}

static bool
any_recipient(const struct event_search *s, const json_t *event)
{
    json_t *rcpt = json_object_get(event, "rcpt"), *one;
    size_t i;

    if (s->recipient == NULL && s->domain[0] == '\0')
        return true;
    if (json_is_string(rcpt))
        return recipient_matches(s, json_string_value(rcpt));
    json_array_foreach(rcpt, i, one)
    {
        if (json_is_string(one) && recipient_matches(s, json_string_value(one)))
            return true;
    }
    return false;
}

static bool
holds(const struct inet_network *outer, const struct inet_network *inner)
{
    struct inet_endpoint e = {.family = inner->family};

    memcpy(e.addr, inner->addr, sizeof e.addr);
    return outer->bits <= inner->bits && inet_network_has(outer, &e);
}

static bool
client_matches(const struct event_search *s, const json_t *event)
{
    struct inet_network client;
    bool is_one = s->client.bits == (s->client.family == 4 ? 32 : 128);

    if (s->client.family == 0)
        return true;
    if (inet_network_parse(slice_of(text_of(event, "client")), &client) < 0)
        return false;
    return holds(&s->client, &client) || (is_one && holds(&client, &s->client));
}

static bool
is_asked_about(const struct event_search *s, struct slice text)
{
    struct ref ref;

    if (ref_parse(text, &ref) < 0)
        return false;
    for (size_t i = 0; i < s->ref_count; i++)
        if (ref_equal(s->refs[i], ref))
            return true;
    return false;
}

static bool
any_ref(const struct event_search *s, const json_t *event)
{
    return s->ref_count == 0 || is_asked_about(s, slice_of(text_of(event, "ref")));
}

static bool
is_within(const struct event_search *s, const char *at)
{
    return (s->since[0] == '\0' || strcmp(at, s->since) >= 0) &&
           (s->until[0] == '\0' || strcmp(at, s->until) < 0);
}

bool
event_search_matches(const struct event_search *s, const json_t *event)
{
    if ((s->kind && strcmp(text_of(event, "event"), s->kind) != 0) ||
        (s->no_connections && strcmp(text_of(event, "event"), CONNECTION) == 0) ||
        (s->verdict && strcmp(text_of(event, "verdict"), s->verdict) != 0) ||
        (s->customer && strcmp(text_of(event, "customer"), s->customer) != 0) ||
        (s->message_id && strcmp(text_of(event, "message_id"), s->message_id) != 0))
        return false;
    if (s->sender && (json_object_get(event, "from") == NULL ||
                      !address_matches(s->sender, s->sender_ascii, text_of(event, "from"))))
        return false;
    return is_within(s, text_of(event, "at")) && any_ref(s, event) && any_recipient(s, event) &&
           client_matches(s, event);
}

/* Text that JSON writes as it is. */
static bool
is_plain(const char *text)
{
    return text != NULL && text[0] &&
           text[strspn(text,
                       "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ@.-_+=<>")] ==
               '\0';
}

static bool
has_ref_in(const struct event_search *s, const char *line)
{
    const char *end = line + strlen(line);

    for (const char *p = line; (p = strchr(p, 'P')) != NULL && end - p >= REF_SIZE - 1; p++)
        if (is_asked_about(s, (struct slice){p, REF_SIZE - 1}))
            return true;
    return false;
}

bool
event_search_may_match(const struct event_search *s, const char *line)
{
    const char *const words[] = {s->kind,    s->sender,   s->recipient, s->message_id,
                                 s->verdict, s->customer, s->domain};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (is_plain(words[i]) && strcasestr(line, words[i]) == NULL)
            return false;
    return s->ref_count == 0 || has_ref_in(s, line);
}

/* --- SQL. */

/* One address, and the networks as which it may have been written down: 24 and 64 bits count
 * refusals, 24 and 48 are what is left of an old address. */
static void
add_client(struct event_where *w, const struct event_search *s)
{
    static const unsigned lengths[2][2] = {{24, 24}, {64, 48}};
    struct inet_endpoint address = {.family = s->client.family};

    inet_network_text(&s->client, w->client);
    if (s->client.bits != (s->client.family == 4 ? 32 : 128)) {
        where_add(&w->where, "client <<= #::inet", w->client);
        return;
    }
    memcpy(address.addr, s->client.addr, sizeof address.addr);
    buf_printf(&w->clients, "{%s", w->client);
    for (int i = 0; i < 2; i++) {
        struct inet_network network =
            inet_network_around(&address, lengths[s->client.family == 6][i]);
        char text[INET_ENDPOINT_SIZE];

        buf_printf(&w->clients, ",%s", inet_network_text(&network, text));
    }
    buf_add_text(&w->clients, "}");
    where_add(&w->where, "client = ANY (#::inet[])", buf_text(&w->clients));
}

/* As postern.event_parent_keys has them. */
static bool
has_key(const char *domain)
{
    unsigned labels = 0;

    for (const char *p = domain; *p; p++)
        labels += *p == '.';
    return domain[0] == '.' && labels >= 2 && labels <= 7;
}

static void
add_domain(struct event_where *w, const char *domain)
{
    if (has_key(domain))
        where_add(&w->where, "recipient_keys @> ARRAY[#]", domain);
    else if (domain[0] == '.')
        where_add(&w->where,
                  "EXISTS (SELECT FROM unnest(recipient_keys) k WHERE k LIKE '@%' AND "
                  "right(k, length(#)) = #)",
                  domain);
    else {
        snprintf(w->suffix, sizeof w->suffix, "@%s", domain);
        where_add(&w->where, "recipient_keys @> ARRAY[#]", w->suffix);
    }
}

/* PostgreSQL's own lower() has been applied to what is there. */
static void
add_sender(struct event_where *e, const struct event_search *s)
{
    bool is_domain = s->sender[0] == '@';

    if (s->sender_ascii)
        where_add(&e->where,
                  is_domain ? "(reverse(sender) ^@ reverse((lower(#)::text[])[1]) OR "
                              "reverse(sender) ^@ reverse((lower(#)::text[])[2]))"
                            : "reverse(sender) IN (reverse((lower(#)::text[])[1]), "
                              "reverse((lower(#)::text[])[2]))",
                  field_address_array(&e->senders, s->sender, s->sender_ascii));
    else
        where_add(&e->where,
                  is_domain ? "reverse(sender) ^@ reverse(lower(#))"
                            : "reverse(sender) = reverse(lower(#))",
                  s->sender);
}

static void
add_texts(struct event_where *e, const struct event_search *s)
{
    struct where *w = &e->where;

    if (s->kind)
        where_add(w, "kind = #", s->kind);
    if (s->no_connections)
        where_add(w, "kind <> #", CONNECTION);
    if (s->sender)
        add_sender(e, s);
    if (s->recipient_ascii)
        where_add(w, "recipient_keys && lower(#)::text[]",
                  field_address_array(&e->recipients, s->recipient, s->recipient_ascii));
    else if (s->recipient)
        where_add(w, "recipient_keys @> ARRAY[lower(#)]", s->recipient);
    if (s->message_id)
        where_add(w, "message_id = #", s->message_id);
    if (s->verdict)
        where_add(w, "verdict = #", s->verdict);
    if (s->customer)
        where_add(w, "customer = #", s->customer);
}

static bool
is_ordered(const struct event_search *s)
{
    bool is_one_sender = !s->sender_ascii && !(s->sender && s->sender[0] == '@');

    return is_one_sender && !s->recipient && !s->message_id && s->ref_count == 0 &&
           s->domain[0] == '\0' && s->client.family == 0;
}

void
event_where_init(struct event_where *w, const struct event_search *s)
{
    w->is_ordered = is_ordered(s);
    where_init(&w->where);
    buf_init(&w->clients, 0);
    buf_init(&w->senders, 0);
    buf_init(&w->recipients, 0);
    add_texts(w, s);
    if (s->ref_count)
        where_add_refs(&w->where, s->refs, s->ref_count);
    if (s->domain[0])
        add_domain(w, s->domain);
    if (s->client.family)
        add_client(w, s);
    if (s->since[0])
        where_add(&w->where, "at >= #::timestamptz", s->since);
    if (s->until[0])
        where_add(&w->where, "at < #::timestamptz", s->until);
}

void
event_where_fini(struct event_where *w)
{
    where_fini(&w->where);
    buf_fini(&w->clients);
    buf_fini(&w->senders);
    buf_fini(&w->recipients);
}
