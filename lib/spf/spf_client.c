/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A check is looking (DNS has the word), asked (the process has it), or ended (its result waits for
 * the turn's end).  The domain's own TXT is looked up first and goes with the question, so that a
 * record without further names costs one round trip; so do the records that it includes, if they
 * are in the cache.  Deadlines are looked at all together, four times a second, while there are
 * checks.
 */
#include "spf/spf_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_eval.h"
#include "spf/spf_macro.h"
#include "spf/spf_protocol.h"
#include "spf/spf_record.h"

#define SWEEP_MS 250
#define KNOWN_MAX 11 /* answers that go along: one and ten includes */
#define KNOWN_BYTES 16384
#define GENERATION (UINT32_MAX / SPF_CHECKS_MAX + 1)

enum check_state { CHECK_LOOKING, CHECK_ASKED, CHECK_ENDED };

struct lookup {
    struct spf_check *check;
    struct dns_lookup *dns; /* NULL: it is known */
    enum spf_type type;
    char name[INET_DOMAIN_SIZE];
};

struct spf_check {
    struct spf_check *next; /* of those that have ended */
    struct spf_client *client;
    uint32_t id;
    enum check_state state;
    bool is_sent; /* the process knows it */
    int64_t end_by_ms, told_by_ms;
    struct lookup *lookups; /* of this round */
    unsigned lookup_count, missing;
    struct buf question, answers; /* encoded; the answers of this round */
    unsigned answer_count;
    struct spf_result *result; /* of one that has ended */
    spf_on_result on_result;
    void *ctx;
};

struct spf_client {
    struct loop *loop;
    struct dns *dns;
    struct channel *channel; /* NULL: there is no process */
    struct spf_check *checks[SPF_CHECKS_MAX];
    uint16_t free_places[SPF_CHECKS_MAX];
    unsigned free_count;
    uint32_t generation;
    struct spf_check *ended, **ended_end;
    struct loop_timer timer;
    struct buf batch, entry;
    bool is_flush_due, is_end_due, is_closed;
    int64_t check_ms, process_ms;
    struct spf_client_counts counts;
};

/* --- The end of a check. */

static void
cancel_lookups(struct spf_check *check)
{
    for (unsigned i = 0; i < check->lookup_count; i++)
        dns_lookup_cancel(&check->lookups[i].dns);
    free(check->lookups);
    check->lookups = NULL;
    check->lookup_count = check->missing = 0;
}

/* It has no place among those in flight any more. */
static void
leave(struct spf_check *check)
{
    struct spf_client *client = check->client;
    unsigned place = check->id % SPF_CHECKS_MAX;

    if (client->checks[place] != check)
        return;
    client->checks[place] = NULL;
    client->free_places[client->free_count++] = (uint16_t)place;
}

static void
free_check(struct spf_check *check)
{
    cancel_lookups(check);
    buf_fini(&check->question);
    buf_fini(&check->answers);
    free(check->result);
    free(check);
}

static void
on_ended(void *ctx)
{
    struct spf_client *client = ctx;
    struct spf_check *check;

    client->is_end_due = false;
    while ((check = client->ended) != NULL && !client->is_closed) {
        client->ended = check->next;
        if (client->ended == NULL)
            client->ended_end = &client->ended;
        check->on_result(check->ctx, check->result);
        free_check(check);
    }
}

static void
end(struct spf_check *check, const struct spf_result *result)
{
    struct spf_client *client = check->client;

    cancel_lookups(check);
    leave(check);
    check->state = CHECK_ENDED;
    check->result = mem_alloc(sizeof *check->result);
    *check->result = *result;
    *client->ended_end = check;
    client->ended_end = &check->next;
    if (!client->is_end_due) {
        client->is_end_due = true;
        loop_defer(client->loop, on_ended, client);
    }
}

static void
fail(struct spf_check *check, const char *reason)
{
    struct spf_result result = {.verdict = SPF_TEMPERROR};

    snprintf(result.reason, sizeof result.reason, "%s", reason);
    end(check, &result);
}

/* --- To the process. */

static void
flush(void *ctx)
{
    struct spf_client *client = ctx;

    client->is_flush_due = false;
    if (!client->is_closed)
        spf_batch_send(client->channel, SPF_MESSAGE_ASK, &client->batch);
}

/* client->entry to the batch, which leaves when the turn ends. */
static void
add_entry(struct spf_client *client)
{
    spf_batch_add(client->channel, SPF_MESSAGE_ASK, &client->batch, &client->entry);
    if (client->is_flush_due)
        return;
    client->is_flush_due = true;
    loop_defer(client->loop, flush, client);
}

/* What its process has to know; without one it waits for the next (spf_client_attach). */
static void
ask(struct spf_check *check)
{
    struct spf_client *client = check->client;
    struct buf *entry = &client->entry;

    check->state = CHECK_ASKED;
    check->told_by_ms = loop_now_ms(client->loop) + client->process_ms;
    if (client->channel == NULL)
        return;
    put_u8(entry, check->is_sent ? SPF_ENTRY_ANSWERS : SPF_ENTRY_START);
    put_u32(entry, check->id);
    if (!check->is_sent)
        buf_add_slice(entry, buf_slice(&check->question));
    put_u16(entry, (uint16_t)check->answer_count);
    buf_add_slice(entry, buf_slice(&check->answers));
    buf_release(&check->question);
    buf_clear(&check->answers);
    check->answer_count = 0;
    check->is_sent = true;
    add_entry(client);
}

/* --- DNS. */

static const enum dns_type dns_types[] = {
    [SPF_TYPE_A] = DNS_TYPE_A,     [SPF_TYPE_AAAA] = DNS_TYPE_AAAA, [SPF_TYPE_MX] = DNS_TYPE_MX,
    [SPF_TYPE_TXT] = DNS_TYPE_TXT, [SPF_TYPE_PTR] = DNS_TYPE_PTR,
};

static struct slice
item_of(enum spf_type type, const struct dns_record *record)
{
    switch (type) {
    case SPF_TYPE_A:
        return (struct slice){(const char *)record->address.addr, 4};
    case SPF_TYPE_AAAA:
        return (struct slice){(const char *)record->address.addr, 16};
    case SPF_TYPE_MX:
        return record->name[0] != '\0' ? slice_of(record->name) : record->data;
    case SPF_TYPE_PTR:
        return slice_of(record->name);
    case SPF_TYPE_TXT:
        return record->data;
    }
    return (struct slice){NULL, 0};
}

static void
put_records(struct spf_check *check, const char *name, enum spf_type type,
            const struct dns_records *found)
{
    static const enum spf_answer_result results[] = {
        [DNS_OK] = SPF_ANSWER_OK,
        [DNS_NO_NAME] = SPF_ANSWER_NO_NAME,
        [DNS_NO_DATA] = SPF_ANSWER_NO_DATA,
        [DNS_TEMPORARY] = SPF_ANSWER_TEMPORARY,
    };
    struct slice items[DNS_RECORDS_MAX];
    struct spf_answer answer = {results[found->answer.result], found->count, items};

    for (unsigned i = 0; i < found->count; i++)
        items[i] = item_of(type, &found->items[i]);
    spf_answer_encode(&check->answers, name, type, &answer);
    check->answer_count++;
}

static void put_known(struct spf_check *check, const struct dns_records *found);

/* The record that `spec` leads to, if it is in the cache and has no macros. */
static void
put_known_record(struct spf_check *check, struct slice spec)
{
    struct dns_records found;
    char name[INET_DOMAIN_SIZE];

    if ((spec.n > 0 && memchr(spec.p, '%', spec.n) != NULL) || !spf_macro_name(spec, name) ||
        !dns_peek_records(check->client->dns, name, DNS_TYPE_TXT, &found))
        return;
    put_records(check, name, SPF_TYPE_TXT, &found);
    put_known(check, &found);
}

/* Those that the record in `found` leads to: most checks are of large providers' domains, and a
 * round trip costs more than an answer that is not needed. */
static void
put_known(struct spf_check *check, const struct dns_records *found)
{
    for (unsigned i = 0; i < found->count; i++) {
        struct slice rest = found->items[i].data, spec;

        if (!spf_record_is(rest))
            continue;
        while (check->answer_count < KNOWN_MAX && buf_size(&check->answers) < KNOWN_BYTES &&
               spf_record_next_reference(&rest, &spec))
            put_known_record(check, spec);
    }
}

static void
take_records(struct lookup *lookup, const struct dns_records *found)
{
    put_records(lookup->check, lookup->name, lookup->type, found);
    if (lookup->type == SPF_TYPE_TXT)
        put_known(lookup->check, found);
}

static void
on_found(void *ctx, const struct dns_records *found)
{
    struct lookup *lookup = ctx;
    struct spf_check *check = lookup->check;

    lookup->dns = NULL;
    take_records(lookup, found);
    if (--check->missing == 0)
        ask(check);
}

static void
start_lookup(struct lookup *lookup)
{
    struct spf_check *check = lookup->check;
    struct dns *dns = check->client->dns;
    enum dns_type type = dns_types[lookup->type];
    struct dns_records found;

    if (dns_find_records(dns, lookup->name, type, &found)) {
        take_records(lookup, &found);
        return;
    }
    lookup->dns = dns_lookup_records(dns, lookup->name, type, on_found, lookup);
    check->missing++;
}

/* check->lookups have their names. */
static void
look_up(struct spf_check *check)
{
    check->state = CHECK_LOOKING;
    for (unsigned i = 0; i < check->lookup_count; i++)
        start_lookup(&check->lookups[i]);
    if (check->missing == 0)
        ask(check);
}

static void
add_lookups(struct spf_check *check, unsigned count)
{
    cancel_lookups(check);
    check->lookups = count > 0 ? mem_alloc(count * sizeof *check->lookups) : NULL;
    check->lookup_count = count;
    for (unsigned i = 0; i < count; i++)
        check->lookups[i].check = check;
}

/* --- From the process. */

static bool
take_needs(struct spf_check *check, struct decoder *d)
{
    unsigned count = get_u16(d);
    bool is_good = count > 0 && count <= SPF_EVAL_QUESTIONS_MAX;
    char name[INET_DOMAIN_SIZE];

    if (is_good && check != NULL)
        add_lookups(check, count);
    for (unsigned i = 0; i < count && is_good; i++) {
        unsigned type;

        get_text(d, name, sizeof name);
        type = get_u8(d);
        is_good = !d->failed && type < SPF_TYPE_COUNT;
        if (is_good && check != NULL) {
            memcpy(check->lookups[i].name, name, sizeof name);
            check->lookups[i].type = (enum spf_type)type;
        }
    }
    if (is_good && check != NULL)
        look_up(check);
    return is_good;
}

static bool
take_result(struct spf_check *check, struct decoder *d)
{
    struct spf_result result;

    if (!spf_result_decode(d, &result))
        return false;
    if (check != NULL)
        end(check, &result);
    return true;
}

/* An entry of a check that was cancelled is read all the same, for the next. */
static bool
take_entry(struct spf_client *client, struct decoder *d)
{
    uint32_t id = get_u32(d);
    unsigned kind = get_u8(d);
    struct spf_check *check = client->checks[id % SPF_CHECKS_MAX];

    if (d->failed)
        return false;
    if (check != NULL && (check->id != id || check->state != CHECK_ASKED))
        check = NULL;
    if (kind == SPF_TOLD_NEEDS)
        return take_needs(check, d);
    return kind == SPF_TOLD_RESULT && take_result(check, d);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct spf_client *client = ctx;
    struct decoder d = decoder_of(payload);

    (void)fds;
    CHECK(fd_count == 0);
    while (type == SPF_MESSAGE_TELL && d.p < d.end && take_entry(client, &d))
        ;
}

/* Whatever the process knew is lost; what only DNS has seen goes to the next. */
static void
lose_process(struct spf_client *client)
{
    channel_close(&client->channel);
    buf_clear(&client->batch);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++) {
        struct spf_check *check = client->checks[i];

        if (check == NULL || !check->is_sent)
            continue;
        client->counts.lost++;
        fail(check, "the process that evaluates SPF has died");
    }
}

static void
on_close(void *ctx)
{
    lose_process(ctx);
}

/* --- Deadlines. */

static void
judge_deadline(struct spf_check *check, int64_t now_ms)
{
    struct spf_client *client = check->client;

    if (check->end_by_ms <= now_ms) {
        client->counts.late++;
        fail(check, "DNS took too long");
    } else if (check->state == CHECK_ASKED && check->told_by_ms <= now_ms) {
        client->counts.lost++;
        fail(check, "the process that evaluates SPF does not answer");
    } else
        return;
    if (!check->is_sent || client->channel == NULL)
        return;
    put_u8(&client->entry, SPF_ENTRY_DROP);
    put_u32(&client->entry, check->id);
    add_entry(client);
}

static void
on_sweep(void *ctx)
{
    struct spf_client *client = ctx;
    int64_t now_ms = loop_now_ms(client->loop);

    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        if (client->checks[i] != NULL)
            judge_deadline(client->checks[i], now_ms);
    if (client->free_count < SPF_CHECKS_MAX)
        loop_timer_start(&client->timer, SWEEP_MS);
}

/* --- What callers do. */

struct spf_client *
spf_client_open(struct loop *loop, struct dns *dns, int channel_fd)
{
    struct spf_client *client = mem_alloc(sizeof *client);

    client->loop = loop;
    client->dns = dns;
    client->ended_end = &client->ended;
    spf_client_hurry(client, SPF_CHECK_MS, SPF_PROCESS_MS);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        client->free_places[client->free_count++] = (uint16_t)(SPF_CHECKS_MAX - 1 - i);
    buf_init(&client->batch, 0);
    buf_init(&client->entry, 0);
    loop_timer_init(&client->timer, loop, on_sweep, client);
    if (channel_fd >= 0)
        spf_client_attach(client, channel_fd);
    return client;
}

void
spf_client_hurry(struct spf_client *client, int64_t check_ms, int64_t process_ms)
{
    client->check_ms = check_ms;
    client->process_ms = process_ms;
}

void
spf_client_attach(struct spf_client *client, int channel_fd)
{
    lose_process(client);
    client->channel = channel_open(client->loop, channel_fd, on_message, on_close, client);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        if (client->checks[i] != NULL && client->checks[i]->state == CHECK_ASKED)
            ask(client->checks[i]);
}

static void
free_client(void *ctx)
{
    struct spf_client *client = ctx;

    buf_fini(&client->batch);
    buf_fini(&client->entry);
    free(client);
}

void
spf_client_close(struct spf_client **held)
{
    struct spf_client *client = *held;
    struct spf_check *check;

    *held = NULL;
    if (client == NULL)
        return;
    client->is_closed = true;
    channel_close(&client->channel);
    loop_timer_cancel(&client->timer);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        if (client->checks[i] != NULL)
            free_check(client->checks[i]);
    while ((check = client->ended) != NULL) {
        client->ended = check->next;
        free_check(check);
    }
    loop_defer(client->loop, free_client, client); /* behind what may be due */
}

static void
take_place(struct spf_client *client, struct spf_check *check)
{
    unsigned place = client->free_places[--client->free_count];

    client->generation = (client->generation + 1) % GENERATION;
    check->id = client->generation * SPF_CHECKS_MAX + place;
    client->checks[place] = check;
    if (!loop_timer_is_running(&client->timer))
        loop_timer_start(&client->timer, SWEEP_MS);
}

struct spf_check *
spf_check_start(struct spf_client *client, const struct spf_question *question,
                spf_on_result on_result, void *ctx)
{
    struct spf_check *check = mem_alloc(sizeof *check);
    char domain[INET_DOMAIN_SIZE];

    check->client = client;
    check->on_result = on_result;
    check->ctx = ctx;
    check->id = UINT32_MAX;
    check->end_by_ms = loop_now_ms(client->loop) + client->check_ms;
    buf_init(&check->question, 0);
    buf_init(&check->answers, 0);
    client->counts.checks++;
    if (client->free_count == 0) {
        client->counts.refused++;
        fail(check, "too many checks run at once");
        return check;
    }
    take_place(client, check);
    spf_question_encode(&check->question, question);
    if (spf_eval_domain(question, domain)) {
        add_lookups(check, 1);
        memcpy(check->lookups[0].name, domain, sizeof domain);
        check->lookups[0].type = SPF_TYPE_TXT;
    }
    look_up(check);
    return check;
}

static void
forget_ended(struct spf_client *client, const struct spf_check *check)
{
    struct spf_check **at = &client->ended;

    while (*at != NULL && *at != check)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = check->next;
    if (client->ended_end == &check->next)
        client->ended_end = at;
}

void
spf_check_cancel(struct spf_check **held)
{
    struct spf_check *check = *held;
    struct spf_client *client;

    *held = NULL;
    if (check == NULL)
        return;
    client = check->client;
    if (check->state == CHECK_ENDED)
        forget_ended(client, check);
    else if (check->is_sent && client->channel != NULL) {
        put_u8(&client->entry, SPF_ENTRY_DROP);
        put_u32(&client->entry, check->id);
        add_entry(client);
    }
    leave(check);
    free_check(check);
}

struct spf_client_counts
spf_client_counts(const struct spf_client *client)
{
    return client->counts;
}
