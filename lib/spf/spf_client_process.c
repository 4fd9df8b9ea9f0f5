/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's words with the spf process: entries leave together when the turn ends; what comes back
 * is checked to the last octet.
 */
#include "spf/spf_client_private.h"
#include "spf/spf_eval.h"

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

void
spf_client_ask(struct spf_check *check)
{
    struct spf_client *client = check->client;
    struct buf *entry = &client->entry;

    check->state = SPF_CHECK_ASKED;
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

void
spf_client_drop(struct spf_check *check)
{
    struct spf_client *client = check->client;

    if (!check->is_sent || client->channel == NULL)
        return;
    put_u8(&client->entry, SPF_ENTRY_DROP);
    put_u32(&client->entry, check->id);
    add_entry(client);
}

/* --- From the process. */

static bool
take_needs(struct spf_check *check, struct decoder *d)
{
    unsigned count = get_u16(d);
    bool is_good = count > 0 && count <= SPF_EVAL_QUESTIONS_MAX;
    char name[INET_DOMAIN_SIZE];

    if (is_good && check != NULL)
        spf_client_add_lookups(check, count);
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
        spf_client_look_up(check);
    return is_good;
}

static bool
take_result(struct spf_check *check, struct decoder *d)
{
    struct spf_result result;

    if (!spf_result_decode(d, &result))
        return false;
    if (check != NULL)
        spf_client_end(check, &result);
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
    if (check != NULL && (check->id != id || check->state != SPF_CHECK_ASKED))
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

void
spf_client_lose_process(struct spf_client *client)
{
    channel_close(&client->channel);
    buf_clear(&client->batch);
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++) {
        struct spf_check *check = client->checks[i];

        if (check == NULL || !check->is_sent)
            continue;
        client->counts.lost++;
        spf_client_fail(check, "the process that evaluates SPF has died");
    }
}

static void
on_close(void *ctx)
{
    spf_client_lose_process(ctx);
}

void
spf_client_take_channel(struct spf_client *client, int channel_fd)
{
    client->channel = channel_open(client->loop, channel_fd, on_message, on_close, client);
}
