/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: whatever became of a record that was open when it was written is known after any restart, in
 * whatever order its segment and that of its resolution are read, and whichever of them is gone.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "spool/spool_store.h"
#include "spool_fixture.h"

#define PROCESS 4711
#define SEGMENT_BYTES (64 * 1024)
#define RECORDS_AT 10    /* segments of this number and on hold the records, */
#define RESOLUTIONS_AT 1 /* those from here on, or from LATER_AT on, the resolutions */
#define LATER_AT 20

#define PREPARED SPOOL_FLAG_PREPARED
#define UNKNOWN SPOOL_FLAG_UNKNOWN
#define LISTENING SPOOL_FLAG_LISTENING

enum sides { MIXED, LIVE, OURS };

struct step {
    enum spool_resolution_kind kind; /* 0: no more */
    uint32_t flags;
};

static const struct row {
    const char *name;
    uint32_t flags;
    enum sides sides;
    struct step steps[3];
    enum spool_end ours, live; /* of rita, of ron */
    bool prepared, unknown, listens;
} rows[] = {
    {"prepared", PREPARED, MIXED, {{0}}, 0, 0, true, false, false},
    {"confirmed",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM, 0}},
     0,
     SPOOL_END_DELIVERED,
     false,
     false,
     false},
    {"cancelled",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CANCEL, 0}},
     SPOOL_END_CANCELLED,
     SPOOL_END_CANCELLED,
     true,
     false,
     false},
    {"all confirmed",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, 0}},
     0,
     0,
     false,
     false,
     false},
    {"all confirmed, unknown",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN}},
     0,
     0,
     false,
     true,
     false},
    {"all confirmed, listening",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN | LISTENING}},
     0,
     0,
     false,
     true,
     true},
    {"then delivered",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN | LISTENING}, {SPOOL_RESOLUTION_DELIVERED, 0}},
     0,
     SPOOL_END_DELIVERED,
     false,
     true,
     false},
    {"then refused",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN | LISTENING}, {SPOOL_RESOLUTION_REFUSED, 0}},
     0,
     SPOOL_END_REFUSED,
     false,
     true,
     false},
    {"then given up",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN | LISTENING}, {SPOOL_RESOLUTION_GIVEN_UP, 0}},
     0,
     0,
     false,
     true,
     false},
    {"then delivered, when nobody listens",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM_ALL, UNKNOWN}, {SPOOL_RESOLUTION_DELIVERED, 0}},
     0,
     0,
     false,
     true,
     false},
    {"unknown", UNKNOWN, LIVE, {{0}}, 0, 0, false, true, false},
    {"listening", UNKNOWN | LISTENING, LIVE, {{0}}, 0, 0, false, true, true},
    {"late delivered",
     UNKNOWN | LISTENING,
     LIVE,
     {{SPOOL_RESOLUTION_DELIVERED, 0}},
     SPOOL_END_DELIVERED,
     SPOOL_END_DELIVERED,
     false,
     true,
     false},
    {"late delivered, no side is live",
     UNKNOWN | LISTENING,
     OURS,
     {{SPOOL_RESOLUTION_DELIVERED, 0}},
     SPOOL_END_DELIVERED,
     SPOOL_END_DELIVERED,
     false,
     true,
     false},
    {"late delivered, when nobody listens",
     UNKNOWN,
     OURS,
     {{SPOOL_RESOLUTION_DELIVERED, 0}},
     0,
     0,
     false,
     true,
     false},
    {"late refused",
     UNKNOWN | LISTENING,
     LIVE,
     {{SPOOL_RESOLUTION_REFUSED, 0}},
     SPOOL_END_REFUSED,
     SPOOL_END_REFUSED,
     false,
     true,
     false},
    {"given up",
     UNKNOWN | LISTENING,
     LIVE,
     {{SPOOL_RESOLUTION_GIVEN_UP, 0}},
     0,
     0,
     false,
     true,
     false},
    {"a second first one changes nothing",
     PREPARED,
     MIXED,
     {{SPOOL_RESOLUTION_CONFIRM, 0}, {SPOOL_RESOLUTION_CANCEL, 0}},
     0,
     SPOOL_END_DELIVERED,
     false,
     false,
     false},
    {"a late answer to what was never unknown",
     0,
     MIXED,
     {{SPOOL_RESOLUTION_DELIVERED, 0}},
     0,
     0,
     false,
     false,
     false},
};

struct spool_case {
    int dir_fd;
    struct spool_parent records, resolutions;
    struct spool_store *store;
};

static void
begin_case(struct spool_case *c, uint32_t resolutions_at)
{
    *c = (struct spool_case){
        .dir_fd = spool_fixture_dir(),
        .records = {.process = PROCESS, .next_number = RECORDS_AT, .segment_bytes = SEGMENT_BYTES},
        .resolutions = {.process = PROCESS,
                        .next_number = resolutions_at,
                        .segment_bytes = SEGMENT_BYTES},
    };
    spool_parent_begin(&c->records, &spool_io_disk, c->dir_fd);
    spool_parent_begin(&c->resolutions, &spool_io_disk, c->dir_fd);
}

static void
seal(struct spool_case *c, struct spool_parent *parent, uint32_t first)
{
    uint32_t end = parent->next_number;

    spool_parent_end(parent);
    for (uint32_t number = first; number < end; number++)
        (void)!spool_segment_seal(&spool_io_disk, c->dir_fd,
                                  (struct spool_segment_id){1, 1, number});
}

static void
seal_all(struct spool_case *c, uint32_t resolutions_at)
{
    seal(c, &c->records, RECORDS_AT);
    seal(c, &c->resolutions, resolutions_at);
}

static void
end_case(struct spool_case *c)
{
    spool_store_close(&c->store);
    if (c->records.writer)
        spool_parent_end(&c->records);
    if (c->resolutions.writer)
        spool_parent_end(&c->resolutions);
    spool_fixture_clean(c->dir_fd);
}

static void
open_store(struct spool_case *c, enum spool_store_mode mode)
{
    spool_store_close(&c->store);
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, mode, &c->store), 0);
}

static struct ref
ref_of(uint64_t number)
{
    return spool_fixture_envelope(number).ref;
}

static void
write_record(struct spool_case *c, uint64_t number, uint32_t flags, enum sides sides)
{
    struct spool_recipient recipients[] = {
        {.address = "rita@acme.example",
         .domain = "acme.example",
         .side = sides == LIVE ? SPOOL_LIVE : SPOOL_OURS},
        {.address = "ron@acme.example",
         .domain = "acme.example",
         .side = sides == OURS ? SPOOL_OURS : SPOOL_LIVE},
    };
    struct spool_envelope e = spool_fixture_envelope(number);
    struct spool_outcome outcome = {.done = false};
    struct iovec body = {.iov_base = (char[]){"hello\r\n"}, .iov_len = 7};

    e.flags = flags;
    e.received_at_ms = 1000;
    e.expires_at_ms = 1000000;
    e.recipients = recipients;
    e.recipient_count = 2;
    spool_commit_start(c->records.writer, &e, &body, 1, spool_fixture_on_done, &outcome);
    cr_assert(spool_parent_turn_until(&c->records, &outcome.done));
    cr_assert_eq(outcome.rc, 0);
}

static void
say(struct spool_case *c, uint64_t number, enum spool_resolution_kind kind, uint32_t flags)
{
    struct spool_resolution r = {
        .ref = ref_of(number), .kind = kind, .flags = flags, .reply = "250 2.0.0 taken"};
    struct spool_outcome outcome = {.done = false};

    spool_resolve_start(c->resolutions.writer, &r, spool_fixture_on_done, &outcome);
    cr_assert(spool_parent_turn_until(&c->resolutions, &outcome.done));
    cr_assert_eq(outcome.rc, 0);
}

static void
say_all(struct spool_case *c, const struct row *row)
{
    for (size_t i = 0; i < ARRAY_SIZE(row->steps) && row->steps[i].kind != 0; i++)
        say(c, 1, row->steps[i].kind, row->steps[i].flags);
}

static void
see(struct spool_case *c, const struct row *row, const char *when)
{
    struct spool_message *m = spool_store_find(c->store, ref_of(1));
    unsigned open;

    cr_assert_not_null(m, "%s: %s", row->name, when);
    open = (row->ours == SPOOL_END_NONE) + (row->live == SPOOL_END_NONE);
    cr_expect_eq(spool_message_end(m, 0), row->ours, "%s, %s: ours %s", row->name, when,
                 spool_end_word(spool_message_end(m, 0)));
    cr_expect_eq(spool_message_end(m, 1), row->live, "%s, %s: live %s", row->name, when,
                 spool_end_word(spool_message_end(m, 1)));
    cr_expect_eq(m->open_count, open, "%s, %s", row->name, when);
    cr_expect_eq(m->prepared, row->prepared, "%s, %s", row->name, when);
    cr_expect_eq(m->unknown, row->unknown, "%s, %s", row->name, when);
    cr_expect_eq(spool_message_listens_until_ms(m) != 0, row->listens, "%s, %s", row->name, when);
    if (row->live == SPOOL_END_DELIVERED)
        cr_expect_str_eq(spool_message_reply(m, 1), "250 2.0.0 taken", "%s, %s", row->name, when);
    cr_expect_eq(spool_message_ended_at_dot(m, 1),
                 row->live == SPOOL_END_DELIVERED && row->steps[0].kind == SPOOL_RESOLUTION_CONFIRM,
                 "%s, %s", row->name, when);
    cr_expect_not(spool_message_ended_at_dot(m, 0), "%s, %s", row->name, when);
    cr_expect_eq(spool_message_awaits(m, 1), open > 0 && (row->prepared || row->listens), "%s, %s",
                 row->name, when);
    cr_expect_eq(spool_message_awaits(m, 0),
                 open > 0 && (row->prepared || (row->listens && row->sides != MIXED)), "%s, %s",
                 row->name, when);
}

static void
run_in_order(const struct row *row, uint32_t resolutions_at)
{
    struct spool_case c;

    begin_case(&c, resolutions_at);
    write_record(&c, 1, row->flags, row->sides);
    open_store(&c, SPOOL_STORE_OWNER);
    say_all(&c, row);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    see(&c, row, "as it comes");
    open_store(&c, SPOOL_STORE_OWNER);
    see(&c, row, "read anew, nothing in the ledger");
    cr_assert_eq(spool_store_sync(c.store), 0);
    open_store(&c, SPOOL_STORE_READ);
    see(&c, row, "ledger and resolutions");
    open_store(&c, SPOOL_STORE_OWNER);
    see(&c, row, "the same as owner");
    spool_store_set_checkpoint_bytes(c.store, 0);
    spool_store_extend(c.store, spool_store_find(c.store, ref_of(1)), 2000000);
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    open_store(&c, SPOOL_STORE_READ);
    see(&c, row, "through a checkpoint");
    end_case(&c);
}

Test(spool_resolve, P2_every_resolution_in_a_segment_before_its_record)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        run_in_order(&rows[i], RESOLUTIONS_AT);
}

Test(spool_resolve, P2_every_resolution_in_a_segment_behind_its_record)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        run_in_order(&rows[i], LATER_AT);
}

static uint64_t
segments_there(struct spool_case *c)
{
    struct spool_store_stats stats;

    spool_store_get_stats(c->store, &stats);
    return stats.segments;
}

/* The record's segment stays, since another message is open in it; the resolution's goes. */
static void
run_without_resolution(const struct row *row, uint32_t resolutions_at)
{
    bool has_resolution = row->steps[0].kind != 0;
    struct spool_case c;

    begin_case(&c, resolutions_at);
    write_record(&c, 1, row->flags, row->sides);
    write_record(&c, 2, 0, OURS);
    say_all(&c, row);
    seal_all(&c, resolutions_at);
    open_store(&c, SPOOL_STORE_READ);
    see(&c, row, "by the footers");
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_eq(segments_there(&c), 1u + has_resolution, "%s", row->name);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    if (spool_store_queued(c.store) > 0) {
        cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
        cr_expect_eq(segments_there(&c), 2, "%s: not before the ledger has it", row->name);
    }
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    cr_expect_eq(segments_there(&c), 1, "%s: the resolutions' segment has gone", row->name);
    open_store(&c, SPOOL_STORE_OWNER);
    see(&c, row, "by the ledger alone");
    end_case(&c);
}

Test(spool_resolve, P2_the_ledger_has_it_before_the_resolutions_segment_goes)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        run_without_resolution(&rows[i], RESOLUTIONS_AT);
        run_without_resolution(&rows[i], LATER_AT);
    }
}

/* --- A record that cannot be read when its resolution is. */

static void
flip_header(struct spool_case *c)
{
    char name[SPOOL_SEGMENT_NAME_SIZE], octet;
    int fd = openat(c->dir_fd,
                    spool_segment_name((struct spool_segment_id){1, 1, RECORDS_AT}, name), O_RDWR);

    cr_assert(fd >= 0 && pread(fd, &octet, 1, 0) == 1);
    octet = (char)~octet;
    cr_assert_eq(pwrite(fd, &octet, 1, 0), 1);
    close(fd);
}

Test(spool_resolve, P2_a_resolution_waits_for_a_record_that_cannot_be_read_yet)
{
    struct spool_case c;

    begin_case(&c, LATER_AT);
    write_record(&c, 1, PREPARED, MIXED);
    say(&c, 1, SPOOL_RESOLUTION_CANCEL, 0);
    seal_all(&c, LATER_AT);
    flip_header(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    cr_expect_eq(segments_there(&c), 2);
    flip_header(&c);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    see(&c, &rows[2], "its segment is back");
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    cr_expect_eq(segments_there(&c), 0);
    end_case(&c);
}

Test(spool_resolve, a_resolution_whose_record_has_gone_keeps_nothing)
{
    struct spool_case c;

    begin_case(&c, LATER_AT);
    say(&c, 1, SPOOL_RESOLUTION_CANCEL, 0);
    seal_all(&c, LATER_AT);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    cr_expect_eq(segments_there(&c), 0);
    end_case(&c);
}

/* --- Writers. */

static bool lives;

static bool
is_writing(void *ctx, struct spool_segment_id segment, uint32_t process)
{
    (void)ctx;
    cr_expect_eq(segment.epoch, 1);
    cr_expect_eq(process, PROCESS);
    return lives;
}

static void
expect_state(struct spool_case *c, enum spool_writer_state want, const char *when)
{
    struct spool_message *m = spool_store_find(c->store, ref_of(1));

    cr_assert_eq(spool_store_refresh(c->store, NULL, NULL), 0);
    cr_assert_not_null(m);
    cr_expect_eq(spool_store_writer_state(c->store, m), want, "%s", when);
}

Test(spool_resolve, P2_a_writer_is_done_when_all_that_it_wrote_has_been_sealed_and_read)
{
    struct spool_case c;

    begin_case(&c, LATER_AT);
    write_record(&c, 1, PREPARED, MIXED);
    say(&c, 2, SPOOL_RESOLUTION_CANCEL, 0);
    open_store(&c, SPOOL_STORE_OWNER);
    spool_store_ask_writing(c.store, is_writing, NULL);
    lives = true;
    expect_state(&c, SPOOL_WRITER_LIVES, "it lives");
    cr_expect(spool_store_writer_is_read(c.store, spool_store_find(c.store, ref_of(1))));
    seal(&c, &c.records, RECORDS_AT);
    expect_state(&c, SPOOL_WRITER_LIVES, "it lives, and the record's segment is full");
    lives = false;
    expect_state(&c, SPOOL_WRITER_UNREAD, "the resolution may stand in the other one");
    cr_expect_not(spool_store_writer_is_read(c.store, spool_store_find(c.store, ref_of(1))));
    seal(&c, &c.resolutions, LATER_AT);
    expect_state(&c, SPOOL_WRITER_DONE, "nothing more can come");
    end_case(&c);
}

Test(spool_resolve, a_prepared_record_without_a_word_counts_for_ours)
{
    struct spool_case c;
    struct spool_message *m;

    begin_case(&c, LATER_AT);
    write_record(&c, 1, PREPARED, MIXED);
    open_store(&c, SPOOL_STORE_OWNER);
    spool_store_confirm(c.store, spool_store_find(c.store, ref_of(1)), 7000);
    say(&c, 1, SPOOL_RESOLUTION_CANCEL, 0);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    cr_assert_eq(spool_store_sync(c.store), 0);
    open_store(&c, SPOOL_STORE_READ);
    m = spool_store_find(c.store, ref_of(1));
    cr_expect_not(m->prepared);
    cr_expect_eq(m->open_count, 1, "and what comes behind it changes nothing");
    cr_expect_eq(spool_message_end(m, 0), SPOOL_END_NONE);
    cr_expect_eq(spool_message_end(m, 1), SPOOL_END_CANCELLED);
    end_case(&c);
}

static unsigned resolved;

static void
on_resolved(void *ctx, struct spool_message *m, const struct spool_resolution *r)
{
    (void)ctx;
    cr_expect(ref_equal(m->ref, r->ref));
    cr_expect_eq(r->kind, SPOOL_RESOLUTION_CONFIRM);
    resolved++;
}

Test(spool_resolve, who_asks_is_told_once)
{
    struct spool_case c;

    begin_case(&c, LATER_AT);
    write_record(&c, 1, PREPARED, MIXED);
    open_store(&c, SPOOL_STORE_OWNER);
    spool_store_on_resolved(c.store, on_resolved, NULL);
    say(&c, 1, SPOOL_RESOLUTION_CONFIRM, 0);
    say(&c, 1, SPOOL_RESOLUTION_CONFIRM, 0);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    cr_expect_eq(resolved, 1);
    end_case(&c);
}
