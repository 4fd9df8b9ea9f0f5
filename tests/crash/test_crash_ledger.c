/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ledger and store under a disk that loses power.  A round lives several lives on one disk: each
 * opens the store as its owner, records outcomes, syncs, removes segments and writes checkpoints
 * until the power goes (or a sync fails, or the disk is full for a while), and at the end the power
 * goes in any case.  Checkpoints are written in steps, with outcomes, syncs and removals between
 * them.  Each life begins with a look at what is there.  The oracle (P2):
 *
 *   an outcome that was synced is never forgotten
 *   an ended message never comes back as open once its end was synced
 *   no message vanishes while it is open, nor before its last end was recorded
 *
 * A TAP program of its own.  usage: test_crash_ledger [--rounds N] [--seed S]
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

#define MESSAGES 40
#define RECIPIENTS 3
#define LIVES 5
#define SEGMENT_BYTES (8 * 1024) /* a few messages each, so that they go now and then */
#define CHECKPOINT_BYTES 1500    /* often */
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 25
#else
#define ROUNDS 200
#endif

enum kind { KIND_DROP, KIND_ANY_NAMES, KIND_FAILED_SYNC, KIND_FULL, KIND_SHORT, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {
    "power loss, names in order",    "power loss, any names kept",
    "a sync fails, then power loss", "the disk is full for a while, then power loss",
    "short writes and power loss",
};

/* What was done to a message; `last` in memory, `safe` what a sync has confirmed. */
struct fate {
    bool ended[RECIPIENTS];
    unsigned attempts, notes;
    uint32_t redirect;
    int64_t expires_at_ms;
    bool held, offered;
};

struct message {
    struct fate last, safe;
    /* Since the last sync that worked; then a restart may find either. */
    bool attempts_open, expires_open, held_open, offered_open, redirect_open;
};

static struct round {
    uint64_t random;
    enum kind kind;
    const struct spool_io *io;
    struct spool_store *store;
    struct message messages[MESSAGES];
    char wrong[256];
} r;

static unsigned long checkpoint_steps; /* of checkpoints, after which there was another */

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

/* --- The messages, safe on disk before anything goes wrong. */

static void
write_message(struct spool_parent *parent, unsigned number)
{
    static struct spool_recipient recipients[RECIPIENTS] = {
        {.address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
        {.address = "ron@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
        {.address = "rob@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
    };
    struct spool_envelope e = spool_fixture_envelope(number + 1);
    char *body = spool_fixture_body(number, 900);
    struct spool_outcome outcome = {0};
    struct spool_commit *commit;

    e.recipients = recipients;
    e.recipient_count = RECIPIENTS;
    e.received_at_ms = 1000 + number;
    commit = spool_commit_start(parent->writer, &e, &(struct iovec){body, 900}, 1,
                                spool_fixture_on_done, &outcome);
    (void)commit;
    if (!spool_parent_turn_until(parent, &outcome.done) || outcome.rc != 0)
        wrong("a message could not be written");
    free(body);
}

static void
write_messages(void)
{
    struct spool_parent parent = {.segment_bytes = SEGMENT_BYTES, .seal = true};

    spool_parent_begin(&parent, r.io, crash_disk_dir());
    for (unsigned i = 0; i < MESSAGES; i++)
        write_message(&parent, i);
    spool_parent_end(&parent);
    for (uint32_t number = 0; number < parent.next_number; number++)
        (void)!spool_segment_seal(r.io, crash_disk_dir(),
                                  (struct spool_segment_id){1, parent.epoch, number});
}

static struct spool_message *
find(unsigned i)
{
    return spool_store_find(r.store, spool_fixture_envelope(i + 1).ref);
}

/* --- The oracle. */

static bool
all_ended(const struct fate *fate)
{
    bool all = true;

    for (unsigned i = 0; i < RECIPIENTS; i++)
        all = all && fate->ended[i];
    return all;
}

static void
look_at_recipients(unsigned i, const struct spool_message *m)
{
    const struct message *want = &r.messages[i];

    for (unsigned k = 0; k < RECIPIENTS; k++) {
        bool ended = spool_message_end(m, k) != SPOOL_END_NONE;

        if (want->safe.ended[k] && !ended)
            wrong("message %u: the end of recipient %u was forgotten", i, k);
        if (!want->last.ended[k] && ended)
            wrong("message %u: an end of recipient %u that never was", i, k);
    }
}

static void
count_note(void *ctx, const struct spool_note *note)
{
    (void)note;
    ++*(unsigned *)ctx;
}

static unsigned
notes_of(const struct spool_message *m)
{
    unsigned count = 0;

    spool_store_each_note(m, count_note, &count);
    return count;
}

static void
look_at_message(unsigned i, const struct spool_message *m)
{
    const struct message *want = &r.messages[i];

    look_at_recipients(i, m);
    if (all_ended(&want->safe))
        return;
    if (!want->attempts_open && spool_message_attempts(m) != want->safe.attempts)
        wrong("message %u: %u attempts, not %u", i, spool_message_attempts(m), want->safe.attempts);
    if (spool_message_attempts(m) < want->safe.attempts ||
        spool_message_attempts(m) > want->last.attempts)
        wrong("message %u: %u attempts, not %u to %u", i, spool_message_attempts(m),
              want->safe.attempts, want->last.attempts);
    if (notes_of(m) < want->safe.notes || notes_of(m) > want->last.notes)
        wrong("message %u: %u notes, not %u to %u", i, notes_of(m), want->safe.notes,
              want->last.notes);
    if (!want->redirect_open && spool_message_redirect(m) != want->safe.redirect)
        wrong("message %u: redirected to %u, not %u", i, spool_message_redirect(m),
              want->safe.redirect);
    if (!want->expires_open && m->expires_at_ms != want->safe.expires_at_ms)
        wrong("message %u: the deadline", i);
    if (!want->held_open && m->held != want->safe.held)
        wrong("message %u: held or not", i);
    if (!want->offered_open && m->offered != want->safe.offered && m->open_count > 0)
        wrong("message %u: offered or not", i);
}

/* What a life begins with becomes what is known: from here on only this counts. */
static void
take_over(unsigned i, const struct spool_message *m)
{
    struct message *message = &r.messages[i];

    message->last.attempts = spool_message_attempts(m);
    message->last.notes = notes_of(m);
    message->last.redirect = spool_message_redirect(m);
    message->last.expires_at_ms = m->expires_at_ms;
    message->last.held = m->held;
    message->last.offered = m->offered;
    for (unsigned k = 0; k < RECIPIENTS; k++)
        message->last.ended[k] = spool_message_end(m, k) != SPOOL_END_NONE;
    message->attempts_open = message->expires_open = message->held_open = message->offered_open =
        message->redirect_open = false;
    message->safe = message->last; /* opening as owner syncs what it has read */
}

static void
look(void)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct spool_message *m = find(i);

        if (m != NULL) {
            look_at_message(i, m);
            take_over(i, m);
        } else if (!all_ended(&r.messages[i].safe)) {
            wrong("message %u has vanished before its end was synced", i);
        }
    }
}

/* --- Work. */

static void
end_some(struct spool_message *m, struct message *message)
{
    unsigned only = (unsigned)draw(2 * RECIPIENTS); /* as often all of them */

    for (unsigned k = 0; k < RECIPIENTS; k++) {
        if (only < RECIPIENTS && k != only)
            continue;
        spool_store_ended(r.store, m, k, SPOOL_END_DELIVERED, 5, "250 ok");
        message->last.ended[k] = true;
    }
    message->offered_open = true;
    message->last.offered = m->offered;
}

static void
attempt(struct spool_message *m, struct message *message)
{
    spool_store_attempt(r.store, m, 6, 7, false, "451 4.2.0 later");
    message->last.attempts++;
    message->last.offered = false;
    message->attempts_open = message->offered_open = true;
}

static void
offer(struct spool_message *m, struct message *message)
{
    spool_store_offered(r.store, m);
    message->last.offered = message->offered_open = true;
}

static void
extend(struct spool_message *m, struct message *message)
{
    message->last.expires_at_ms = 10000 + (int64_t)draw(1000);
    message->expires_open = true;
    spool_store_extend(r.store, m, message->last.expires_at_ms);
}

static void
hold(struct spool_message *m, struct message *message)
{
    message->last.held = !message->last.held;
    message->held_open = true;
    spool_store_hold(r.store, m, message->last.held ? "for the test" : NULL);
}

static void
redirect(struct spool_message *m, struct message *message)
{
    message->last.redirect = message->last.redirect ? 0 : 1 + (uint32_t)draw(9);
    message->redirect_open = true;
    spool_store_redirect(r.store, m, message->last.redirect);
}

/* With the same words each time, so that one that comes twice is not hidden. */
static void
note(struct spool_message *m, struct message *message)
{
    if (message->last.notes == SPOOL_NOTES_MAX)
        return;
    message->last.notes++;
    spool_store_note(r.store, m,
                     &(struct spool_note){.act = SPOOL_ACT_VIEW, .at_ms = 8, .who = "ann"});
}

/* Is everything durable now, as the store says? */
static void
note_sync(void)
{
    if (spool_store_synced(r.store) != spool_store_queued(r.store))
        return;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct message *message = &r.messages[i];

        message->safe = message->last;
        message->attempts_open = message->expires_open = message->held_open =
            message->offered_open = message->redirect_open = false;
    }
}

static void
act(void)
{
    static void (*const acts[])(struct spool_message * m, struct message * message) = {
        end_some, end_some, end_some, end_some, attempt, offer, extend, hold, redirect, note,
    };
    unsigned i = (unsigned)draw(MESSAGES);
    struct spool_message *m = find(i);

    if (m != NULL && m->open_count > 0)
        acts[draw(ARRAY_SIZE(acts))](m, &r.messages[i]);
}

/* One job, so that outcomes and syncs come between a checkpoint's steps. */
static void
clean_a_little(void)
{
    struct spool_job *job = spool_store_begin(r.store, SPOOL_WORK_CLEAN);

    if (job == NULL)
        return;
    spool_job_run(job);
    (void)!spool_store_end(r.store, &job, NULL, NULL);
    checkpoint_steps += spool_store_is_checkpointing(r.store);
}

static void
live(unsigned steps)
{
    for (unsigned i = 0; i < steps && !crash_disk_crashed(); i++) {
        act();
        if (draw(4) == 0)
            (void)!spool_store_sync(r.store);
        if (draw(4) == 0)
            clean_a_little();
        note_sync();
    }
}

/* --- A round. */

static struct crash_disk_options
fault(void)
{
    struct crash_disk_options o = {.seed = draw(UINT64_MAX), .crash_at = 1 + draw(60)};

    o.names_any = r.kind == KIND_ANY_NAMES;
    o.short_writes = r.kind == KIND_SHORT;
    if (r.kind == KIND_FAILED_SYNC)
        o.fail_sync_at = 1 + draw(20);
    if (r.kind == KIND_FULL) {
        o.full_from = 1 + draw(20);
        o.full_until = o.full_from + 1 + draw(15);
    }
    return o;
}

static void
life(bool last)
{
    struct crash_disk_options options = fault();
    bool during_open = draw(4) == 0;
    int err;

    if (during_open && !last)
        crash_disk_arm(&options);
    err = spool_store_open(r.io, crash_disk_path(), SPOOL_STORE_OWNER, &r.store);
    if (err == 0) {
        spool_store_set_checkpoint_bytes(r.store, CHECKPOINT_BYTES);
        spool_store_set_checkpoint_slice(r.store, 1 + (unsigned)draw(2 * MESSAGES));
        if (!crash_disk_crashed()) /* else its segments could not be read */
            look();
        if (!during_open && !last)
            crash_disk_arm(&options);
        if (!last)
            live(20 + (unsigned)draw(120));
    } else if (last || !during_open) {
        wrong("the store cannot be opened: %s", err_text(err));
    }
    spool_store_close(&r.store);
    crash_disk_power_on();
}

static bool
run_round(uint64_t seed, unsigned number)
{
    memset(&r, 0, sizeof r);
    r.random = seed + number * 1000003;
    r.kind = (enum kind)(number % KIND_COUNT);
    r.io = crash_disk_begin(&(struct crash_disk_options){.seed = r.random});
    write_messages();
    crash_disk_power_on();
    for (unsigned i = 0; i < LIVES && r.wrong[0] == '\0'; i++)
        life(false);
    if (r.wrong[0] == '\0')
        life(true);
    crash_disk_end();
    printf("%s %u - P2 the ledger: %s%s%s\n", r.wrong[0] ? "not ok" : "ok", number + 1,
           kind_names[r.kind], r.wrong[0] ? " # " : "", r.wrong);
    return r.wrong[0] == '\0';
}

int
main(int argc, char **argv)
{
    unsigned rounds = ROUNDS, failed = 0;
    uint64_t seed = 1;

    log_init("test_crash_ledger", STDERR_FILENO, LOG_LEVEL_ALARM + 1);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    printf("1..%u\n", rounds + 1);
    for (unsigned i = 0; i < rounds; i++)
        failed += !run_round(seed, i);
    printf("# %lu times something came between two steps of a checkpoint\n", checkpoint_steps);
    failed += !crash_disk_tell((int)rounds + 1);
    return failed > 0 || checkpoint_steps == 0;
}
