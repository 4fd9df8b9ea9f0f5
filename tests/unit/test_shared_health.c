/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What leads from one state of a backend's health to another: each case is a story in letters, one
 * for each thing that happens, and the state at its end.  Whether nobody asks a dead backend is in
 * test_shared_table.c.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "state/shared_health_words.h"
#include "state/shared_snapshot.h"
#include "tests/unit/shared_fixture.h"

#define NOW 1795000000000
#define MIN_MS 30000
#define MAX_MS 300000
#define PROCESSES 6
#define VERDICTS_20 "aaaaaaaaaaaaaaaaaaaa"
#define UNKNOWN_19 "uuuuuuuuuuuuuuuuuuu"
#define REFUSING "fs123"
#define GOOD "mpg"

TestSuite(shared_health, .init = open_table, .fini = close_table);

static const struct inet_endpoint backend = {.family = 4, .port = 25, .addr = {10, 0, 0, 1}};
static int64_t now = NOW;

/* f fails   s answers EHLO   a accepts   u refuses an unknown one   1-9 refuses a known one
 * p its probe is claimed    g, b the claimed probe is good, bad     r released
 * m five minutes pass       n four minutes      d a day       x y z a message's transaction breaks
 * k one comes to its end
 * Returns what the last letter's call said: that it has changed the state. */
static bool
happen(char letter)
{
    switch (letter) {
    case 'f':
        return shared_health_failed(table, &backend, SHARED_REASON_CONNECT, now, MIN_MS, MAX_MS);
    case 's':
        return shared_health_succeeded(table, &backend, now);
    case 'a':
        return shared_health_verdict(table, &backend, SHARED_VERDICT_ACCEPTED, 0, now, MIN_MS);
    case 'u':
        return shared_health_verdict(table, &backend, SHARED_VERDICT_REFUSED, 0, now, MIN_MS);
    case 'p':
        return shared_health_may_probe(table, &backend, now);
    case 'g':
    case 'b':
        return shared_health_probed(table, &backend, letter == 'g', now, MIN_MS, MAX_MS);
    case 'r':
        return shared_health_release(table, &backend, now);
    case 'm':
    case 'n':
    case 'd':
        now += letter == 'm' ? 300000 : letter == 'n' ? 240000 : 86400000;
        return false;
    case 'x':
    case 'y':
    case 'z':
        return shared_health_broke(table, &backend, (uint64_t)letter, now, MIN_MS, MAX_MS);
    case 'k':
        shared_health_completed(table, &backend);
        return false;
    default:
        return shared_health_verdict(
            table, &backend, SHARED_VERDICT_REFUSED_KNOWN,
            shared_recipient_hash(table, 1, (char[]){letter, '@', 'a', '\0'}), now, MIN_MS);
    }
}

static bool
tell(const char *story)
{
    bool changed = false;

    for (; *story; story++)
        changed = happen(*story);
    return changed;
}

static struct shared_health
health(void)
{
    struct shared_health h = {.state = SHARED_HEALTH_UNKNOWN};

    if (shared_health_get(table, &backend, &h) != ERR_OK)
        h.state = SHARED_HEALTH_UNKNOWN;
    return h;
}

static const char *
shown(void)
{
    struct shared_health h = health();

    return shared_health_shown(&h, now);
}

static const struct {
    const char *name, *story;
    enum shared_health_state state;
    bool changed; /* by the last letter */
} stories[] = {
    {"nothing has happened", "", SHARED_HEALTH_UNKNOWN, false},
    {"verdicts on one that nothing is known of", "a1u", SHARED_HEALTH_UNKNOWN, false},
    {"first contact", "s", SHARED_HEALTH_UP, false},
    {"first contact fails", "f", SHARED_HEALTH_DOWN, true},
    {"up fails", "sf", SHARED_HEALTH_DOWN, true},
    {"down fails", "fpf", SHARED_HEALTH_DOWN, false},
    {"back", "fs", SHARED_HEALTH_RECOVERING, true},
    {"back, by many at once", "fss", SHARED_HEALTH_RECOVERING, false},
    {"up is not judged", "s123456", SHARED_HEALTH_UP, false},
    {"down is not judged", "f123456", SHARED_HEALTH_DOWN, false},
    {"nineteen verdicts", "fsaaaaaaaaaaaaaaaaaaa", SHARED_HEALTH_RECOVERING, false},
    {"twenty verdicts", "fs" VERDICTS_20, SHARED_HEALTH_UP, true},
    {"twenty, most of unknown ones", "fs" UNKNOWN_19 "a", SHARED_HEALTH_UP, true},
    {"twenty, none of them good", "fs" UNKNOWN_19 "uuu", SHARED_HEALTH_RECOVERING, false},
    {"a good one behind them", "fs" UNKNOWN_19 "uuua", SHARED_HEALTH_UP, true},
    {"none good for a day", "fs" UNKNOWN_19 "uudu", SHARED_HEALTH_UP, true},
    {"one mailbox has gone", "fs1111111111", SHARED_HEALTH_RECOVERING, false},
    {"two mailboxes have gone", "fs121212121212", SHARED_HEALTH_RECOVERING, false},
    {"two, then the first again", "fs1221", SHARED_HEALTH_RECOVERING, false},
    {"three mailboxes", "fs123", SHARED_HEALTH_REFUSING, true},
    {"three, one twice", "fs1123", SHARED_HEALTH_REFUSING, true},
    {"three among unknown ones", "fsu1u2u3", SHARED_HEALTH_REFUSING, true},
    {"three, as many accepted", "fsaaa123", SHARED_HEALTH_RECOVERING, false},
    {"three, then more refused", "fsaaa1234", SHARED_HEALTH_REFUSING, true},
    {"three while most are accepted", "fsa1a2a3" VERDICTS_20, SHARED_HEALTH_UP, false},
    {"recovering fails", "fsf", SHARED_HEALTH_DOWN, true},
    {"what was refused before an outage is forgotten", "fs12fs3", SHARED_HEALTH_RECOVERING, false},
    {"refusing answers EHLO", REFUSING "s", SHARED_HEALTH_REFUSING, false},
    {"refusing is not judged", REFUSING VERDICTS_20 "a", SHARED_HEALTH_REFUSING, false},
    {"refusing fails", REFUSING "mpf", SHARED_HEALTH_REFUSING, false},
    {"refusing, transactions break", REFUSING "xyz", SHARED_HEALTH_REFUSING, false},
    {"two good probes", REFUSING GOOD GOOD, SHARED_HEALTH_REFUSING, false},
    {"three good probes", REFUSING GOOD GOOD GOOD, SHARED_HEALTH_RECOVERING, true},
    {"three good probes that nobody has claimed", REFUSING "mgmgmg", SHARED_HEALTH_REFUSING, false},
    {"a bad one between", REFUSING GOOD GOOD "mpb" GOOD, SHARED_HEALTH_REFUSING, false},
    {"no connection between", REFUSING GOOD GOOD "mpf" GOOD, SHARED_HEALTH_REFUSING, false},
    {"three behind a bad one", REFUSING GOOD "mpb" GOOD GOOD GOOD, SHARED_HEALTH_RECOVERING, true},
    {"it refuses again", REFUSING GOOD GOOD GOOD "456", SHARED_HEALTH_REFUSING, true},
    {"it is good again", REFUSING GOOD GOOD GOOD VERDICTS_20, SHARED_HEALTH_UP, true},
    {"released", REFUSING "r", SHARED_HEALTH_RECOVERING, true},
    {"released and still refusing", REFUSING "r123", SHARED_HEALTH_REFUSING, true},
    {"released, which needs nothing", "sr", SHARED_HEALTH_UP, false},
    {"down is not released", "fr", SHARED_HEALTH_DOWN, false},
    {"nothing known is not released", "r", SHARED_HEALTH_UNKNOWN, false},
    {"two messages break", "sxyxy", SHARED_HEALTH_UP, false},
    {"one message breaks again and again", "sxxxxxxxx", SHARED_HEALTH_UP, false},
    {"three messages break", "sxyz", SHARED_HEALTH_DOWN, true},
    {"three, one twice", "sxyxz", SHARED_HEALTH_DOWN, true},
    {"one comes to its end between", "sxykz", SHARED_HEALTH_UP, false},
    {"three behind that", "sxykxyz", SHARED_HEALTH_DOWN, true},
    {"three break before anything is known", "xyz", SHARED_HEALTH_DOWN, true},
    {"what broke before an outage is forgotten", "xyfsz", SHARED_HEALTH_RECOVERING, false},
};

Test(shared_health, every_story_has_its_end)
{
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        bool changed;

        shared_table_detach(&table);
        cr_assert_eq(unlink(path), 0);
        cr_assert_eq(shared_table_create(path, 7, &table), ERR_OK);
        now = NOW;
        changed = tell(stories[i].story);
        cr_expect_eq(health().state, stories[i].state, "%s: %s", stories[i].name,
                     shared_health_word(health().state));
        cr_expect_eq(changed, stories[i].changed, "%s", stories[i].name);
        cr_expect_eq(shared_health_state_of(table, &backend, now), stories[i].state, "%s",
                     stories[i].name);
    }
}

Test(shared_health, P10_one_that_refuses_is_probed_by_one_at_a_time)
{
    tell(REFUSING);
    cr_expect_eq(shared_health_ask(table, &backend, now), SHARED_HEALTH_LEAVE);
    cr_expect_not(happen('p'), "not before its moment");
    now = health().next_probe_at_ms;
    cr_expect_eq(shared_health_ask(table, &backend, now), SHARED_HEALTH_LEAVE,
                 "a session's own message is no probe");
    cr_expect(happen('p'));
    cr_expect_not(happen('p'), "one at a time");
    cr_expect(health().is_probing);
    happen('b');
    cr_expect(health().failures == 2 && health().next_probe_at_ms > now + MIN_MS);
    now = health().next_probe_at_ms;
    cr_expect(happen('p'));
    now += SHARED_PROBE_LEASE_MS;
    cr_expect(happen('p'), "a prober that died is replaced");
    happen('g');
    cr_expect_eq(health().next_probe_at_ms, now + SHARED_GOOD_PROBES_APART_MS);
    cr_expect_eq(health().good_probes, 1);
}

Test(shared_health, good_probes_too_close_are_one)
{
    tell(REFUSING "mpg");
    for (int i = 0; i < 5; i++) {
        now += 30000;
        shared_health_probe_now(table, &backend, now);
        tell("pg");
    }
    cr_expect_eq(health().good_probes, 1);
    cr_expect_eq(health().state, SHARED_HEALTH_REFUSING);
    shared_health_set_good_apart(table, 1000);
    for (int i = 0; i < 2; i++) {
        now += 2000;
        shared_health_probe_now(table, &backend, now);
        tell("pg");
    }
    cr_expect_eq(health().state, SHARED_HEALTH_RECOVERING);
}

Test(shared_health, a_day_is_over_for_who_looks)
{
    tell("fs");
    cr_expect_str_eq(shown(), "recovering");
    happen('d');
    cr_expect_eq(shared_health_state_of(table, &backend, now), SHARED_HEALTH_UP);
    cr_expect_str_eq(shown(), "up");
    tell("123");
    cr_expect_eq(health().state, SHARED_HEALTH_UP, "nobody is refused a day late");
}

Test(shared_health, probing_is_shown_while_it_lasts)
{
    struct shared_health h;

    tell("fmp");
    h = health();
    cr_expect_str_eq(shared_health_shown(&h, now), "probing");
    cr_expect_str_eq(shared_health_shown(&h, h.next_probe_at_ms), "down", "the prober is dead");
    happen('f');
    h = health();
    cr_expect_str_eq(shared_health_shown(&h, now), "down");
}

Test(shared_health, the_reason_is_told)
{
    tell("fs123");
    cr_expect_eq(health().reason, SHARED_REASON_REFUSES);
    cr_expect(health().refused == 3 && health().verdicts == 3 && health().since_ms == now);
    tell("r");
    cr_expect(health().reason == SHARED_REASON_NONE && health().verdicts == 0);
    tell("xyz");
    cr_expect_eq(health().reason, SHARED_REASON_BROKEN);
}

Test(shared_health, what_an_evicted_endpoint_left_says_nothing)
{
    struct shared_health_entry *entry;
    uint64_t key = shared_endpoint_key(table, &backend);

    tell("sx");
    entry = shared_health_find(table, key);
    for (size_t i = 0; i < 3; i++) {
        atomic_store(&entry->broken[i], shared_value_word(~key, 5));
        atomic_store(&entry->refused[i], shared_value_word(~key, 5));
    }
    cr_expect_not(tell("xy"));
    cr_expect(happen('z'));
    tell("s");
    atomic_store(&entry->tally, shared_value_word(~key, 0xffffff));
    cr_expect_not(tell("12"));
    cr_expect(happen('3'));
}

Test(shared_health, the_name_that_led_to_it_is_known)
{
    uint64_t name = shared_name_hash(table, "mx.acme.example"), none = shared_name_hash(table, "");

    tell("f");
    cr_expect_eq(health().name_hash, 0);
    shared_health_found_as(table, &backend, "", now);
    cr_expect(name != none && name != 0 && none != 0 && health().name_hash == none);
    shared_health_found_as(table, &backend, "mx.acme.example", now);
    cr_expect_eq(health().name_hash, name);
    shared_health_found_as(table, &backend, "", now);
    cr_expect_eq(health().name_hash, name, "an address is found without");
    tell("sfxyz");
    cr_expect_eq(health().name_hash, name, "whatever happens to it");
    cr_expect(health().endpoint.port == backend.port);
    shared_health_found_as(table, &backend, "mx.globex.example", now);
    cr_expect_eq(health().name_hash, shared_name_hash(table, "mx.globex.example"));
}

Test(shared_health, an_endpoint_that_is_about_to_be_asked_has_no_health_yet)
{
    struct shared_health h;

    shared_health_found_as(table, &backend, "mx.acme.example", now);
    cr_expect_eq(shared_health_get(table, &backend, &h), ERR_NOT_FOUND);
    cr_expect_eq(shared_health_ask(table, &backend, now), SHARED_HEALTH_ASK);
    tell("f");
    cr_expect_eq(health().name_hash, shared_name_hash(table, "mx.acme.example"));
}

/* --- Snapshot. */

static void
reboot(const char *snapshot)
{
    struct shared_snapshot_summary summary;

    cr_assert_eq(shared_snapshot_write(table, snapshot, now), ERR_OK);
    shared_table_detach(&table);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(shared_table_create(path, 8, &table), ERR_OK);
    cr_assert_eq(shared_snapshot_restore(table, snapshot, now, &summary), ERR_OK);
    cr_assert_eq(unlink(snapshot), 0);
}

Test(shared_health, refusing_and_recovering_survive_a_reboot)
{
    char snapshot[160];

    snprintf(snapshot, sizeof snapshot, "%s.snapshot", path);
    tell("fs1a2");
    reboot(snapshot);
    cr_expect(health().state == SHARED_HEALTH_RECOVERING && health().verdicts == 3 &&
              health().accepted == 1 && health().refused == 2);
    cr_expect_not(happen('2'), "the same one");
    cr_expect(happen('3'), "the third");
    tell(GOOD GOOD);
    reboot(snapshot);
    cr_expect(health().state == SHARED_HEALTH_REFUSING && health().good_probes == 2 &&
              health().reason == SHARED_REASON_REFUSES);
    cr_expect_eq(shared_health_ask(table, &backend, now), SHARED_HEALTH_LEAVE);
    cr_expect(tell(GOOD), "its third good probe");
    cr_expect_eq(health().state, SHARED_HEALTH_RECOVERING);
}

/* --- Processes. */

static struct {
    _Atomic unsigned back, up, refusing, released, claims, down;
} * common;

static void
run_processes(void (*run)(unsigned number))
{
    pid_t pids[PROCESSES];
    int status;

    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(common, MAP_FAILED);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        cr_assert_geq(pids[i], 0);
        if (pids[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            run(i);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    }
}

static void
refuse_together(unsigned number)
{
    for (unsigned i = 0; i < 200; i++)
        if (happen((char)('1' + (number + i) % 9)))
            common->refusing++;
}

Test(shared_health, of_many_who_are_refused_one_says_so, .timeout = 60)
{
    tell("fs");
    run_processes(refuse_together);
    cr_expect_eq(health().state, SHARED_HEALTH_REFUSING);
    cr_expect_eq(common->refusing, 1, "%u", common->refusing);
}

static void
accept_together(unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < 200; i++)
        if (happen('a'))
            common->up++;
}

Test(shared_health, of_many_who_are_accepted_one_says_so, .timeout = 60)
{
    tell("fs");
    run_processes(accept_together);
    cr_expect_eq(health().state, SHARED_HEALTH_UP);
    cr_expect_eq(common->up, 1);
}

static void
claim_together(unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < 1000; i++)
        if (happen('p'))
            common->claims++;
}

Test(shared_health, P10_of_many_one_probes_what_refuses, .timeout = 60)
{
    tell(REFUSING "m");
    run_processes(claim_together);
    cr_expect_eq(common->claims, 1);
}

static void
break_together(unsigned number)
{
    for (unsigned i = 0; i < 500; i++)
        if (shared_health_broke(table, &backend, 1000 * number + i + 1, now, MIN_MS, MAX_MS))
            common->down++;
}

Test(shared_health, of_many_that_break_one_says_so, .timeout = 60)
{
    tell("s");
    run_processes(break_together);
    cr_expect_eq(health().state, SHARED_HEALTH_DOWN);
    cr_expect_eq(common->down, 1, "%u", common->down);
}

/* Everything at once: what is told is a way through the diagram, each step by one. */
static void
live(unsigned number)
{
    for (unsigned i = 0; i < 30000; i++) {
        uint32_t dice = (i * 2654435761u + number * 40503u) >> 16;

        if (dice % 97 == 0)
            common->down += happen('f');
        else if (dice % 11 == 0)
            common->back += happen('s');
        else if (dice % 53 == 0)
            common->released += happen('r');
        else if (dice % 3 == 0)
            happen('a');
        else
            happen((char)('1' + dice % 9));
    }
}

Test(shared_health, P8_any_mixture_of_processes_leaves_a_state_that_can_be, .timeout = 120)
{
    unsigned known;

    run_processes(live);
    cr_expect_neq(health().state, SHARED_HEALTH_UNKNOWN);
    cr_expect(common->down > 0 && common->back > 0);
    /* One that is down came back once for each time, but for the last. */
    known = common->down - common->back;
    cr_expect_leq(known, 1, "down %u, back %u", common->down, common->back);
    cr_expect_eq(shared_health_evictions(table), 0);
}
