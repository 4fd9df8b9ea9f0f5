/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: what the store says after a restart is what it said before; no message comes back after its
 * end was synced, and none goes before.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "spool/spool_format.h"
#include "spool/spool_ledger.h"
#include "spool/spool_store.h"
#include "spool_fixture.h"

struct spool_case {
    int dir_fd;
    struct spool_parent parent;
    struct spool_store *store;
};

static void
open_store(struct spool_case *c, enum spool_store_mode mode)
{
    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, mode, &c->store), 0);
}

static void
reopen(struct spool_case *c, enum spool_store_mode mode)
{
    spool_store_close(&c->store);
    open_store(c, mode);
}

static void
write_envelope(struct spool_case *c, const struct spool_envelope *envelope)
{
    char *body = spool_fixture_body(envelope->ref.number, 500);
    struct spool_outcome outcome = {0};
    struct spool_commit *commit = spool_commit_start(
        c->parent.writer, envelope, &(struct iovec){.iov_base = body, .iov_len = 500}, 1,
        spool_fixture_on_done, &outcome);

    (void)commit;
    cr_assert(spool_parent_turn_until(&c->parent, &outcome.done));
    cr_assert_eq(outcome.rc, 0);
    free(body);
}

static void
write_message(struct spool_case *c, uint64_t number)
{
    struct spool_envelope envelope = spool_fixture_envelope(number);

    envelope.received_at_ms = (int64_t)number * 1000;
    envelope.expires_at_ms = 1000000;
    write_envelope(c, &envelope);
}

/* The writer ends, and all that it has written is sealed. */
static void
end_writer(struct spool_case *c)
{
    for (uint32_t number = 0; number < c->parent.next_number; number++)
        (void)!spool_segment_seal(&spool_io_disk, c->dir_fd,
                                  (struct spool_segment_id){1, c->parent.epoch, number});
}

static void
begin_case(struct spool_case *c, unsigned messages)
{
    *c = (struct spool_case){.dir_fd = spool_fixture_dir()};
    spool_parent_begin(&c->parent, &spool_io_disk, c->dir_fd);
    for (unsigned i = 1; i <= messages; i++)
        write_message(c, i);
}

static void
seal_all(struct spool_case *c)
{
    spool_parent_end(&c->parent);
    end_writer(c);
}

static void
end_case(struct spool_case *c)
{
    spool_store_close(&c->store);
    spool_fixture_clean(c->dir_fd);
}

static struct spool_message *
message(struct spool_case *c, uint64_t number)
{
    return spool_store_find(c->store, spool_fixture_envelope(number).ref);
}

static void
end_message(struct spool_case *c, uint64_t number)
{
    struct spool_message *m = message(c, number);

    for (unsigned i = 0; i < m->recipient_count; i++)
        spool_store_ended(c->store, m, i, SPOOL_END_DELIVERED, 5000, "250 2.0.0 ok");
}

static unsigned new_count;

static void
on_new(void *ctx, struct spool_message *m)
{
    (void)ctx;
    (void)m;
    new_count++;
}

Test(spool_store, P1_reads_what_was_committed_and_what_comes_later)
{
    struct spool_case c;
    struct spool_message *m = NULL;
    char body[600];
    char *want = spool_fixture_body(2, 500);

    begin_case(&c, 2);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_eq(spool_store_open_count(c.store), 2);
    write_message(&c, 3);
    cr_assert_eq(spool_store_refresh(c.store, on_new, NULL), 0);
    cr_assert_eq(new_count, 1);
    cr_assert_eq(spool_store_refresh(c.store, on_new, NULL), 0);
    cr_assert_eq(new_count, 1);
    for (unsigned n = 1; n <= 3; n++) {
        m = spool_store_next(c.store, m);
        cr_assert_not_null(m);
        cr_expect_eq(m->ref.number, n, "in order of arrival");
    }
    cr_assert_null(spool_store_next(c.store, m));
    m = message(&c, 2);
    cr_assert_eq(spool_store_read_body(c.store, m, 0, body, sizeof body), 500);
    cr_assert_eq(memcmp(body, want, 500), 0);
    cr_assert_eq(spool_store_read_body(c.store, m, 500, body, sizeof body), 0);
    cr_assert_eq(spool_store_verify_body(c.store, m), 0);
    free(want);
    seal_all(&c);
    end_case(&c);
}

/* --- Outcomes: what is done, and what must be seen after a restart. */

static void
do_offered(struct spool_case *c, struct spool_message *m)
{
    spool_store_offered(c->store, m);
}

static void
see_offered(const struct spool_message *m)
{
    cr_expect(m->offered);
    cr_expect_eq(m->open_count, 1);
}

static void
do_attempt(struct spool_case *c, struct spool_message *m)
{
    spool_store_offered(c->store, m);
    spool_store_attempt(c->store, m, 7000, 8000, false, "451 4.2.0 later");
    spool_store_attempt(c->store, m, 9000, 9500, true, "lost");
}

static void
see_attempt(const struct spool_message *m)
{
    cr_expect_not(m->offered);
    cr_expect_eq(spool_message_attempts(m), 2);
    cr_expect_eq(spool_message_unknowns(m), 1);
    cr_expect_eq(spool_message_last_attempt_at_ms(m), 9000);
    cr_expect_eq(spool_message_next_attempt_at_ms(m), 9500);
    cr_expect_str_eq(spool_message_last_reply(m), "lost");
    cr_expect_str_eq(spool_message_reply(m, 0), "lost");
}

static void
do_ended(struct spool_case *c, struct spool_message *m)
{
    spool_store_ended(c->store, m, 0, SPOOL_END_REFUSED, 5000, "550 5.1.1 no");
}

static void
see_ended(const struct spool_message *m)
{
    cr_expect_eq(m->open_count, 0);
    cr_expect_eq(spool_message_end(m, 0), SPOOL_END_REFUSED);
    cr_expect_eq(spool_message_ended_at_ms(m, 0), 5000);
    cr_expect_str_eq(spool_message_reply(m, 0), "550 5.1.1 no");
}

static void
do_extend(struct spool_case *c, struct spool_message *m)
{
    spool_store_extend(c->store, m, 2000000);
}

static void
see_extend(const struct spool_message *m)
{
    cr_expect_eq(m->expires_at_ms, 2000000);
}

static void
do_hold(struct spool_case *c, struct spool_message *m)
{
    spool_store_hold(c->store, m, "as the customer asked");
}

static void
see_hold(const struct spool_message *m)
{
    cr_expect(m->held);
    cr_expect_str_eq(spool_message_hold_reason(m), "as the customer asked");
}

static void
do_release(struct spool_case *c, struct spool_message *m)
{
    spool_store_hold(c->store, m, "x");
    spool_store_hold(c->store, m, NULL);
}

static void
see_release(const struct spool_message *m)
{
    cr_expect_not(m->held);
    cr_expect_str_eq(spool_message_hold_reason(m), "");
}

static void
do_due(struct spool_case *c, struct spool_message *m)
{
    spool_store_attempt(c->store, m, 7000, 8000, false, "451 4.2.0 later");
    spool_store_due(c->store, m);
}

static void
see_due(const struct spool_message *m)
{
    cr_expect_eq(spool_message_attempts(m), 1);
    cr_expect_eq(spool_message_next_attempt_at_ms(m), 0);
}

static void
do_redirect(struct spool_case *c, struct spool_message *m)
{
    spool_store_redirect(c->store, m, 1);
    spool_store_redirect(c->store, m, 7);
}

static void
see_redirect(const struct spool_message *m)
{
    cr_expect_eq(spool_message_redirect(m), 7);
}

#define NOTES (SPOOL_NOTES_MAX + 3)

static void
do_notes(struct spool_case *c, struct spool_message *m)
{
    for (int i = 0; i < NOTES; i++)
        spool_store_note(c->store, m,
                         &(struct spool_note){.act = SPOOL_ACT_EXTEND,
                                              .at_ms = 100 + i,
                                              .who = "alice",
                                              .reason = "ticket",
                                              .detail = "until then"});
}

static void
see_note(void *ctx, const struct spool_note *note)
{
    int *n = ctx;

    cr_expect_eq(note->act, SPOOL_ACT_EXTEND);
    cr_expect_eq(note->at_ms, 100 + NOTES - SPOOL_NOTES_MAX + *n);
    cr_expect_str_eq(note->who, "alice");
    cr_expect_str_eq(note->reason, "ticket");
    cr_expect_str_eq(note->detail, "until then");
    ++*n;
}

static void
see_notes(const struct spool_message *m)
{
    int n = 0;

    spool_store_each_note(m, see_note, &n);
    cr_expect_eq(n, SPOOL_NOTES_MAX, "the newest are kept");
    cr_expect_eq(m->expires_at_ms, 1000000, "a note changes nothing");
}

static const struct {
    const char *name;
    void (*act)(struct spool_case *c, struct spool_message *m);
    void (*see)(const struct spool_message *m);
} outcomes[] = {
    {"offered", do_offered, see_offered},
    {"attempts", do_attempt, see_attempt},
    {"ended", do_ended, see_ended},
    {"extended", do_extend, see_extend},
    {"held", do_hold, see_hold},
    {"released", do_release, see_release},
    {"due", do_due, see_due},
    {"redirected", do_redirect, see_redirect},
    {"notes", do_notes, see_notes},
};

/* A sync of the ledger fails once; the next one then writes a whole new file. */
static bool fail_next_sync;

static int
fdatasync_that_fails_once(int fd)
{
    if (fail_next_sync) {
        fail_next_sync = false;
        return -1;
    }
    return spool_io_disk.fdatasync(fd);
}

static void
run_outcome(size_t i, bool through_checkpoint)
{
    struct spool_io io = spool_io_disk;
    struct spool_case c;

    begin_case(&c, 2);
    io.fdatasync = fdatasync_that_fails_once;
    cr_assert_eq(spool_store_open(&io, spool_fixture_path, SPOOL_STORE_OWNER, &c.store), 0);
    outcomes[i].act(&c, message(&c, 1));
    outcomes[i].see(message(&c, 1));
    fail_next_sync = through_checkpoint;
    cr_assert_eq(spool_store_sync(c.store), through_checkpoint ? ERR_IO : 0);
    cr_assert_eq(spool_store_sync(c.store), 0, "%s", outcomes[i].name);
    cr_assert_eq(spool_store_synced(c.store), spool_store_queued(c.store));
    reopen(&c, SPOOL_STORE_READ);
    outcomes[i].see(message(&c, 1));
    cr_expect_eq(spool_message_attempts(message(&c, 2)), 0);
    cr_expect_eq(message(&c, 2)->open_count, 1);
    seal_all(&c);
    end_case(&c);
}

Test(spool_store, P2_every_kind_of_outcome_survives_a_restart)
{
    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
        run_outcome(i, false);
}

Test(spool_store, P2_every_kind_of_outcome_survives_a_checkpoint)
{
    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
        run_outcome(i, true);
}

/* --- History. */

static void
add_to_story(void *story, const struct spool_event *e)
{
    static const char *const kinds[] = {"offered", "attempt", "end", "held", "note"};

    buf_printf(story, "%s", kinds[e->kind]);
    if (e->kind == SPOOL_EVENT_ATTEMPT)
        buf_printf(story, "#%u", e->attempt);
    if (e->kind == SPOOL_EVENT_END)
        buf_printf(story, " %u %s", e->recipient, spool_end_word(e->end));
    if (e->kind == SPOOL_EVENT_NOTE)
        buf_printf(story, " %d by %s", e->note.act, e->note.who);
    buf_printf(story, " at %lld: %s\n", (long long)e->at_ms, e->text);
}

Test(spool_store, P2_the_history_of_a_message_is_told_in_order)
{
    static const char told[] = "offered at 0: \n"
                               "attempt#1 at 7000: 451 later\n"
                               "held at 0: takes it and does not answer\n"
                               "note 2 by bob at 7500: looks odd\n"
                               "end 0 delivered at 9000: 250 ok\n";
    struct spool_case c;
    struct spool_message *m;
    struct buf story;

    begin_case(&c, 2);
    open_store(&c, SPOOL_STORE_OWNER);
    m = message(&c, 1);
    spool_store_offered(c.store, m);
    spool_store_attempt(c.store, m, 7000, 8000, false, "451 later");
    spool_store_hold(c.store, m, "takes it and does not answer");
    spool_store_attempt(c.store, message(&c, 2), 7100, 8000, false, "another's");
    spool_store_note(c.store, m,
                     &(struct spool_note){SPOOL_ACT_HOLD, 7500, "bob", "looks odd", ""});
    spool_store_hold(c.store, m, "looks odd");
    spool_store_ended(c.store, m, 0, SPOOL_END_DELIVERED, 9000, "250 ok");
    cr_assert_eq(spool_store_sync(c.store), 0);
    buf_init(&story, 0);
    cr_assert_eq(spool_store_history(c.store, m, add_to_story, &story), 0);
    cr_expect_str_eq(buf_text(&story), told);
    buf_fini(&story);
    seal_all(&c);
    end_case(&c);
}

Test(spool_store, P2_an_outcome_that_was_not_synced_is_not_there_after_a_restart)
{
    struct spool_case c;

    begin_case(&c, 1);
    open_store(&c, SPOOL_STORE_OWNER);
    end_message(&c, 1);
    cr_assert_eq(spool_store_open_count(c.store), 0);
    reopen(&c, SPOOL_STORE_READ);
    cr_assert_eq(spool_store_open_count(c.store), 1);
    seal_all(&c);
    end_case(&c);
}

static uint64_t
segments_there(struct spool_case *c)
{
    struct spool_store_stats stats;

    spool_store_get_stats(c->store, &stats);
    return stats.segments;
}

static unsigned forgotten;

static void
on_forget(void *ctx, struct spool_message *m)
{
    (void)ctx;
    (void)m;
    forgotten++;
}

Test(spool_store, P2_a_segment_goes_only_when_every_end_was_synced)
{
    struct spool_case c;

    begin_case(&c, 3);
    seal_all(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    end_message(&c, 1);
    end_message(&c, 2);
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, on_forget, NULL), 0);
    cr_assert_eq(forgotten, 0, "one is still open");
    end_message(&c, 3);
    cr_assert_eq(spool_store_clean(c.store, on_forget, NULL), 0);
    cr_assert_eq(forgotten, 0, "its end is not synced");
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, on_forget, NULL), 0);
    cr_assert_eq(forgotten, 3);
    cr_assert_eq(segments_there(&c), 0);
    cr_assert_null(spool_store_next(c.store, NULL));
    reopen(&c, SPOOL_STORE_OWNER);
    cr_assert_eq(segments_there(&c), 0);
    end_case(&c);
}

static void
overwrite(struct spool_case *c, const char *name, off_t offset, const void *bytes, size_t n)
{
    int fd = openat(c->dir_fd, name, O_RDWR);

    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, n, offset), (ssize_t)n);
    close(fd);
}

Test(spool_store, P2_a_segment_with_damage_in_it_is_kept)
{
    struct spool_case c;
    struct spool_store_stats stats;
    struct spool_segment_id id;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    uint64_t offset;

    begin_case(&c, 3);
    open_store(&c, SPOOL_STORE_READ);
    offset = message(&c, 2)->record_offset;
    id = spool_message_segment(message(&c, 2));
    spool_store_close(&c.store);
    overwrite(&c, spool_segment_name(id, name), (off_t)offset + 20, "\xff\xff\xff\xff", 4);
    seal_all(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_expect_not_null(message(&c, 1));
    cr_expect_null(message(&c, 2));
    cr_expect_not_null(message(&c, 3), "a scan goes on behind damage");
    end_message(&c, 1);
    end_message(&c, 3);
    cr_assert_eq(spool_store_sync(c.store), 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    spool_store_get_stats(c.store, &stats);
    cr_expect_eq(stats.segments, 1);
    cr_expect_eq(stats.damaged_records, 1);
    end_case(&c);
}

Test(spool_store, a_reader_may_ask_for_one_customers_alone)
{
    struct spool_envelope other = spool_fixture_envelope(2);
    struct spool_case c;

    begin_case(&c, 1);
    other.customer = "beta";
    write_envelope(&c, &other);
    write_message(&c, 3);
    for (int sealed = 0; sealed < 2; sealed++) {
        cr_assert_eq(
            spool_store_open_customer(&spool_io_disk, spool_fixture_path, "beta", &c.store), 0);
        cr_expect_null(message(&c, 1));
        cr_expect_not_null(message(&c, 2));
        cr_expect_eq(spool_store_open_count(c.store), 1);
        cr_expect_eq(spool_store_next(c.store, NULL), message(&c, 2));
        spool_store_close(&c.store);
        if (!sealed)
            seal_all(&c);
    }
    end_case(&c);
}

/* --- What is not in memory. */

static void
see_envelope(struct spool_case *c, uint64_t number, const struct spool_envelope *want,
             const char *when)
{
    struct spool_message *m = message(c, number);
    struct spool_envelope got;
    struct arena arena;

    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    cr_assert_eq(spool_store_envelope(c->store, m, &arena, &got), 0, "%s", when);
    cr_expect(ref_equal(got.ref, want->ref), "%s", when);
    cr_expect_str_eq(got.reverse_path, want->reverse_path, "%s", when);
    cr_expect(slice_equal(got.prepend, want->prepend), "%s", when);
    cr_assert_eq(got.recipient_count, want->recipient_count, "%s", when);
    for (unsigned i = 0; i < got.recipient_count; i++) {
        cr_expect_str_eq(got.recipients[i].address, want->recipients[i].address, "%s", when);
        cr_expect_str_eq(spool_message_domain(m, i), want->recipients[i].domain, "%s", when);
        cr_expect_eq(spool_message_side(m, i), want->recipients[i].side, "%s", when);
    }
    arena_clear(&arena);
}

static void
see_body(struct spool_case *c, uint64_t number, const char *when)
{
    char *want = spool_fixture_body(number, 500), body[500];

    cr_assert_eq(spool_store_read_body(c->store, message(c, number), 0, body, sizeof body), 500,
                 "%s", when);
    cr_expect_eq(memcmp(body, want, sizeof body), 0, "%s", when);
    cr_expect_eq(spool_store_verify_body(c->store, message(c, number)), 0, "%s", when);
    free(want);
}

#define MANY 300 /* their addresses are longer than what is read at once */

static struct spool_envelope
crowded_envelope(uint64_t number, struct spool_recipient recipients[MANY])
{
    static char addresses[MANY][64], domains[3][32] = {"a.example", "b.example", "a.example"};
    struct spool_envelope e = spool_fixture_envelope(number);

    for (unsigned i = 0; i < MANY; i++) {
        snprintf(addresses[i], sizeof addresses[i], "recipient-number-%u@%s", i, domains[i % 3]);
        recipients[i] = (struct spool_recipient){.address = addresses[i],
                                                 .domain = domains[i % 3],
                                                 .side = i % 2 ? SPOOL_LIVE : SPOOL_OURS};
    }
    e.recipients = recipients;
    e.recipient_count = MANY;
    e.flags = SPOOL_FLAG_PREPARED;
    return e;
}

Test(spool_store, P1_an_envelope_is_read_when_it_is_needed)
{
    struct spool_recipient recipients[MANY];
    struct spool_envelope first = spool_fixture_envelope(1),
                          crowded = crowded_envelope(2, recipients),
                          third = spool_fixture_envelope(3);
    struct spool_case c;

    begin_case(&c, 1);
    write_envelope(&c, &crowded);
    write_message(&c, 3);
    open_store(&c, SPOOL_STORE_OWNER);
    for (int sealed = 0; sealed < 2; sealed++) {
        const char *when = sealed ? "sealed" : "growing";

        see_envelope(&c, 1, &first, when);
        see_envelope(&c, 2, &crowded, when);
        see_envelope(&c, 3, &third, when);
        see_envelope(&c, 3, &third, when);
        for (uint64_t number = 1; number <= 3; number++)
            see_body(&c, number, when);
        if (!sealed)
            seal_all(&c);
        reopen(&c, SPOOL_STORE_OWNER);
    }
    end_case(&c);
}

Test(spool_store, P2_a_record_that_went_bad_is_read_by_the_footer)
{
    struct spool_envelope first = spool_fixture_envelope(1);
    struct spool_segment_id id;
    struct spool_case c;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    off_t offset;

    begin_case(&c, 2);
    seal_all(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    id = spool_message_segment(message(&c, 1));
    offset = (off_t)message(&c, 1)->record_offset;
    overwrite(&c, spool_segment_name(id, name), offset + 90, "\xff\xff\xff\xff", 4);
    see_envelope(&c, 1, &first, "its envelope is damaged");
    see_body(&c, 1, "its envelope is damaged");
    reopen(&c, SPOOL_STORE_OWNER);
    overwrite(&c, name, offset + 20, "\xff\xff\xff\xff", 4);
    see_envelope(&c, 1, &first, "its header is damaged");
    see_body(&c, 1, "its header is damaged");
    end_case(&c);
}

Test(spool_store, P2_an_envelope_that_is_gone_is_said_to_be)
{
    struct spool_segment_id id;
    struct spool_envelope got;
    struct arena arena;
    struct spool_case c;
    char name[SPOOL_SEGMENT_NAME_SIZE];

    begin_case(&c, 1);
    open_store(&c, SPOOL_STORE_OWNER);
    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    id = spool_message_segment(message(&c, 1));
    overwrite(&c, spool_segment_name(id, name), (off_t)message(&c, 1)->record_offset + 90,
              "\xff\xff\xff\xff", 4);
    cr_expect_eq(spool_store_envelope(c.store, message(&c, 1), &arena, &got), ERR_CORRUPT);
    cr_expect_eq(spool_store_verify_body(c.store, message(&c, 1)), ERR_CORRUPT);
    cr_assert_eq(unlinkat(c.dir_fd, name, 0), 0);
    spool_store_close(&c.store);
    arena_clear(&arena);
    spool_parent_end(&c.parent);
    end_case(&c);
}

/* A segment cannot be read for a while, and a checkpoint is written meanwhile. */
Test(spool_store, P2_an_ended_message_does_not_come_back_with_its_segment)
{
    struct spool_io io = spool_io_disk;
    struct spool_case c;
    struct spool_segment_id id;
    char name[SPOOL_SEGMENT_NAME_SIZE], header[64];
    int fd;

    begin_case(&c, 2);
    seal_all(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    id = spool_message_segment(message(&c, 1));
    end_message(&c, 1);
    cr_assert_eq(spool_store_sync(c.store), 0);
    spool_store_close(&c.store);

    fd = openat(c.dir_fd, spool_segment_name(id, name), O_RDONLY);
    cr_assert_eq(pread(fd, header, sizeof header, 0), (ssize_t)sizeof header);
    close(fd);
    overwrite(&c, name, 0, "\0\0\0\0\0\0\0\0", 8);
    io.fdatasync = fdatasync_that_fails_once;
    cr_assert_eq(spool_store_open(&io, spool_fixture_path, SPOOL_STORE_OWNER, &c.store), 0);
    cr_assert_eq(spool_store_open_count(c.store), 0);
    spool_parent_begin(&c.parent, &spool_io_disk, c.dir_fd);
    write_message(&c, 9);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    spool_store_offered(c.store, message(&c, 9));
    fail_next_sync = true;
    cr_assert_eq(spool_store_sync(c.store), ERR_IO);
    cr_assert_eq(spool_store_sync(c.store), 0);
    spool_store_close(&c.store);

    overwrite(&c, name, 0, header, sizeof header);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_not_null(message(&c, 1));
    cr_expect_eq(message(&c, 1)->open_count, 0);
    cr_expect_eq(message(&c, 2)->open_count, 1);
    cr_expect(message(&c, 9)->offered);
    seal_all(&c);
    end_case(&c);
}

static void
do_one_job(struct spool_case *c, enum spool_work work)
{
    struct spool_job *job = spool_store_begin(c->store, work);

    cr_assert_not_null(job);
    spool_job_run(job);
    cr_assert_eq(spool_store_end(c->store, &job, NULL, NULL), 0);
}

static void
count_a_note(void *ctx, const struct spool_note *note)
{
    (void)note;
    ++*(unsigned *)ctx;
}

/* What the ledger says of it has been written into the checkpoint when its segment is read again.
 */
Test(spool_store, P2_a_message_that_comes_back_during_a_checkpoint_is_as_it_was_left)
{
    const struct spool_note note = {.act = SPOOL_ACT_HOLD, .at_ms = 5, .who = "ann"};
    char name[SPOOL_SEGMENT_NAME_SIZE], header[64];
    struct spool_case c;
    unsigned notes = 0;
    int fd;

    begin_case(&c, 2);
    seal_all(&c);
    open_store(&c, SPOOL_STORE_OWNER);
    spool_segment_name(spool_message_segment(message(&c, 1)), name);
    spool_store_hold(c.store, message(&c, 1), "for the test");
    spool_store_note(c.store, message(&c, 1), &note);
    cr_assert_eq(spool_store_sync(c.store), 0);
    spool_store_close(&c.store);
    fd = openat(c.dir_fd, name, O_RDONLY);
    cr_assert_eq(pread(fd, header, sizeof header, 0), (ssize_t)sizeof header);
    close(fd);

    overwrite(&c, name, 0, "\0\0\0\0\0\0\0\0", 8);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_assert_null(message(&c, 1));
    spool_parent_begin(&c.parent, &spool_io_disk, c.dir_fd);
    write_message(&c, 9);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    spool_store_set_checkpoint_bytes(c.store, 0);
    spool_store_set_checkpoint_slice(c.store, 1);
    do_one_job(&c, SPOOL_WORK_CLEAN);
    cr_assert(spool_store_is_checkpointing(c.store));
    overwrite(&c, name, 0, header, sizeof header);
    cr_assert_eq(spool_store_refresh(c.store, NULL, NULL), 0);
    cr_assert(message(&c, 1)->held);
    spool_store_hold(c.store, message(&c, 1), NULL);
    do_one_job(&c, SPOOL_WORK_SYNC);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    cr_assert_not(spool_store_is_checkpointing(c.store));
    reopen(&c, SPOOL_STORE_OWNER);
    cr_expect_not(message(&c, 1)->held);
    spool_store_each_note(message(&c, 1), count_a_note, &notes);
    cr_expect_eq(notes, 1);
    seal_all(&c);
    end_case(&c);
}

/* Through the segment alone, the ledger, and a checkpoint of it. */
Test(spool_store, P2_a_record_may_begin_as_held_and_stays_released)
{
    struct spool_envelope envelope;
    struct spool_case c;

    begin_case(&c, 0);
    envelope = spool_fixture_envelope(1);
    envelope.flags = SPOOL_FLAG_HELD;
    envelope.reason = "clamav: a virus";
    write_envelope(&c, &envelope);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_expect(message(&c, 1)->held);
    cr_expect_str_eq(spool_message_hold_reason(message(&c, 1)), "clamav: a virus");
    spool_store_set_checkpoint_bytes(c.store, 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    reopen(&c, SPOOL_STORE_OWNER);
    cr_expect(message(&c, 1)->held);
    spool_store_hold(c.store, message(&c, 1), NULL);
    cr_assert_eq(spool_store_sync(c.store), 0);
    reopen(&c, SPOOL_STORE_OWNER);
    cr_expect_not(message(&c, 1)->held, "the ledger has the last word");
    spool_store_set_checkpoint_bytes(c.store, 0);
    cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
    reopen(&c, SPOOL_STORE_OWNER);
    cr_expect_not(message(&c, 1)->held, "and so has its checkpoint");
    cr_expect_str_eq(spool_message_hold_reason(message(&c, 1)), "");
    seal_all(&c);
    end_case(&c);
}

Test(spool_store, a_prepared_record_waits_until_it_is_confirmed)
{
    static struct spool_recipient recipients[] = {
        {.address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
        {.address = "ron@acme.example", .domain = "acme.example", .side = SPOOL_LIVE},
    };
    struct spool_envelope envelope = spool_fixture_envelope(1);
    struct spool_case c;

    begin_case(&c, 0);
    envelope.flags = SPOOL_FLAG_PREPARED;
    envelope.recipients = recipients;
    envelope.recipient_count = 2;
    write_envelope(&c, &envelope);
    open_store(&c, SPOOL_STORE_OWNER);
    cr_expect(message(&c, 1)->prepared);
    cr_expect_eq(message(&c, 1)->open_count, 2);
    spool_store_confirm(c.store, message(&c, 1), 1);
    cr_assert_eq(spool_store_sync(c.store), 0);
    reopen(&c, SPOOL_STORE_READ);
    cr_expect_not(message(&c, 1)->prepared);
    cr_expect_eq(message(&c, 1)->open_count, 1);
    cr_expect_eq(spool_message_end(message(&c, 1), 0), SPOOL_END_NONE);
    cr_expect_eq(spool_message_end(message(&c, 1), 1), SPOOL_END_CANCELLED);
    seal_all(&c);
    end_case(&c);
}

/* --- A ledger that has suffered. */

static void
on_ledger_name(void *ctx, const char *name)
{
    const struct spool_case *c = ctx;

    if (strncmp(name, "ledger-", 7) == 0)
        cr_assert_eq(unlinkat(c->dir_fd, name, 0), 0);
}

static void
lose_ledger(struct spool_case *c)
{
    cr_assert_eq(spool_io_each_name(&spool_io_disk, c->dir_fd, on_ledger_name, c), 0);
}

static void
invert_first_entry(struct spool_case *c)
{
    int fd = openat(c->dir_fd, "ledger-00000001", O_RDWR);
    off_t at = SPOOL_LEDGER_HEADER_BYTES + 8; /* in the mark of the checkpoint's end */
    char octet;

    cr_assert_eq(pread(fd, &octet, 1, at), 1);
    octet = (char)~octet;
    cr_assert_eq(pwrite(fd, &octet, 1, at), 1);
    close(fd);
}

static void
leave_ledger(struct spool_case *c)
{
    (void)c;
}

static const struct {
    const char *name;
    unsigned messages;
    void (*deed)(struct spool_case *c);
    const char *why; /* NULL: nothing is missing */
} losses[] = {
    {"whole", 2, leave_ledger, NULL},
    {"no ledger, and messages", 2, lose_ledger, "the ledger is missing"},
    {"no ledger, and no message", 0, lose_ledger, NULL},
    {"damaged", 2, invert_first_entry, "the ledger is damaged"},
};

static void
expect_missing(struct spool_case *c, const char *why, const char *name)
{
    const char *found = spool_store_outcomes_missing(c->store);

    cr_expect((why == NULL) == (found == NULL), "%s: %s", name, found ? found : "nothing");
    if (why != NULL && found != NULL)
        cr_expect_str_eq(found, why, "%s", name);
}

Test(spool_store, P2_says_that_outcomes_may_be_missing_until_the_ledger_is_whole_again)
{
    for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
        struct spool_case c;

        begin_case(&c, losses[i].messages);
        seal_all(&c);
        open_store(&c, SPOOL_STORE_OWNER);
        if (losses[i].messages > 1) { /* two batches: a damaged place before them was synced */
            spool_store_extend(c.store, message(&c, 1), 2000000);
            cr_assert_eq(spool_store_sync(c.store), 0);
            spool_store_extend(c.store, message(&c, 2), 2000000);
            cr_assert_eq(spool_store_sync(c.store), 0);
        }
        spool_store_close(&c.store);
        losses[i].deed(&c);
        open_store(&c, SPOOL_STORE_OWNER);
        expect_missing(&c, losses[i].why, losses[i].name);
        cr_assert_eq(spool_store_clean(c.store, NULL, NULL), 0);
        reopen(&c, SPOOL_STORE_OWNER);
        expect_missing(&c, NULL, losses[i].name);
        end_case(&c);
    }
}

/* --- Forgeries. */

#define FORGERY_BYTES 4096

/* Copies of the record at `offset`, one behind the other, at every alignment. */
static void
copy_record(int fd, uint64_t offset, size_t n, char body[FORGERY_BYTES])
{
    memset(body, 'x', FORGERY_BYTES);
    for (size_t at = 0; at + n <= FORGERY_BYTES; at += n + 1)
        cr_assert_eq(spool_read_exactly(&spool_io_disk, fd, body + at, n, offset), 0);
}

/* Messages 1 and 3 are whole; 2 is a body that holds the first one's record, behind a torn header.
 */
static void
write_forgery(int dir_fd, struct spool_segment_id id)
{
    const struct spool_io *io = &spool_io_disk;
    uint64_t second, end = SPOOL_SEGMENT_HEADER_BYTES;
    uint8_t key[SIPHASH_KEY_SIZE], committed[8];
    char body[FORGERY_BYTES];
    int fd;

    cr_assert_eq(spool_segment_create(io, dir_fd, id, 64 * 1024, 0, &fd, key), 0);
    second = spool_fixture_write_record(io, fd, key, end, 1, SLICE("one"));
    copy_record(fd, end, (size_t)(second - end), body);
    end = spool_fixture_write_record(io, fd, key, second, 2, (struct slice){body, sizeof body});
    end = spool_fixture_write_record(io, fd, key, end, 3, SLICE("three"));
    memset(body, 0, 32);
    cr_assert_eq(spool_write_all(io, fd, body, 32, second), 0);
    store_u64(committed, end);
    cr_assert_eq(spool_write_all(io, fd, committed, 8, SPOOL_SEGMENT_COMMITTED_AT), 0);
    close(fd);
}

static void
expect_one_and_three(enum spool_store_mode mode, const char *when)
{
    struct spool_store_stats stats;
    struct spool_message *m = NULL;
    struct spool_store *store;
    uint64_t numbers = 0;

    cr_assert_eq(spool_store_open(&spool_io_disk, spool_fixture_path, mode, &store), 0);
    spool_store_get_stats(store, &stats);
    cr_expect_eq(spool_store_open_count(store), 2, "%s", when);
    cr_expect_eq(stats.damaged_records, 1, "%s", when);
    while ((m = spool_store_next(store, m)) != NULL)
        numbers = numbers * 10 + m->ref.number;
    cr_expect(numbers == 13 || numbers == 31, "%s: %u", when, (unsigned)numbers);
    spool_store_close(&store);
}

/* By a look with all daemons down (fsck, relayctl), by a start, and by one behind the sealing. */
Test(spool_store, P7_a_record_forged_behind_a_torn_header_is_found_by_nobody)
{
    static const struct spool_segment_id id = {1, 1, 1};
    int dir_fd = spool_fixture_dir();

    write_forgery(dir_fd, id);
    expect_one_and_three(SPOOL_STORE_READ, "read");
    expect_one_and_three(SPOOL_STORE_OWNER, "a start");
    cr_assert_eq(spool_segment_seal(&spool_io_disk, dir_fd, id), 0);
    expect_one_and_three(SPOOL_STORE_READ, "read, sealed");
    expect_one_and_three(SPOOL_STORE_OWNER, "a start, sealed");
    spool_fixture_clean(dir_fd);
}
