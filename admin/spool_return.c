/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One batch of notices an order.  The bounds on notices begin anew with each order; the keeper's
 * are not known here.
 */
#include "admin/spool_return.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "notice/notice_dsn.h"
#include "order/order_json.h"
#include "spool/spool_own.h"

struct returned {
    struct spool_message *message;
    enum notice_verdict verdict;
    struct ref notice;
};

struct spool_returns {
    const struct config *config;
    struct spool_store *store;
    const struct order *order;
    const char *who;
    struct spool_own *own;
    struct notice_rate rate;
    struct returned *items;
    size_t count;
};

struct spool_returns *
spool_returns_new(const struct config *config, struct spool_store *store, const struct order *order,
                  const char *who)
{
    struct spool_returns *r = mem_alloc(sizeof *r);

    r->config = config;
    r->store = store;
    r->order = order;
    r->who = who;
    r->own = spool_own_new((uint16_t)config->node);
    notice_rate_init(&r->rate);
    return r;
}

void
spool_returns_add(struct spool_returns *r, struct spool_message *m)
{
    struct notice_end *ends = mem_alloc(m->recipient_count * sizeof *ends);
    struct returned *item;
    struct notice notice;
    char text[ORDER_END_SIZE];
    unsigned count;

    r->items = mem_realloc(r->items, (r->count + 1) * sizeof *r->items);
    item = &r->items[r->count++];
    *item = (struct returned){.message = m};
    order_end_text(r->order, r->who, text);
    count = notice_open_ends(m, SPOOL_END_RETURNED, text, ends);
    item->verdict =
        notice_make(r->config, r->store, m, ends, count, &r->rate, clock_wall_ms(), &notice);
    free(ends);
    if (item->verdict != NOTICE_SEND)
        return;
    item->notice = notice.envelope.ref;
    spool_own_add(r->own, &notice.envelope, buf_slice(&notice.content));
    notice_fini(&notice);
}

static int
write_notices(const struct spool_returns *r)
{
    int dir_fd, rc;
    uint32_t number = 0;

    if (spool_own_is_empty(r->own))
        return ERR_OK;
    dir_fd = open(r->config->spool_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return ERR_IO;
    rc = spool_own_write(r->own, &spool_io_disk, dir_fd, &number);
    close(dir_fd);
    return rc;
}

static void
end_one(const struct spool_returns *r, const struct returned *item)
{
    struct spool_message *m = item->message;
    char text[ORDER_END_SIZE], reply[NOTICE_REPLY_SIZE];
    int64_t now_ms = clock_wall_ms();

    order_end_text(r->order, r->who, text);
    notice_reply(text, item->verdict, item->notice, reply);
    order_note(r->store, m, r->order, r->who, now_ms);
    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_is_open(m, i))
            spool_store_ended(r->store, m, i, SPOOL_END_RETURNED, now_ms, reply);
}

void
spool_returns_finish(struct spool_returns **held, json_t *answer)
{
    struct spool_returns *r = *held;
    bool is_kept = write_notices(r) == ERR_OK;

    *held = NULL;
    for (size_t i = 0; i < r->count; i++) {
        if (is_kept)
            end_one(r, &r->items[i]);
        order_json_count(answer, r->items[i].message->ref, is_kept ? ORDER_DONE : ORDER_UNFIT,
                         is_kept ? "" : "its notice can not be kept: is the disk full?");
    }
    spool_own_free(&r->own);
    free(r->items);
    free(r);
}
