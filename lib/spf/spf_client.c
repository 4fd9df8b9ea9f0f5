/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The life of checks: places, deadlines, ends.  Deadlines are looked at all together, four times a
 * second, while there are checks.
 */
#include "spf/spf_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_client_private.h"
#include "spf/spf_eval.h"

#define SWEEP_MS 250
#define GENERATION (UINT32_MAX / SPF_CHECKS_MAX + 1)

/* --- The end of a check. */

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
    spf_client_cancel_lookups(check);
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

void
spf_client_end(struct spf_check *check, const struct spf_result *result)
{
    struct spf_client *client = check->client;

    spf_client_cancel_lookups(check);
    leave(check);
    check->state = SPF_CHECK_ENDED;
    check->result = mem_alloc(sizeof *check->result);
    *check->result = *result;
    *client->ended_end = check;
    client->ended_end = &check->next;
    if (!client->is_end_due) {
        client->is_end_due = true;
        loop_defer(client->loop, on_ended, client);
    }
}

void
spf_client_fail(struct spf_check *check, const char *reason)
{
    struct spf_result result = {.verdict = SPF_TEMPERROR};

    snprintf(result.reason, sizeof result.reason, "%s", reason);
    spf_client_end(check, &result);
}

/* --- Deadlines. */

static void
judge_deadline(struct spf_check *check, int64_t now_ms)
{
    struct spf_client *client = check->client;

    if (check->end_by_ms <= now_ms) {
        client->counts.late++;
        spf_client_fail(check, "DNS took too long");
    } else if (check->state == SPF_CHECK_ASKED && check->told_by_ms <= now_ms) {
        client->counts.lost++;
        spf_client_fail(check, "the process that evaluates SPF does not answer");
    } else
        return;
    spf_client_drop(check);
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
    spf_client_lose_process(client);
    spf_client_take_channel(client, channel_fd);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        if (client->checks[i] != NULL && client->checks[i]->state == SPF_CHECK_ASKED)
            spf_client_ask(client->checks[i]);
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
        spf_client_fail(check, "too many checks run at once");
        return check;
    }
    take_place(client, check);
    spf_question_encode(&check->question, question);
    if (spf_eval_domain(question, domain)) {
        spf_client_add_lookups(check, 1);
        memcpy(check->lookups[0].name, domain, sizeof domain);
        check->lookups[0].type = SPF_TYPE_TXT;
    }
    spf_client_look_up(check);
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
    if (check->state == SPF_CHECK_ENDED)
        forget_ended(client, check);
    else
        spf_client_drop(check);
    leave(check);
    free_check(check);
}

struct spf_client_counts
spf_client_counts(const struct spf_client *client)
{
    return client->counts;
}
