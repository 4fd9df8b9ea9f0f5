/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One of these a resolution, until it is durable.  It counts as work that goes on without a client.
 * A worker that is broken off leaves it unsaid; the keeper knows what to make of that.
 */
#include "relayd/resolve.h"

#include <stdlib.h>

#include "base/log.h"

#define AGAIN_MS 5000

struct resolving {
    struct worker *worker;
    struct spool_resolution resolution;
    char reply[SMTP_REPLY_LINE_SIZE];
    struct loop_timer again;
};

static void on_done(void *ctx, int err);

static void
write_it(void *ctx)
{
    struct resolving *r = ctx;

    spool_resolve_start(r->worker->writer, &r->resolution, on_done, r);
}

static void
end(struct resolving *r)
{
    struct worker *w = r->worker;

    loop_timer_cancel(&r->again);
    free(r);
    w->detached_count--;
    worker_check_idle(w);
}

static void
on_done(void *ctx, int err)
{
    struct resolving *r = ctx;
    char ref[REF_SIZE];

    if (err == 0) {
        end(r);
        return;
    }
    ref_text(r->resolution.ref, ref);
    log_line(LOG_LEVEL_ALARM, ref, "resolution-not-written", "ref=%s what=%s error=\"%s\"", ref,
             spool_resolution_word(r->resolution.kind), err_text(err));
    loop_timer_start(&r->again, AGAIN_MS);
}

void
resolve_silently(struct worker *w, struct ref ref, enum spool_resolution_kind kind,
                 const struct smtp_reply *reply)
{
    struct resolving *r = mem_alloc(sizeof *r);

    r->worker = w;
    r->resolution = (struct spool_resolution){.ref = ref, .kind = kind, .reply = r->reply};
    if (reply && reply->code)
        smtp_reply_text(reply, r->reply, sizeof r->reply);
    loop_timer_init(&r->again, w->loop, write_it, r);
    w->detached_count++;
    write_it(r);
}
