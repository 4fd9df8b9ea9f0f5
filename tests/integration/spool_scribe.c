/* SPDX-License-Identifier: BSD-2-Clause
 *
 * spool_scribe DIR EPOCH PROCESS: a worker that does with the spool what it is told, in the name of
 * PROCESS, line by line on standard input; "ok" or a reference answers each:
 *
 *      record NUMBER FLAG+FLAG     two recipients: rita is ours, ron is live
 *      mail SENDER RET NOTIFY      what follows is from SENDER, with a header, and these parameters
 * of RFC 3461, as numbers (0: none) say REFERENCE KIND FLAG+FLAG ago SECONDS                 what
 * follows is written so long ago end                         its segments are sealed, as of a
 * worker that is gone
 *
 * Flags: none, prepared, unknown, listening, verified, spam.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "spool/spool_resolution.h"
#include "unit/spool_fixture.h"

#define FIRST_NUMBER 1000000 /* far from those that the relay gives */

static struct spool_parent parent = {.next_number = FIRST_NUMBER};

static time_t ago_s;

/* In the place of libc's: the writer takes its times from the clock alone. */
int
clock_gettime(clockid_t clock, struct timespec *now)
{
    long rc = syscall(SYS_clock_gettime, clock, now);

    if (clock == CLOCK_REALTIME)
        now->tv_sec -= ago_s;
    return (int)rc;
}

static struct spool_recipient recipients[] = {
    {.address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS},
    {.address = "ron@acme.example", .domain = "acme.example", .side = SPOOL_LIVE}};

static const struct {
    const char *word;
    uint32_t flag;
} flags[] = {{"none", 0},
             {"prepared", SPOOL_FLAG_PREPARED},
             {"unknown", SPOOL_FLAG_UNKNOWN},
             {"listening", SPOOL_FLAG_LISTENING},
             {"verified", SPOOL_FLAG_VERIFIED},
             {"spam", SPOOL_FLAG_SPAM}};

static char sender[64];
static unsigned dsn_ret;

static uint32_t
read_flags(const char *text)
{
    struct slice rest = slice_of(text);
    uint32_t all = 0;

    while (rest.n > 0) {
        struct slice word = slice_split(&rest, '+');

        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
            all |= slice_equal(word, slice_of(flags[i].word)) ? flags[i].flag : 0;
    }
    return all;
}

static void
wait_for(const struct spool_outcome *outcome)
{
    CHECK(spool_parent_turn_until(&parent, &outcome->done) && outcome->rc == 0);
}

static void
record(const char *number, const char *flag_words)
{
    struct spool_envelope e = spool_fixture_envelope(strtoull(number, NULL, 10));
    struct spool_outcome outcome = {.done = false};
    char header[] = "Subject: told or not\r\nX-Scribe: yes\r\n\r\n";
    struct iovec body[] = {{.iov_base = header, .iov_len = sender[0] ? sizeof header - 1 : 0},
                           {.iov_base = spool_fixture_body(1, 2000), .iov_len = 2000}};
    char id[REF_SIZE];

    e.received_at_ms = clock_wall_ms();
    e.ref = ref_make(1, e.received_at_ms, 1, e.ref.number);
    e.expires_at_ms = clock_retention_end_ms(e.received_at_ms, 5);
    e.recipients = recipients;
    e.recipient_count = ARRAY_SIZE(recipients);
    e.flags = read_flags(flag_words);
    if (sender[0] != '\0')
        e.reverse_path = sender;
    e.dsn_ret = (uint8_t)dsn_ret;
    e.dsn_envid = dsn_ret ? "QQ+2B314159" : "";
    spool_commit_start(parent.writer, &e, body, 2, spool_fixture_on_done, &outcome);
    wait_for(&outcome);
    free(body[1].iov_base);
    printf("%s\n", ref_text(e.ref, id));
}

static void
say(const char *reference, const char *kind, const char *flag_words)
{
    struct spool_resolution r = {.flags = read_flags(flag_words), .reply = "said by the backend"};
    struct spool_outcome outcome = {.done = false};

    CHECK(ref_find(slice_of(reference), &r.ref) == 0);
    for (int k = SPOOL_RESOLUTION_CONFIRM; k <= SPOOL_RESOLUTION_GIVEN_UP; k++) {
        if (strcmp(spool_resolution_word(k), kind) == 0)
            r.kind = k;
    }
    CHECK(r.kind != 0);
    spool_resolve_start(parent.writer, &r, spool_fixture_on_done, &outcome);
    wait_for(&outcome);
    printf("ok\n");
}

static void
end(void)
{
    spool_parent_end(&parent);
    for (uint32_t number = FIRST_NUMBER; number < parent.next_number; number++)
        (void)!spool_segment_seal(&spool_io_disk, parent.dir_fd,
                                  (struct spool_segment_id){1, parent.epoch, number});
    printf("ok\n");
}

int
main(int argc, char **argv)
{
    char line[256], verb[16], a[64], b[64], c[64];
    int dir_fd = argc == 4 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (dir_fd < 0) {
        fprintf(stderr, "usage: spool_scribe DIR EPOCH PROCESS\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    parent.epoch = (uint32_t)strtoul(argv[2], NULL, 10);
    parent.process = (uint32_t)strtoul(argv[3], NULL, 10);
    spool_parent_begin(&parent, &spool_io_disk, dir_fd);
    while (fgets(line, sizeof line, stdin) != NULL) {
        int n = sscanf(line, "%15s %63s %63s %63s", verb, a, b, c);

        if (n == 3 && strcmp(verb, "record") == 0)
            record(a, b);
        else if (n == 4 && strcmp(verb, "say") == 0)
            say(a, b, c);
        else if (n == 2 && strcmp(verb, "ago") == 0) {
            ago_s = (time_t)strtoul(a, NULL, 10);
            printf("ok\n");
        } else if (n == 4 && strcmp(verb, "mail") == 0) {
            snprintf(sender, sizeof sender, "%s", a);
            dsn_ret = (unsigned)strtoul(b, NULL, 10);
            recipients[0].dsn_notify = recipients[1].dsn_notify = (uint8_t)strtoul(c, NULL, 10);
            printf("ok\n");
        } else if (n == 1 && strcmp(verb, "end") == 0)
            end();
        else
            return 2;
    }
    if (parent.writer != NULL)
        spool_parent_end(&parent);
    return 0;
}
