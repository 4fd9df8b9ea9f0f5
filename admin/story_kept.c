/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool knows ended messages as long as their segment is there; the index has those that wait;
 * the events of ends are kept longest.
 */
#include "admin/story_kept.h"

#include <string.h>

#include "admin/database.h"
#include "admin/paragraph.h"
#include "admin/selection.h"
#include "admin/spool_reader.h"
#include "admin/spool_remedy.h"
#include "admin/story_event.h"
#include "base/clock.h"

void
story_spool_init(struct story_spool *spool)
{
    *spool = (struct story_spool){0};
    buf_init(&spool->why_not, 0);
}

void
story_spool_fini(struct story_spool *spool)
{
    spool_store_close(&spool->store);
    buf_fini(&spool->why_not);
}

static void
set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text && text[0] ? printer_json_text(text) : json_null());
}

static void
set_time(json_t *object, const char *key, int64_t at_ms)
{
    char at[CLOCK_RFC3339_SIZE];

    json_object_set_new(object, key, at_ms ? json_string(clock_rfc3339(at_ms, at)) : json_null());
}

/* --- The spool. */

static json_t *
recipients_of(struct spool_store *store, const struct spool_message *m)
{
    struct spool_reader_envelope opened;
    json_t *all = spool_reader_open_envelope(store, m, &opened)
                      ? spool_reader_recipients_json(m, &opened.envelope)
                      : json_array();

    spool_reader_close_envelope(&opened);
    return all;
}

static void
set_remedy(json_t *kept, const struct call *call, const struct spool_message *m,
           const struct registry *registry)
{
    struct buf remedy;

    buf_init(&remedy, 0);
    spool_remedy(call, registry, m, &remedy);
    set_text(kept, "remedy", buf_size(&remedy) ? buf_text(&remedy) : NULL);
    buf_fini(&remedy);
}

static json_t *
from_spool(const struct call *call, struct spool_store *store, const struct spool_message *m)
{
    struct registry *registry = routing_open(call);
    json_t *kept = json_object();

    set_text(kept, "source", "spool");
    set_text(kept, "state", selection_state_word(m, registry));
    set_time(kept, "expires_at", m->expires_at_ms);
    set_time(kept, "next_attempt_at", m->open_count ? spool_message_next_attempt_at_ms(m) : 0);
    json_object_set_new(kept, "attempts", json_integer(spool_reader_tries(m)));
    set_text(kept, "last_reply", spool_reader_last_reply(m));
    set_text(kept, "held_reason", m->held ? spool_message_hold_reason(m) : NULL);
    set_remedy(kept, call, m, registry);
    json_object_set_new(kept, "recipients", recipients_of(store, m));
    registry_close(&registry);
    return kept;
}

static struct spool_message *
find_in_spool(const struct call *call, struct story_spool *spool, struct ref ref)
{
    if (!spool->was_tried)
        (void)spool_reader_try_open(call, NULL, &spool->store, &spool->why_not);
    spool->was_tried = true;
    return spool->store ? spool_store_find(spool->store, ref) : NULL;
}

/* --- The index. */

static const char index_sql[] = "SELECT state, " DATABASE_MS("expires_at") ", " DATABASE_MS(
    "next_attempt_at") ", attempts, last_reply FROM postern.spool_index WHERE ref = $1";

static json_t *
from_index(const PGresult *result)
{
    json_t *kept = json_object();

    set_text(kept, "source", "index");
    set_text(kept, "state", database_text(result, 0, 0));
    set_time(kept, "expires_at", database_number(result, 0, 1));
    set_time(kept, "next_attempt_at", database_number(result, 0, 2));
    json_object_set_new(kept, "attempts", json_integer(database_number(result, 0, 3)));
    set_text(kept, "last_reply", database_text(result, 0, 4));
    return kept;
}

/* NULL: it cannot be asked. */
static json_t *
find_in_index(struct call *call, struct ref ref)
{
    char id[REF_SIZE];
    const char *params[] = {ref_text(ref, id)};
    json_t *kept = NULL;
    PGresult *result;

    if (call->pg == NULL || PQstatus(call->pg) != CONNECTION_OK)
        return NULL;
    result = database_try(call, index_sql, 1, params);
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        kept = from_index(result);
    else if (PQresultStatus(result) == PGRES_TUPLES_OK)
        kept = json_pack("{s:s, s:s}", "source", "index", "state", "gone");
    PQclear(result);
    return kept;
}

/* --- Events. */

/* As it was sent. */
static json_t *
peer_text(const char *text)
{
    struct buf b;
    json_t *sent;

    buf_init(&b, 0);
    event_words_peer(&b, text);
    sent = printer_json_text(buf_text(&b));
    buf_fini(&b);
    return sent;
}

static bool
is_same(const json_t *a, const json_t *b)
{
    static const char *const key[] = {"at", "rcpt", "place", "verdict"};

    for (size_t i = 0; i < ARRAY_SIZE(key); i++) {
        const json_t *of_a = json_object_get(a, key[i]), *of_b = json_object_get(b, key[i]);

        if (of_a != of_b && !json_equal(of_a, of_b))
            return false;
    }
    return true;
}

/* A line of the log may be there twice (spoolmgr/ended.c). */
static bool
is_repeated(const json_t *ends, size_t which)
{
    for (size_t i = 0; i < which; i++)
        if (is_same(json_array_get(ends, i), json_array_get(ends, which)))
            return true;
    return false;
}

static json_t *
end_of(const json_t *event, const char *address)
{
    const char *reply = event_words_text(event, "reply");
    json_t *end = json_object();

    json_object_set_new(end, "address", peer_text(address));
    set_text(end, "state", event_words_text(event, "verdict"));
    json_object_set(end, "ended_at", json_object_get(event, "at"));
    json_object_set_new(end, "reply", reply[0] ? peer_text(reply) : json_null());
    return end;
}

static void
add_ends_of(const json_t *event, json_t *recipients)
{
    json_t *address;
    size_t i;

    json_array_foreach(json_object_get(event, "rcpt"), i, address)
    {
        const char *text = json_string_value(address);

        json_array_append_new(recipients, end_of(event, text ? text : ""));
    }
}

static json_t *
recipients_of_ends(const json_t *ends)
{
    json_t *recipients = json_array(), *event;
    size_t i;

    json_array_foreach(ends, i, event)
    {
        if (!is_repeated(ends, i))
            add_ends_of(event, recipients);
    }
    return recipients;
}

static json_t *
find(struct call *call, struct story_spool *spool, struct ref ref)
{
    bool is_ours = ref.node == call->config->node;
    struct spool_message *m = is_ours ? find_in_spool(call, spool, ref) : NULL;
    json_t *kept;

    if (m)
        return from_spool(call, spool->store, m);
    if (is_ours && spool->store)
        return json_pack("{s:s, s:s}", "source", "spool", "state", "gone");
    kept = find_in_index(call, ref);
    if (kept == NULL) {
        kept = json_pack("{s:s}", "state", "unknown");
        set_text(kept, "why",
                 is_ours ? buf_text(&spool->why_not)
                         : "it is another node's, and the "
                           "database can not be asked");
    }
    return kept;
}

/* Who has ended; all of them, or others may wait still. */
static json_t *
with_ends(json_t *kept, const json_t *ends, int64_t kept_count)
{
    json_t *recipients = recipients_of_ends(ends);
    bool is_gone = strcmp(event_words_text(kept, "state"), "gone") == 0;
    bool are_all = kept_count > 0 && (int64_t)json_array_size(recipients) >= kept_count;

    if (is_gone || are_all) {
        json_decref(kept);
        kept = json_pack("{s:s, s:s}", "source", "events", "state", "ended");
    }
    json_object_set_new(kept, "recipients", recipients);
    return kept;
}

json_t *
story_kept_find(struct call *call, struct story_spool *spool, struct ref ref, const json_t *ends,
                int64_t kept_count)
{
    json_t *kept = find(call, spool, ref);
    bool has_all = json_array_size(json_object_get(kept, "recipients")) > 0; /* from the spool */

    return has_all || json_array_size(ends) == 0 ? kept : with_ends(kept, ends, kept_count);
}

bool
story_kept_is_known(const json_t *kept)
{
    const char *state = event_words_text(kept, "state");

    return strcmp(state, "gone") != 0 && strcmp(state, "unknown") != 0;
}

/* --- For people. */

static const struct {
    const char *state, *text;
} states[] = {
    {"waiting", "It waits in the spool, and is tried again until it is delivered or its time is "
                "over."},
    {"running", "It waits in the spool, and is being tried now."},
    {"offered", "It is being delivered now."},
    {"held", "It is held in the spool: it is not tried until an operator releases it."},
    {"no-route", "It waits in the spool and is not tried, since there is no way for it."},
    {"prepared", "It is being received still."},
    {"listening", "It is at the customer's server, whose answer is awaited."},
    {"damaged",
     "It lies in the spool and is damaged, so it is not delivered: relayctl spool show."},
    {"ended", "It waits no more; each recipient has come to an end:"},
    {"gone", "It is in the spool no more: it was delivered later, returned to its sender, removed "
             "by an operator, or its time was over. spoolmgr's log of that node says which, under "
             "this reference."},
};

/* What an end means, beyond its word. */
static const struct {
    const char *state, *text;
} ends[] = {
    {"open", "waiting"},
    {"live", "waiting"},
    {"delivered", "delivered"},
    {"refused", "refused by the customer's server; its sender was not told, since it was not "
                "verified"},
    {"expired", "its time was over; its sender was not told, since it was not verified"},
    {"returned", "returned: its sender was sent a notice"},
    {"removed", "removed by an operator"},
    {"cancelled", "the sender got the customer's server's own answer"},
};

static const char *
end_text(const char *state)
{
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (strcmp(state, ends[i].state) == 0)
            return ends[i].text;
    return state;
}

static int64_t
time_of(const json_t *object, const char *key)
{
    json_t *copy = json_object();
    int64_t at_ms;

    json_object_set(copy, "at", json_object_get(object, key));
    at_ms = event_words_at_ms(copy);
    json_decref(copy);
    return at_ms;
}

static void
print_recipient(FILE *out, const json_t *recipient)
{
    int64_t at_ms = time_of(recipient, "ended_at");
    char when[STORY_EVENT_TIME_SIZE];
    const char *reply = event_words_text(recipient, "reply");

    paragraph_printf(out, "", "<%s>: %s%s%s%s%s", event_words_text(recipient, "address"),
                     end_text(event_words_text(recipient, "state")), at_ms ? ", at " : "",
                     at_ms ? story_event_time(at_ms, when) : "", reply[0] ? ": " : "", reply);
}

static void
print_waiting(const struct call *call, const json_t *kept)
{
    int64_t next_ms = time_of(kept, "next_attempt_at"), expires_ms = time_of(kept, "expires_at");
    long long tries = json_integer_value(json_object_get(kept, "attempts"));
    bool is_tried = strcmp(event_words_text(kept, "state"), "waiting") == 0;
    char when[STORY_EVENT_TIME_SIZE];

    if (expires_ms)
        paragraph_printf(call->printing.out, "Kept until", "%s; tried %lld time%s so far%s.",
                         story_event_time(expires_ms, when), tries, tries == 1 ? "" : "s",
                         !is_tried || next_ms > call->printing.now_ms
                             ? ""
                             : "; the next try is when its server is up");
    if (is_tried && next_ms > call->printing.now_ms)
        paragraph_printf(call->printing.out, "Next try", "%s", story_event_time(next_ms, when));
    if (event_words_text(kept, "last_reply")[0])
        paragraph_print(call->printing.out, "Last reply", event_words_text(kept, "last_reply"));
}

void
story_kept_print(const struct call *call, const json_t *kept)
{
    const char *state = event_words_text(kept, "state");
    bool has_ended = strcmp(state, "ended") == 0;
    json_t *recipient;
    size_t i;

    fputc('\n', call->printing.out);
    for (i = 0; i < ARRAY_SIZE(states); i++)
        if (strcmp(state, states[i].state) == 0)
            paragraph_print(call->printing.out, "Now", states[i].text);
    if (strcmp(state, "unknown") == 0)
        paragraph_printf(call->printing.out, "Now", "%s is not known here: %s.",
                         json_object_get(kept, "recipients")
                             ? "Whether it waits still for others than these"
                             : "What became of it",
                         event_words_text(kept, "why"));
    if (event_words_text(kept, "held_reason")[0])
        paragraph_print(call->printing.out, "Held because", event_words_text(kept, "held_reason"));
    if (story_kept_is_known(kept) && !has_ended)
        print_waiting(call, kept);
    json_array_foreach(json_object_get(kept, "recipients"), i, recipient)
    {
        print_recipient(call->printing.out, recipient);
    }
    if (event_words_text(kept, "remedy")[0])
        paragraph_print(call->printing.out, "What helps", event_words_text(kept, "remedy"));
}
