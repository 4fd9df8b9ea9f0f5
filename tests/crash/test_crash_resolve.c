/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Records whose outcome is said later, on a disk that loses power.  A worker prepares messages and
 * says what became of them, or not, beside a keeper; the power goes; several lives of a keeper
 * follow, before, while and after what the worker wrote is sealed, each until the power goes again,
 * the last one to the end.  The oracle (P2):
 *
 *   what a worker was told is durable is never undone: no copy of what was cancelled, or of whom
 * the backend had already said to have taken a record that was durable, and not cancelled, is
 * delivered to `ours` a further copy goes out only of a message that is known by name to be one
 *
 * A TAP program of its own.  usage: test_crash_resolve [--rounds N] [--seed S]
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "spool/spool_store.h"
#include "tests/crash/crash_disk.h"
#include "tests/unit/spool_fixture.h"

#define MESSAGES 24
#define PROCESS 4711
#define LIVES 4
#define SEGMENT_BYTES (8 * 1024) /* a few records each: a resolution is rarely with its record */
#define CHECKPOINT_BYTES 1000
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 40
#else
#define ROUNDS 400
#endif

enum { OURS, LIVE, RECIPIENTS };

enum kind { KIND_DROP, KIND_ANY_NAMES, KIND_FAILED_SYNC, KIND_SHORT, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {
    "power loss, names in order",
    "power loss, any names kept",
    "a sync fails, then power loss",
    "short writes and power loss",
};

static const struct script {
    uint32_t flags;
    enum spool_resolution_kind first, late; /* 0: not said */
    uint32_t first_flags;
} scripts[] = {
    {SPOOL_FLAG_PREPARED, 0, 0, 0},
    {SPOOL_FLAG_PREPARED, SPOOL_RESOLUTION_CONFIRM, 0, 0},
    {SPOOL_FLAG_PREPARED, SPOOL_RESOLUTION_CANCEL, 0, 0},
    {SPOOL_FLAG_PREPARED, SPOOL_RESOLUTION_CONFIRM_ALL, 0, 0},
    {SPOOL_FLAG_PREPARED, SPOOL_RESOLUTION_CONFIRM_ALL, SPOOL_RESOLUTION_DELIVERED,
     SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING},
    {SPOOL_FLAG_PREPARED, SPOOL_RESOLUTION_CONFIRM_ALL, SPOOL_RESOLUTION_GIVEN_UP,
     SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING},
    {SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING, 0, SPOOL_RESOLUTION_DELIVERED, 0},
    {SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING, 0, SPOOL_RESOLUTION_GIVEN_UP, 0},
    {SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING, 0, 0, 0},
};

struct message {
    const struct script *script;
    struct spool_outcome record, first, late;
    bool first_begun, late_begun; /* asked for; durable once its outcome says so */
    unsigned copies[RECIPIENTS];
    bool is_new[RECIPIENTS];     /* a copy of this life of the keeper */
    bool is_unnamed[RECIPIENTS]; /* a copy of an earlier life of the keeper, that has not been named
                                    as a possible duplicate since */
};

static struct round {
    uint64_t random;
    enum kind kind;
    const struct spool_io *io;
    struct spool_parent parent;
    struct spool_store *store;
    bool worker_lives;
    struct message messages[MESSAGES];
    char wrong[256];
} r;

static uint64_t
draw(uint64_t below)
{
    uint64_t z = r.random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void PRINTF_LIKE(1, 2) wrong(const char *fmt, ...)
{
    va_list args;

    if (r.wrong[0] != '\0')
        return;
    va_start(args, fmt);
    vsnprintf(r.wrong, sizeof r.wrong, fmt, args);
    va_end(args);
}

static bool
is_durable(const struct spool_outcome *outcome)
{
    return outcome->done && outcome->rc == 0;
}

/* --- The worker. */

static void
wait_for(const struct spool_outcome *outcome)
{
    if (!spool_parent_turn_until(&r.parent, &outcome->done))
        wrong("no answer within ten seconds");
}

static void
prepare(unsigned i)
{
    static struct spool_recipient recipients[RECIPIENTS] = {
        {.address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
        {.address = "ron@acme.example", .domain = "acme.example", .side = SPOOL_LIVE},
    };
    struct message *m = &r.messages[i];
    struct spool_envelope e = spool_fixture_envelope(i + 1);
    struct iovec body = {.iov_base = spool_fixture_body(i, 900), .iov_len = 900};

    m->script = &scripts[draw(ARRAY_SIZE(scripts))];
    e.flags = m->script->flags;
    e.recipients = recipients;
    e.recipient_count = RECIPIENTS;
    e.received_at_ms = 1000 + i;
    spool_commit_start(r.parent.writer, &e, &body, 1, spool_fixture_on_done, &m->record);
    wait_for(&m->record);
    free(body.iov_base);
}

static void
say(unsigned i, enum spool_resolution_kind kind, uint32_t flags, bool *begun,
    struct spool_outcome *outcome)
{
    struct spool_resolution resolution = {.ref = spool_fixture_envelope(i + 1).ref,
                                          .kind = kind,
                                          .flags = flags,
                                          .reply = "said by the backend"};

    *begun = true;
    spool_resolve_start(r.parent.writer, &resolution, spool_fixture_on_done, outcome);
    wait_for(outcome);
}

/* The next thing that the worker has to say of a message, if it may. */
static void
say_next(unsigned i)
{
    struct message *m = &r.messages[i];

    if (m->script == NULL || !is_durable(&m->record))
        return;
    if (m->script->first != 0 && !m->first_begun)
        say(i, m->script->first, m->script->first_flags, &m->first_begun, &m->first);
    else if (m->script->late != 0 && !m->late_begun &&
             (m->script->first == 0 || is_durable(&m->first)))
        say(i, m->script->late, 0, &m->late_begun, &m->late);
}

static void keeper_turn(void);

static void
work(void)
{
    for (unsigned i = 0; i < MESSAGES && !crash_disk_crashed() && r.wrong[0] == '\0'; i++) {
        prepare(i);
        for (unsigned n = 0; n < 3 && !crash_disk_crashed(); n++)
            say_next((unsigned)draw(i + 1));
        if (draw(4) == 0)
            keeper_turn();
    }
}

/* --- The keeper. */

static bool
is_writing(void *ctx, struct spool_segment_id segment, uint32_t process)
{
    (void)ctx;
    if (process != PROCESS)
        wrong("segment %u is not of the worker", segment.number);
    return r.worker_lives;
}

static bool
was_said(const struct message *m, enum spool_resolution_kind kind)
{
    return (m->script->first == kind && is_durable(&m->first)) ||
           (m->script->late == kind && is_durable(&m->late));
}

static bool
may_have_been_said(const struct message *m, enum spool_resolution_kind kind)
{
    return (m->script->first == kind && m->first_begun) ||
           (m->script->late == kind && m->late_begun);
}

static void
check_copy(unsigned i, unsigned k)
{
    const struct message *m = &r.messages[i];

    if (was_said(m, SPOOL_RESOLUTION_CANCEL))
        wrong("message %u was cancelled, and goes out", i);
    if (k == LIVE && was_said(m, SPOOL_RESOLUTION_CONFIRM))
        wrong("message %u goes to whom the backend has confirmed", i);
    if (k == LIVE && was_said(m, SPOOL_RESOLUTION_DELIVERED))
        wrong("message %u goes out though a late answer said that it was taken", i);
    if (m->is_unnamed[k])
        wrong("message %u goes out once more, and nobody has named it", i);
}

static bool
deliver(struct spool_message *m, unsigned i, unsigned k)
{
    spool_store_offered(r.store, m);
    if (spool_store_sync(r.store) != 0 ||
        spool_store_synced(r.store) != spool_store_queued(r.store))
        return false;
    check_copy(i, k);
    r.messages[i].copies[k]++;
    r.messages[i].is_new[k] = true;
    spool_store_ended(r.store, m, k, SPOOL_END_DELIVERED, 5, "250 ok");
    return true;
}

/* What nothing more will be said of. */
static void
settle(struct spool_message *m)
{
    if ((!m->prepared && m->listens_until_ms == 0) || m->open_count == 0 ||
        spool_store_writer_state(r.store, m) != SPOOL_WRITER_DONE)
        return;
    if (m->prepared)
        spool_store_confirm(r.store, m, 5);
    else
        spool_store_stop_listening(r.store, m);
}

static void
keeper_message(struct spool_message *m, bool all)
{
    unsigned i = (unsigned)m->envelope.ref.number - 1;

    settle(m);
    for (unsigned k = 0; k < RECIPIENTS; k++) {
        if (m->states[k].end != SPOOL_END_NONE || spool_message_awaits(m, k))
            continue;
        if ((all || draw(3) == 0) && !deliver(m, i, k))
            return;
    }
}

/* A message that is seen for the first time in this life. */
static void
on_new(void *ctx, struct spool_message *m)
{
    (void)ctx;
    if (!m->offered)
        return;
    memset(r.messages[m->envelope.ref.number - 1].is_unnamed, 0, sizeof(bool[RECIPIENTS]));
    spool_store_attempt(r.store, m, 6, 7, false, "the keeper ended");
}

static void
keeper_pass(bool all)
{
    struct spool_message *m = NULL;

    if (r.store == NULL || spool_store_refresh(r.store, on_new, NULL) != 0)
        return;
    while ((m = spool_store_next(r.store, m)) != NULL && !crash_disk_crashed())
        keeper_message(m, all);
    if (all || draw(2) == 0)
        (void)!spool_store_sync(r.store);
    (void)!spool_store_clean(r.store, NULL, NULL);
}

static void
keeper_turn(void)
{
    keeper_pass(false);
}

static void
keeper_open(void)
{
    struct spool_message *m = NULL;

    for (unsigned i = 0; i < MESSAGES; i++) {
        for (unsigned k = 0; k < RECIPIENTS; k++) {
            r.messages[i].is_unnamed[k] |= r.messages[i].is_new[k];
            r.messages[i].is_new[k] = false;
        }
    }
    if (spool_store_open(r.io, crash_disk_path(), SPOOL_STORE_OWNER, &r.store) != 0)
        return;
    spool_store_ask_writing(r.store, is_writing, NULL);
    spool_store_set_checkpoint_bytes(r.store, CHECKPOINT_BYTES);
    while ((m = spool_store_next(r.store, m)) != NULL)
        on_new(NULL, m);
}

/* --- A round. */

static void
arm(uint64_t within)
{
    crash_disk_arm(&(struct crash_disk_options){
        .seed = draw(UINT32_MAX),
        .crash_at = 1 + draw(within),
        .fail_sync_at = r.kind == KIND_FAILED_SYNC ? 1 + draw(within / 4 + 1) : 0,
        .short_writes = r.kind == KIND_SHORT,
        .names_any = r.kind == KIND_ANY_NAMES,
    });
}

static void
seal(unsigned one_in)
{
    for (uint32_t number = 0; number < r.parent.next_number; number++) {
        if (draw(one_in) == 0)
            (void)!spool_segment_seal(r.io, crash_disk_dir(),
                                      (struct spool_segment_id){1, 1, number});
    }
}

static void
life_of_worker(void)
{
    r.worker_lives = true;
    keeper_open();
    arm(450);
    spool_parent_begin(&r.parent, r.io, crash_disk_dir());
    work();
    spool_parent_end(&r.parent);
    spool_store_close(&r.store);
    crash_disk_power_on();
    r.worker_lives = false;
}

static void
life_of_keeper(void)
{
    arm(80);
    if (draw(2) == 0)
        seal(2);
    keeper_open();
    keeper_turn();
    seal(2);
    keeper_turn();
    keeper_turn();
    spool_store_close(&r.store);
    crash_disk_power_on();
}

static void
check_end(unsigned i)
{
    const struct message *m = &r.messages[i];
    bool was_prepared, all;

    if (m->script == NULL || !is_durable(&m->record))
        return;
    was_prepared = (m->script->flags & SPOOL_FLAG_PREPARED) != 0;
    all = !was_prepared || was_said(m, SPOOL_RESOLUTION_CONFIRM_ALL);
    if (m->copies[OURS] == 0 && !may_have_been_said(m, SPOOL_RESOLUTION_CANCEL))
        wrong("message %u never went to ours", i);
    if (m->copies[LIVE] == 0 && all && !may_have_been_said(m, SPOOL_RESOLUTION_DELIVERED))
        wrong("message %u never went to whom the backend may not have it for", i);
}

static void
last_life(void)
{
    seal(1);
    keeper_open();
    if (r.store == NULL) {
        wrong("the store cannot be opened");
        return;
    }
    for (unsigned n = 0; n < 3; n++)
        keeper_pass(true);
    if (spool_store_open_count(r.store) > 0)
        wrong("%zu messages are left open", spool_store_open_count(r.store));
    spool_store_close(&r.store);
    for (unsigned i = 0; i < MESSAGES; i++)
        check_end(i);
}

static bool
run_round(uint64_t seed, unsigned number)
{
    memset(&r, 0, sizeof r);
    r.random = seed + number * 1000003;
    r.kind = (enum kind)(number % KIND_COUNT);
    r.parent = (struct spool_parent){
        .process = PROCESS, .segment_bytes = SEGMENT_BYTES, .seal = draw(2) == 0};
    r.io = crash_disk_begin(&(struct crash_disk_options){.seed = r.random});
    life_of_worker();
    for (unsigned i = 0; i < LIVES && r.wrong[0] == '\0'; i++)
        life_of_keeper();
    if (r.wrong[0] == '\0')
        last_life();
    crash_disk_end();
    printf("%s %u - P2 open outcomes: %s%s%s\n", r.wrong[0] ? "not ok" : "ok", number + 1,
           kind_names[r.kind], r.wrong[0] ? " # " : "", r.wrong);
    fflush(stdout);
    return r.wrong[0] == '\0';
}

int
main(int argc, char **argv)
{
    unsigned rounds = ROUNDS, failed = 0;
    uint64_t seed = 1;

    log_init("test_crash_resolve", STDERR_FILENO, LOG_LEVEL_ALARM + 1);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    printf("1..%u\n", rounds);
    for (unsigned i = 0; i < rounds; i++)
        failed += !run_round(seed, i);
    return failed > 0;
}
