/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A message of entries is answered with as few messages as they fit in.  An entry that makes no
 * sense ends the reading of its message: the worker's deadline tells, and nobody else is hurt.
 */
#include "spf/spf_server.h"

#include <stdlib.h>

#include "spf/spf_eval.h"
#include "spf/spf_library.h"
#include "spf/spf_protocol.h"

struct server_check {
    uint32_t id;
    struct spf_eval *eval; /* NULL: the place is free */
};

struct server_channel {
    struct server_channel *next;
    struct spf_server *server;
    struct channel *channel;
    struct server_check checks[SPF_CHECKS_MAX];
};

struct spf_server {
    struct loop *loop;
    struct server_channel *channels;
    struct buf batch, entry;
    unsigned checks;
};

static void
drop(struct spf_server *server, struct server_check *check)
{
    if (check->eval == NULL)
        return;
    spf_eval_free(&check->eval);
    server->checks--;
}

/* --- Answers to the worker. */

static void
put_needs(struct buf *b, const struct spf_eval *eval)
{
    const char *name;
    enum spf_type type;
    unsigned count = 0;

    while (spf_eval_needed(eval, count, &name, &type))
        count++;
    put_u8(b, SPF_TOLD_NEEDS);
    put_u16(b, (uint16_t)count);
    for (unsigned i = 0; i < count && spf_eval_needed(eval, i, &name, &type); i++) {
        put_text(b, name);
        put_u8(b, type);
    }
}

static void
run(struct server_channel *ch, struct server_check *check)
{
    struct spf_server *server = ch->server;

    put_u32(&server->entry, check->id);
    if (spf_eval_run(check->eval) == SPF_EVAL_NEEDS)
        put_needs(&server->entry, check->eval);
    else {
        put_u8(&server->entry, SPF_TOLD_RESULT);
        spf_result_encode(&server->entry, spf_eval_result(check->eval));
        drop(server, check);
    }
    spf_batch_add(ch->channel, SPF_MESSAGE_TELL, &server->batch, &server->entry);
}

/* --- Entries. */

static bool
take_answers(struct server_check *check, struct decoder *d)
{
    struct slice items[SPF_ITEMS_MAX];
    char name[INET_DOMAIN_SIZE];
    struct spf_answer answer;
    enum spf_type type;

    for (unsigned count = get_u16(d); count > 0; count--) {
        if (!spf_answer_decode(d, name, &type, &answer, items))
            return false;
        if (check->eval != NULL)
            spf_eval_give(check->eval, name, type, &answer);
    }
    return !d->failed;
}

static bool
start(struct server_channel *ch, struct server_check *check, uint32_t id, struct decoder *d)
{
    struct spf_question_text text;
    struct spf_question question;

    if (!spf_question_decode(d, &text, &question))
        return false;
    drop(ch->server, check); /* a worker that has forgotten it */
    *check = (struct server_check){id, spf_eval_start(&question)};
    ch->server->checks++;
    return take_answers(check, d);
}

static bool
take_entry(struct server_channel *ch, struct decoder *d)
{
    unsigned kind = get_u8(d);
    uint32_t id = get_u32(d);
    struct server_check *check = &ch->checks[id % SPF_CHECKS_MAX];
    struct server_check unknown = {0};

    if (d->failed)
        return false;
    if (kind != SPF_ENTRY_START && check->id != id)
        check = &unknown;
    switch (kind) {
    case SPF_ENTRY_START:
        if (!start(ch, check, id, d))
            return false;
        break;
    case SPF_ENTRY_ANSWERS:
        if (!take_answers(check, d))
            return false;
        break;
    case SPF_ENTRY_DROP:
        drop(ch->server, check);
        return true;
    default:
        return false;
    }
    if (check->eval != NULL)
        run(ch, check);
    return true;
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct server_channel *ch = ctx;
    struct decoder d = decoder_of(payload);

    (void)fds;
    CHECK(fd_count == 0);
    if (type != SPF_MESSAGE_ASK)
        return;
    while (d.p < d.end && take_entry(ch, &d))
        ;
    spf_batch_send(ch->channel, SPF_MESSAGE_TELL, &ch->server->batch);
}

static void
on_close(void *ctx)
{
    struct server_channel *ch = ctx, **at = &ch->server->channels;

    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    for (unsigned i = 0; i < SPF_CHECKS_MAX; i++)
        drop(ch->server, &ch->checks[i]);
    channel_close(&ch->channel);
    free(ch);
}

/* --- Life. */

struct spf_server *
spf_server_new(struct loop *loop)
{
    struct spf_server *server = mem_alloc(sizeof *server);

    server->loop = loop;
    buf_init(&server->batch, 0);
    buf_init(&server->entry, 0);
    return server;
}

void
spf_server_add(struct spf_server *server, int channel_fd)
{
    struct server_channel *ch = mem_alloc(sizeof *ch);

    ch->server = server;
    ch->next = server->channels;
    server->channels = ch;
    ch->channel = channel_open(server->loop, channel_fd, on_message, on_close, ch);
}

void
spf_server_free(struct spf_server **held)
{
    struct spf_server *server = *held;

    *held = NULL;
    if (server == NULL)
        return;
    while (server->channels != NULL)
        on_close(server->channels);
    buf_fini(&server->batch);
    buf_fini(&server->entry);
    free(server);
    spf_library_close();
}

unsigned
spf_server_checks(const struct spf_server *server)
{
    return server->checks;
}
