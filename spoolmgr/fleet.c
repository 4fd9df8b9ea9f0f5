/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The keeper's side of its deliverers: it starts them, hands them attempts, reads what they say,
 * and starts another when one dies, or hangs: one that leaves a ping without an answer is killed.
 * An attempt goes to the deliverer that has its connection; the n-th connection to an endpoint is
 * made by the n-th deliverer.
 */
#include "spoolmgr/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/channel.h"
#include "net/process.h"
#include "net/tls_client.h"

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 10000
#define STEADY_MS 10000 /* one that lived so long was no failure to start */
#define JOBS_MAX 128    /* of one deliverer */
#define PING_MS 1000
#define SILENT_MS 10000  /* then it hangs */
#define ASLEEP_MS 3000   /* a look that comes so late: we were not running ourselves */
#define REAP_TRIES 100   /* milliseconds; what is killed is gone by then, or stuck in the disk */
#define LEAVE_TRIES 1000 /* milliseconds */

struct deliverer_child {
    struct fleet *fleet;
    unsigned number;
    pid_t pid;
    pid_t stuck;          /* one before, killed, that has not ended yet; 0: none */
    int64_t pinged_at_ms; /* it has not answered since; 0: it has */
    struct channel *channel;
    unsigned jobs;
    int64_t started_at_ms, pause_ms;
    struct loop_timer restart;
};

struct fleet {
    struct keeper *keeper;
    struct tls_client *tls; /* of the deliverers, made before they are */
    struct deliverer_child *children;
    unsigned count;
    struct buf packet;
    struct loop_timer look;
    int64_t looked_at_ms;
};

/* --- What they say. */

static void
on_results(struct keeper *k, struct decoder *fields, uint32_t id)
{
    struct attempt *a = attempt_find(k, id);
    struct courier_result result;

    while (a != NULL && fields->p < fields->end && courier_get_result(fields, &result))
        attempt_result(a, &result);
}

static void
on_done(struct fleet *fleet, struct slice payload)
{
    struct courier_done done;
    struct attempt *a;

    if (!courier_get_done(payload, &done))
        return;
    a = attempt_find(fleet->keeper, done.id);
    if (a == NULL)
        return;
    fleet_ended(fleet, a);
    attempt_done(fleet->keeper, a, &done);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct deliverer_child *child = ctx;
    struct keeper *k = child->fleet->keeper;
    struct decoder fields = decoder_of(payload);
    uint32_t id = get_u32(&fields);
    struct attempt *a;

    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    child->pinged_at_ms = 0; /* whatever it says, it turns */
    if (type == COURIER_DONE) {
        on_done(child->fleet, payload);
        return;
    }
    if (type == COURIER_CLOSED) {
        slot_closed(k, id);
        return;
    }
    a = attempt_find(k, id);
    if (a == NULL || a->deliverer != child->number)
        return;
    if (type == COURIER_READY)
        attempt_reached(k, a);
    else if (type == COURIER_ASK_DOT)
        attempt_wants_dot(k, a);
    else if (type == COURIER_RESULTS)
        on_results(k, &fields, id);
}

/* --- Life and death. */

static void child_start(struct deliverer_child *child);

/* Never without bound: a process in a hung disk does not end.  False: it has not. */
static bool
wait_for(pid_t pid, unsigned milliseconds, int *status)
{
    for (unsigned i = 0; i < milliseconds; i++) {
        pid_t got = waitpid(pid, status, WNOHANG);

        if (got == pid || (got < 0 && errno != EINTR))
            return true;
        usleep(1000);
    }
    return false;
}

static void
child_reap(struct deliverer_child *child)
{
    int status = SIGKILL;

    kill(child->pid, SIGKILL); /* it may only have lost its channel */
    if (!wait_for(child->pid, REAP_TRIES, &status))
        child->stuck = child->pid; /* it never runs again: nothing more comes of what it had */
    log_line(LOG_LEVEL_WARN, NULL, "deliverer-died", "number=%u pid=%ld %s=%d", child->number,
             (long)child->pid, WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    child->pid = 0;
    child->jobs = 0;
}

static void
on_gone(void *ctx)
{
    struct deliverer_child *child = ctx;
    struct keeper *k = child->fleet->keeper;
    bool was_steady = loop_now_ms(k->loop) - child->started_at_ms > STEADY_MS;

    channel_close(&child->channel);
    child_reap(child);
    child->pause_ms = was_steady || child->pause_ms == 0 ? RESTART_MIN_MS : child->pause_ms * 2;
    if (child->pause_ms > RESTART_MAX_MS)
        child->pause_ms = RESTART_MAX_MS;
    loop_timer_start(&child->restart, child->pause_ms);
    attempt_crashed(k, child->number);
    slot_lost(k, child->number);
}

static void
on_restart(void *ctx)
{
    struct deliverer_child *child = ctx;

    child_start(child);
    keeper_pump(child->fleet->keeper);
}

static void
child_start(struct deliverer_child *child)
{
    struct keeper *k = child->fleet->keeper;
    int fd, err;

    child->started_at_ms = loop_now_ms(k->loop);
    err = process_fork("spoolmgr-dlv", NULL, 0, &child->pid, &fd);
    if (err != 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "deliverer-failed", "number=%u why=\"%s\"", child->number,
                 err_text(err));
        loop_timer_start(&child->restart, RESTART_MAX_MS);
        return;
    }
    if (child->pid == 0)
        _exit(deliverer_run(k->config, child->fleet->tls, own_credentials(k), fd));
    child->channel = channel_open(k->loop, fd, on_message, on_gone, child);
    child->pinged_at_ms = 0;
}

/* --- Those that hang. */

static void
ping(struct deliverer_child *child, int64_t now_ms)
{
    struct buf *b = &child->fleet->packet;

    buf_clear(b);
    put_u32(b, 0);
    if (channel_send(child->channel, COURIER_PING, buf_slice(b), NULL, 0) == 0)
        child->pinged_at_ms = now_ms;
    else
        kill(child->pid, SIGKILL); /* it does not read */
}

static void
child_look(struct deliverer_child *child, int64_t now_ms, bool we_slept)
{
    if (child->stuck > 0 && waitpid(child->stuck, NULL, WNOHANG) != 0)
        child->stuck = 0;
    if (child->channel == NULL)
        return;
    if (child->pinged_at_ms == 0) {
        ping(child, now_ms);
    } else if (we_slept) {
        child->pinged_at_ms = now_ms; /* its answer may be waiting for us */
    } else if (now_ms - child->pinged_at_ms > SILENT_MS) {
        log_line(LOG_LEVEL_ALARM, NULL, "deliverer-hangs",
                 "number=%u pid=%ld effect=\"it is killed; its messages are tried again\"",
                 child->number, (long)child->pid);
        kill(child->pid, SIGKILL); /* on_gone follows */
        child->pinged_at_ms = now_ms;
    }
}

static void
on_look(void *ctx)
{
    struct fleet *fleet = ctx;
    int64_t now_ms = loop_now_ms(fleet->keeper->loop);
    bool we_slept = now_ms - fleet->looked_at_ms > ASLEEP_MS;

    fleet->looked_at_ms = now_ms;
    loop_timer_start(&fleet->look, PING_MS);
    for (unsigned i = 0; i < fleet->count; i++)
        child_look(&fleet->children[i], now_ms, we_slept);
}

/* A file that cannot be read is no reason to let all mail wait. */
static void
load_authorities(struct fleet *fleet)
{
    const char *file = fleet->keeper->config->backend_ca_file;
    struct buf problems;

    buf_init(&problems, 0);
    if (tls_client_new(file, &problems, &fleet->tls) != 0)
        log_line(LOG_LEVEL_ALARM, NULL, "backend-ca-unusable",
                 "file=%s effect=\"the system's store is used\"", file);
    if (fleet->tls == NULL)
        CHECK(tls_client_new("", &problems, &fleet->tls) == 0);
    buf_fini(&problems);
}

struct fleet *
fleet_new(struct keeper *k, unsigned count)
{
    struct fleet *fleet = mem_alloc(sizeof *fleet);

    fleet->keeper = k;
    fleet->count = count ? count : 1;
    fleet->children = mem_alloc(fleet->count * sizeof(*fleet->children));
    buf_init(&fleet->packet, 0);
    load_authorities(fleet);
    for (unsigned i = 0; i < fleet->count; i++) {
        struct deliverer_child *child = &fleet->children[i];

        child->fleet = fleet;
        child->number = i;
        loop_timer_init(&child->restart, k->loop, on_restart, child);
        child_start(child);
    }
    fleet->looked_at_ms = loop_now_ms(k->loop);
    loop_timer_init(&fleet->look, k->loop, on_look, fleet);
    loop_timer_start(&fleet->look, PING_MS);
    return fleet;
}

static bool
all_have_left(struct fleet *fleet)
{
    bool all = true;

    for (unsigned i = 0; i < fleet->count; i++) {
        struct deliverer_child *child = &fleet->children[i];

        if (child->pid > 0 && wait_for(child->pid, 1, &(int){0}))
            child->pid = 0;
        all = all && child->pid == 0;
    }
    return all;
}

/* They end by the end of file; those that do not are killed. */
static void
see_off(struct fleet *fleet)
{
    for (int i = 0; i < LEAVE_TRIES; i++) {
        if (all_have_left(fleet))
            return;
    }
    for (unsigned i = 0; i < fleet->count; i++) {
        struct deliverer_child *child = &fleet->children[i];

        if (child->pid == 0)
            continue;
        log_line(LOG_LEVEL_WARN, NULL, "deliverer-hangs",
                 "number=%u pid=%ld effect=\"it is killed\"", child->number, (long)child->pid);
        kill(child->pid, SIGKILL);
        (void)wait_for(child->pid, REAP_TRIES, &(int){0});
    }
}

void
fleet_free(struct fleet **fleet)
{
    struct fleet *f = *fleet;

    if (f == NULL)
        return;
    loop_timer_cancel(&f->look);
    for (unsigned i = 0; i < f->count; i++) {
        loop_timer_cancel(&f->children[i].restart);
        channel_close(&f->children[i].channel);
    }
    see_off(f);
    buf_fini(&f->packet);
    tls_client_free(&f->tls);
    free(f->children);
    free(f);
    *fleet = NULL;
}

static bool
child_has_room(const struct deliverer_child *child)
{
    return child->channel != NULL && child->jobs < JOBS_MAX;
}

bool
fleet_has_room(const struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->count; i++) {
        if (child_has_room(&fleet->children[i]))
            return true;
    }
    return false;
}

bool
fleet_has_room_at(const struct fleet *fleet, unsigned deliverer)
{
    return child_has_room(&fleet->children[deliverer]);
}

/* --- What they are told. */

static struct deliverer_child *
choose_child(struct fleet *fleet, const struct attempt *a)
{
    unsigned from = a->endpoint->window.active;

    if (a->slot->is_handed)
        return &fleet->children[a->slot->deliverer];
    for (unsigned i = 0; i < fleet->count; i++) {
        struct deliverer_child *child = &fleet->children[(from + i) % fleet->count];

        if (child_has_room(child))
            return child;
    }
    return NULL;
}

static int
send_packet(struct fleet *fleet, struct deliverer_child *child, enum courier_message type, int fd)
{
    return channel_send(child->channel, (uint16_t)type, buf_slice(&fleet->packet), &fd,
                        fd >= 0 ? 1 : 0);
}

static struct buf *
packet(struct fleet *fleet, uint32_t id)
{
    buf_clear(&fleet->packet);
    put_u32(&fleet->packet, id);
    return &fleet->packet;
}

static int
send_job(struct fleet *fleet, struct deliverer_child *child, const struct attempt *a,
         const struct fleet_content *content)
{
    const struct spool_envelope *e = content->envelope;
    char ref[REF_SIZE];

    buf_clear(&fleet->packet);
    courier_put_job(&fleet->packet, &(struct courier_job){
                                        .id = a->id,
                                        .link = a->slot->number,
                                        .to = a->destination,
                                        .reverse_path = slice_of(e->reverse_path),
                                        .body_offset = content->body.offset,
                                        .body_bytes = content->body.bytes,
                                        .body_check = content->body.check,
                                        .body = e->body,
                                        .flags = e->flags,
                                        .dsn_ret = e->dsn_ret,
                                        .dsn_envid = slice_of(e->dsn_envid),
                                        .client = e->client,
                                        .client_name = slice_of(e->client_name),
                                        .helo = slice_of(e->helo),
                                        .ref = slice_of(ref_text(e->ref, ref)),
                                    });
    return send_packet(fleet, child, COURIER_JOB, content->segment_fd);
}

static int
send_prepend(struct fleet *fleet, struct deliverer_child *child, const struct attempt *a,
             struct slice rest)
{
    int err = 0;

    while (rest.n > 0 && err == 0) {
        struct slice piece = {rest.p, rest.n < COURIER_PIECE_MAX ? rest.n : COURIER_PIECE_MAX};

        put_bytes(packet(fleet, a->id), piece);
        err = send_packet(fleet, child, COURIER_PREPEND, -1);
        rest.p += piece.n;
        rest.n -= piece.n;
    }
    return err;
}

static int
send_recipients(struct fleet *fleet, struct deliverer_child *child, const struct attempt *a,
                const struct spool_recipient *recipients)
{
    int err = 0;

    packet(fleet, a->id);
    for (unsigned i = 0; i < a->recipient_count && err == 0; i++) {
        const struct spool_recipient *r = &recipients[a->recipients[i]];

        courier_put_rcpt(&fleet->packet, &(struct courier_rcpt){
                                             .index = a->recipients[i],
                                             .address = slice_of(r->address),
                                             .dsn_notify = r->dsn_notify,
                                             .dsn_orcpt = slice_of(r->dsn_orcpt),
                                         });
        if (buf_size(&fleet->packet) < COURIER_PIECE_MAX)
            continue;
        err = send_packet(fleet, child, COURIER_RCPTS, -1);
        packet(fleet, a->id);
    }
    return err != 0 ? err : send_packet(fleet, child, COURIER_RCPTS, -1);
}

/* Behind the job's first packet: what it is about. */
static int
send_rest(struct fleet *fleet, struct deliverer_child *child, const struct attempt *a,
          const struct spool_envelope *envelope)
{
    int err = send_prepend(fleet, child, a, envelope->prepend);

    if (err == 0)
        err = send_recipients(fleet, child, a, envelope->recipients);
    if (err != 0)
        return err;
    packet(fleet, a->id);
    return send_packet(fleet, child, COURIER_GO, -1);
}

int
fleet_send(struct fleet *fleet, struct attempt *a, const struct fleet_content *content)
{
    struct deliverer_child *child = choose_child(fleet, a);
    int err;

    if (child == NULL)
        return ERR_BUSY;
    err = send_job(fleet, child, a, content);
    if (err != 0)
        return err;
    err = send_rest(fleet, child, a, content->envelope);
    if (err != 0) {
        kill(child->pid, SIGKILL); /* it would have half a job for ever; on_gone follows */
        return err;
    }
    a->deliverer = a->slot->deliverer = child->number;
    a->slot->is_handed = true;
    child->jobs++;
    return 0;
}

void
fleet_send_dot(struct fleet *fleet, struct attempt *a)
{
    struct deliverer_child *child = &fleet->children[a->deliverer];

    packet(fleet, a->id);
    if (child->channel != NULL && send_packet(fleet, child, COURIER_DOT, -1) != 0)
        kill(child->pid, SIGKILL); /* it does not read: on_gone follows */
}

void
fleet_send_close(struct fleet *fleet, const struct slot *slot)
{
    struct deliverer_child *child = &fleet->children[slot->deliverer];

    packet(fleet, slot->number);
    if (send_packet(fleet, child, COURIER_CLOSE, -1) != 0)
        kill(child->pid, SIGKILL);
}

void
fleet_ended(struct fleet *fleet, const struct attempt *a)
{
    fleet->children[a->deliverer].jobs--;
}
