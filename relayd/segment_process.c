/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The segments process: makes, trims and seals the files of the spool log for the parent, one at a
 * time, and waits for the disk in its place, so that a reload, a death or a request is never late
 * for a sync.  It remembers nothing: killed at any moment, it leaves a file that the next sealing
 * understands.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "net/channel.h"
#include "net/process.h"
#include "relayd/relayd.h"
#include "spool/spool_segment.h"

struct segment_process {
    struct loop *loop;
    struct channel *parent;
    int dir_fd;
};

/* What a worker gets.  The shared segments hold the mail of many, now or in a file's earlier life:
 * they can only be written.  A segment of another size is new, and one message's alone, which its
 * worker reads back to pass it on: it reads nothing but what was written through it. */
static int
open_for_worker(struct segment_process *p, struct spool_segment_id id, uint64_t size_bytes, int *fd)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    if (size_bytes != SPOOL_SEGMENT_BYTES)
        return ERR_OK;
    close(*fd);
    *fd = openat(p->dir_fd, spool_segment_name(id, name), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    return *fd < 0 ? ERR_IO : ERR_OK;
}

static void
answer(struct segment_process *p, uint16_t type, struct buf *b, int fd)
{
    /* Without a parent nobody waits for it. */
    if (channel_send(p->parent, type, buf_slice(b), &fd, fd >= 0) < 0)
        loop_stop(p->loop);
    channel_flush(p->parent);
    buf_fini(b);
}

static void
make(struct segment_process *p, struct spool_segment_id id, uint64_t size_bytes, uint32_t writer)
{
    uint8_t key[SIPHASH_KEY_SIZE] = {0};
    struct buf b;
    int fd = -1, rc;

    rc = spool_segment_create(&spool_io_disk, p->dir_fd, id, size_bytes, writer, &fd, key);
    if (rc == ERR_OK)
        rc = open_for_worker(p, id, size_bytes, &fd);
    CRASH_POINT("segment-made");
    buf_init(&b, 0);
    put_u32(&b, (uint32_t)-rc);
    put_bytes(&b, (struct slice){(const char *)key, sizeof key});
    answer(p, RELAYD_MADE_SEGMENT, &b, fd);
    CRASH_POINT("segment-given");
    if (fd >= 0)
        close(fd);
}

static void
seal(struct segment_process *p, struct spool_segment_id id)
{
    int rc = spool_segment_seal(&spool_io_disk, p->dir_fd, id);
    struct buf b;

    CRASH_POINT("segment-sealed");
    buf_init(&b, 0);
    put_u32(&b, (uint32_t)-rc);
    answer(p, RELAYD_SEALED_SEGMENT, &b, -1);
}

static void
trim(struct segment_process *p, struct spool_segment_id id, uint64_t size_bytes)
{
    int rc = spool_segment_trim(&spool_io_disk, p->dir_fd, id, size_bytes);
    struct buf b;

    buf_init(&b, 0);
    put_u32(&b, (uint32_t)-rc);
    answer(p, RELAYD_TRIMMED_SEGMENT, &b, -1);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct segment_process *p = ctx;
    struct decoder d = decoder_of(payload);
    struct spool_segment_id id = spool_segment_get_id(&d);

    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (type == RELAYD_MAKE_SEGMENT) {
        uint64_t size_bytes = get_u64(&d);

        make(p, id, size_bytes, get_u32(&d));
    } else if (type == RELAYD_SEAL_SEGMENT)
        seal(p, id);
    else if (type == RELAYD_TRIM_SEGMENT)
        trim(p, id, get_u64(&d));
}

static void
on_parent_close(void *ctx)
{
    struct segment_process *p = ctx;

    channel_close(&p->parent);
    loop_stop(p->loop);
}

int
segment_process_run(const struct config *config, int parent_fd)
{
    struct segment_process p = {0};

    log_set_program("relayd/segments");
    p.dir_fd = open(config->spool_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p.dir_fd < 0)
        return 1;
    p.loop = loop_new();
    loop_allow_stalls(p.loop);
    p.parent = channel_open(p.loop, parent_fd, on_message, on_parent_close, &p);
    loop_run(p.loop);
    channel_close(&p.parent);
    loop_free(&p.loop);
    close(p.dir_fd);
    return 0;
}
