/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs conversations against the server engine: `dialog FILE...`, TAP on standard output.  A page
 * is lines of a letter, a colon, a space and a text:
 *
 *   # ...      a remark
 *   C: text    the client says the text and CR LF
 *   c: text    the same, without CR LF; \r \n \0 \t \\ and \xNN are octets (in C: too)
 *   S: text    the server must say exactly this line next; * stands for any run of characters
 *   E: text    the owner of the engine must see this event next (tests/unit/smtp_owner.h); * as
 * above W:         from here every operation waits until the page says "A:", which answers it X:
 * text    421 text: the owner closes (shutdown) N: text    421 text: the owner closes at the next
 * command O: words   the session is offered these: starttls etrn xclient T:         the TLS
 * handshake is done L: number  so many commands without progress; LIMITS of 50 recipients and
 * messages
 *
 * What the client says between two lines of the server is one packet, so a page shows pipelining as
 * it is.  At each S: the engine must have said something; at each C: and at the end of the page
 * there must be nothing that was said and not expected.  Events are checked only on a page that has
 * an E:, and then all of them.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/parse.h"
#include "tests/unit/smtp_owner.h"

struct talk {
    const char *file;
    unsigned line;
    struct owner owner;
    struct buf packet;
    bool has_events;
    char why[1200];
};

static bool
fail(struct talk *t, const char *what, struct slice want, struct slice got)
{
    snprintf(t->why, sizeof t->why, "%s:%u: %s\n#   want: " SLICE_FMT "\n#   got:  " SLICE_FMT,
             t->file, t->line, what, SLICE_ARG(want), SLICE_ARG(got));
    return false;
}

static bool
matches(struct slice pattern, struct slice text)
{
    if (pattern.n == 0)
        return text.n == 0;
    if (pattern.p[0] == '*') {
        struct slice rest = {pattern.p + 1, pattern.n - 1};

        for (size_t i = 0; i <= text.n; i++)
            if (matches(rest, (struct slice){text.p + i, text.n - i}))
                return true;
        return false;
    }
    return text.n > 0 && text.p[0] == pattern.p[0] &&
           matches((struct slice){pattern.p + 1, pattern.n - 1},
                   (struct slice){text.p + 1, text.n - 1});
}

static void
add_escaped(struct buf *b, struct slice s)
{
    static const char from[] = "rn0t\\", to[] = "\r\n\0\t\\";

    for (size_t i = 0; i < s.n; i++) {
        const char *at = NULL;
        char c = s.p[i];

        if (c == '\\' && i + 3 < s.n && s.p[i + 1] == 'x') {
            char hex[3] = {s.p[i + 2], s.p[i + 3], '\0'};

            c = (char)strtoul(hex, NULL, 16);
            i += 3;
        } else if (c == '\\' && i + 1 < s.n && (at = strchr(from, s.p[i + 1])) != NULL) {
            c = to[at - from];
            i++;
        }
        buf_add(b, &c, 1);
    }
}

static void
flush_packet(struct talk *t)
{
    if (t->owner.waits)
        owner_push(&t->owner, buf_slice(&t->packet));
    else
        owner_feed(&t->owner, buf_slice(&t->packet));
    buf_clear(&t->packet);
}

/* The next line out of `b` must be `want`. */
static bool
expect_line(struct talk *t, struct buf *b, const char *end, struct slice want)
{
    struct slice said, rest;

    flush_packet(t);
    rest = buf_slice(b);
    said = slice_split(&rest, '\n');
    if (rest.p == NULL)
        return fail(t, "nothing was said", want, said);
    if (strcmp(end, "\r\n") == 0 && (said.n == 0 || said.p[said.n - 1] != '\r'))
        return fail(t, "the line does not end in CR LF", want, said);
    if (!matches(want, (struct slice){said.p, said.n + 1 - strlen(end)}))
        return fail(t, "another line", want, said);
    buf_consume(b, said.n + 1);
    return true;
}

static bool
expect_silence(struct talk *t)
{
    struct slice said = buf_slice(&t->owner.out), events = buf_slice(&t->owner.events);

    if (said.n > 0)
        return fail(t, "said, and not expected", SLICE(""), said);
    if (t->has_events && events.n > 0)
        return fail(t, "an event, and not expected", SLICE(""), events);
    return true;
}

static bool
do_client(struct talk *t, struct slice text)
{
    if (buf_size(&t->packet) == 0 && !expect_silence(t))
        return false;
    add_escaped(&t->packet, text);
    return true;
}

static bool
do_client_line(struct talk *t, struct slice text)
{
    if (!do_client(t, text))
        return false;
    buf_add_text(&t->packet, "\r\n");
    return true;
}

static bool
do_server(struct talk *t, struct slice text)
{
    return expect_line(t, &t->owner.out, "\r\n", text);
}

static bool
do_event(struct talk *t, struct slice text)
{
    return expect_line(t, &t->owner.events, "\n", text);
}

static bool
do_wait(struct talk *t, struct slice text)
{
    (void)text;
    flush_packet(t);
    t->owner.waits = true;
    return true;
}

static bool
do_answer(struct talk *t, struct slice text)
{
    flush_packet(t);
    if (!smtp_server_is_waiting(t->owner.server))
        return fail(t, "nothing waits", text, SLICE(""));
    if (!expect_silence(t))
        return false;
    owner_answer(&t->owner);
    owner_push(&t->owner, SLICE(""));
    return true;
}

static bool
do_close(struct talk *t, struct slice text)
{
    char line[200];
    struct smtp_reply reply;

    flush_packet(t);
    slice_to_text(text, line, sizeof line);
    reply = smtp_reply_make(421, "4.3.2", line);
    smtp_server_close(t->owner.server, &reply);
    return true;
}

static bool
do_offers(struct talk *t, struct slice text)
{
    static const struct slice words[] = {{"starttls", 8}, {"etrn", 4}, {"xclient", 7}};
    unsigned offers = 0;

    while (text.p != NULL) {
        struct slice word = slice_split(&text, ' ');

        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
            offers |= slice_equal(word, words[i]) ? 1u << i : 0;
    }
    flush_packet(t);
    smtp_server_set_offers(t->owner.server, offers);
    return true;
}

/* As a session does: what is buffered is thrown away. */
static bool
do_tls(struct talk *t, struct slice text)
{
    flush_packet(t);
    if (!smtp_server_wants_tls(t->owner.server))
        return fail(t, "no handshake is due", text, SLICE(""));
    buf_clear(&t->owner.in);
    smtp_server_tls_started(t->owner.server);
    return true;
}

static bool
do_close_next(struct talk *t, struct slice text)
{
    char line[200];
    struct smtp_reply reply;

    flush_packet(t);
    slice_to_text(text, line, sizeof line);
    reply = smtp_reply_make(421, "4.7.0", line);
    smtp_server_close_next(t->owner.server, &reply);
    return true;
}

static bool
do_limits(struct talk *t, struct slice text)
{
    uint64_t idle;

    if (parse_u64(text, &idle) < 0)
        return fail(t, "a number", SLICE(""), text);
    flush_packet(t);
    t->owner.settings.max_idle_commands = (unsigned)idle;
    t->owner.settings.recipients_announced = t->owner.settings.messages_announced = 50;
    return true;
}

static const struct {
    char letter;
    bool (*run)(struct talk *t, struct slice text);
} letters[] = {
    {'C', do_client_line}, {'c', do_client},     {'S', do_server}, {'E', do_event},
    {'W', do_wait},        {'A', do_answer},     {'X', do_close},  {'O', do_offers},
    {'T', do_tls},         {'N', do_close_next}, {'L', do_limits},
};

static bool
run_line(struct talk *t, struct slice line)
{
    if (line.n == 0 || line.p[0] == '#')
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(letters) && line.n >= 2 && line.p[1] == ':'; i++)
        if (line.p[0] == letters[i].letter) {
            size_t skip = line.n > 2 ? 3 : 2;

            return letters[i].run(t, (struct slice){line.p + skip, line.n - skip});
        }
    return fail(t, "no line of a page", SLICE("C: c: S: E: W: A: X: O: T: N: L: #"), line);
}

static bool
run_page(struct talk *t, struct slice rest)
{
    while (rest.p != NULL) {
        t->line++;
        if (!run_line(t, slice_split(&rest, '\n')))
            return false;
    }
    flush_packet(t);
    return expect_silence(t);
}

static bool
read_file(const char *name, struct buf *b)
{
    FILE *f = fopen(name, "rb");
    char piece[4096];
    size_t n;

    if (f == NULL)
        return false;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(b, piece, n);
    fclose(f);
    return true;
}

static bool
run_file(const char *name, unsigned number)
{
    struct talk t = {.file = name};
    struct buf page;
    bool ok;

    buf_init(&page, 0);
    buf_init(&t.packet, 0);
    owner_init(&t.owner);
    smtp_server_greet(t.owner.server);
    ok = read_file(name, &page);
    if (!ok)
        snprintf(t.why, sizeof t.why, "%s: cannot be read", name);
    t.has_events = ok && strstr(buf_text(&page), "\nE: ") != NULL;
    ok = ok && run_page(&t, buf_slice(&page));
    printf("%sok %u - %s\n", ok ? "" : "not ", number, name);
    if (!ok)
        printf("# %s\n", t.why);
    owner_fini(&t.owner);
    buf_fini(&t.packet);
    buf_fini(&page);
    return ok;
}

/* Options of the test driver mean nothing here; without a page on the command line, all of them. */
static void
find_pages(int argc, char **argv, glob_t *pages)
{
    const char *top = getenv("top_srcdir");
    char pattern[4096];
    int flags = 0;

    snprintf(pattern, sizeof pattern, "%s/tests/dialog/talks/*.talk", top ? top : ".");
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-' && glob(argv[i], GLOB_NOCHECK | flags, NULL, pages) == 0)
            flags = GLOB_APPEND;
    if (flags == 0 && glob(pattern, GLOB_NOCHECK, NULL, pages) != 0)
        exit(99);
}

int
main(int argc, char **argv)
{
    glob_t pages = {0};
    bool ok = true;

    find_pages(argc, argv, &pages);
    printf("1..%zu\n", pages.gl_pathc);
    for (size_t i = 0; i < pages.gl_pathc; i++)
        ok &= run_file(pages.gl_pathv[i], (unsigned)i + 1);
    globfree(&pages);
    return ok ? 0 : 1;
}
