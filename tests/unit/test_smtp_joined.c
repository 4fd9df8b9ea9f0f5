/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: the client engine joined to the server engine in memory.  Messages of real shapes go over a
 * wire that is cut at every octet, with and without PIPELINING, and arrive as they were sent.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "smtp/smtp_client.h"
#include "tests/unit/smtp_owner.h"

static const struct smtp_client_settings settings = {
    .hostname = "relay.example",
    .command_timeout_ms = 1000,
    .data_timeout_ms = 1000,
    .content_timeout_ms = 1000,
    .final_timeout_ms = 1000,
};

struct pair {
    struct owner server;
    struct smtp_client *client;
    struct buf to_client, from_client;
    struct slice content;
    const char *from;
    const char *const *rcpts; /* NULL ends */
    bool pipelining, is_burst;
    size_t moved, cut_at, piece_max; /* the wire is cut at that octet, and after so many */
    unsigned answered, accepted, messages;
    enum smtp_class dot_class;
    bool ended, dot_sent;
};

static struct smtp_path
path_of(const char *text)
{
    struct smtp_path path = {0};

    snprintf(path.text, sizeof path.text, "%s", text);
    return path;
}

static unsigned
count_rcpts(const struct pair *p)
{
    unsigned n = 0;

    while (p->rcpts[n] != NULL)
        n++;
    return n;
}

static void
send_message(struct pair *p)
{
    struct smtp_mail mail = {.path = path_of(p->from),
                             .has_size = true,
                             .size_bytes = p->content.n,
                             .body = SMTP_BODY_8BITMIME};

    p->answered = p->accepted = 0;
    smtp_client_mail(p->client, &mail);
    for (unsigned i = 0; i < count_rcpts(p); i++)
        smtp_client_rcpt(p->client, &(struct smtp_rcpt){.path = path_of(p->rcpts[i])});
    if (p->is_burst)
        smtp_client_data(p->client);
}

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    struct pair *p = ctx;

    cr_assert_eq(caps->pipelining, p->pipelining);
    cr_assert(caps->has_size && caps->eightbitmime);
    send_message(p);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct pair *p = ctx;

    (void)reply;
    if (phase == SMTP_PHASE_RCPT) {
        cr_assert_eq(index, p->answered);
        p->answered++;
        p->accepted += class == SMTP_CLASS_OK;
        if (p->answered == count_rcpts(p) && !p->is_burst) {
            if (p->accepted)
                smtp_client_data(p->client);
            else
                smtp_client_reset(p->client);
        }
    }
    if (phase == SMTP_PHASE_DOT)
        p->dot_class = class;
    if ((phase == SMTP_PHASE_DATA || phase == SMTP_PHASE_DOT) && class != SMTP_CLASS_OK)
        smtp_client_reset(p->client);
    else if (phase == SMTP_PHASE_DOT || phase == SMTP_PHASE_RSET) {
        if (--p->messages > 0)
            send_message(p);
        else
            smtp_client_quit(p->client);
    }
}

static void
on_want_content(void *ctx)
{
    struct pair *p = ctx;
    size_t half = p->content.n / 2;
    struct slice first = {p->content.p, half};

    while (first.n > 0) /* one half as who sends it himself */
        buf_add_slice(&p->from_client, smtp_client_next_run(p->client, &first));
    smtp_client_content(p->client, (struct slice){p->content.p + half, p->content.n - half});
    smtp_client_dot(p->client);
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct pair *p = ctx;

    p->ended = true;
    p->dot_sent = dot_sent;
    cr_expect(phase == SMTP_PHASE_QUIT || reply->code == 421, "%s: %u %s", smtp_phase_word(phase),
              reply->code, reply->text);
}

static const struct smtp_client_ops client_ops = {.on_ready = on_ready,
                                                  .on_reply = on_reply,
                                                  .on_want_content = on_want_content,
                                                  .on_end = on_end};

/* How much of `n` octets goes over the wire at once. */
static size_t
piece_size(struct pair *p, size_t n)
{
    if (p->moved < p->cut_at && p->moved + n > p->cut_at)
        n = p->cut_at - p->moved;
    if (n > p->piece_max)
        n = p->piece_max;
    p->moved += n;
    return n;
}

static void
move_to_server(struct pair *p)
{
    struct slice all = buf_slice(&p->from_client);
    size_t n = piece_size(p, all.n);

    owner_feed(&p->server, (struct slice){all.p, n});
    buf_consume(&p->from_client, n);
}

static void
move_to_client(struct pair *p)
{
    struct slice all = buf_slice(&p->server.out);
    size_t n = piece_size(p, all.n);
    struct buf *in = &p->to_client;

    buf_add(in, all.p, n);
    buf_consume(&p->server.out, n);
    smtp_client_input(p->client, in);
    smtp_client_check(p->client);
}

/* Takes PIPELINING out of what the server offers. */
static void
hide_pipelining(struct buf *out)
{
    static const char word[] = "PIPELINING";
    struct slice all = buf_slice(out);

    for (size_t i = 0; i + sizeof word - 1 <= all.n; i++)
        if (memcmp(all.p + i, word, sizeof word - 1) == 0)
            out->mem[out->start + i] = 'X';
}

static void
run(struct pair *p)
{
    owner_init(&p->server);
    p->server.settings.max_size_bytes = 100 * 1024 * 1024;
    buf_init(&p->to_client, 0);
    buf_init(&p->from_client, 0);
    p->client = smtp_client_new(&settings, &client_ops, p, &p->from_client);
    smtp_server_greet(p->server.server);
    while (!p->ended && (buf_size(&p->from_client) || buf_size(&p->server.out))) {
        if (!p->pipelining && buf_size(&p->server.out) < 1000)
            hide_pipelining(&p->server.out);
        if (buf_size(&p->server.out))
            move_to_client(p);
        else
            move_to_server(p);
    }
    cr_assert(p->ended, "the conversation stands still");
}

static void
finish(struct pair *p)
{
    smtp_client_free(&p->client);
    owner_fini(&p->server);
    buf_fini(&p->to_client);
    buf_fini(&p->from_client);
}

static const struct {
    const char *name, *content;
} messages[] = {
    {"plain", "Subject: x\r\n\r\nhello\r\n"},
    {"empty", ""},
    {"an empty line", "\r\n"},
    {"header only", "Subject: x\r\n"},
    {"dots at line starts", "Subject: x\r\n\r\n.\r\n..\r\n.a\r\n...\r\n. \r\n"},
    {"a dot first", ".Subject: x\r\n"},
    {"the end of data and a command inside", "a\r\n.\r\nMAIL FROM:<x@y.example>\r\n.\r\n"},
    {"MIME", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n"
             "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
             "Gr\xc3\xbc\xc3\x9f"
             "e\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQFBgc=\r\n--b--\r\n"},
    {"8-bit", "\xff\xfe\x80\r\n\x01\x02\x7f\r\n"},
    {"long line", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                  ".\r\n"},
};

static const char *const two[] = {"a@dest.example", "b@dest.example", NULL};

static void
expect_arrived(struct pair *p, const char *name, size_t cut)
{
    cr_expect_eq(p->dot_class, SMTP_CLASS_OK, "%s, cut at %zu", name, cut);
    cr_expect(slice_equal(buf_slice(&p->server.content), p->content), "%s, cut at %zu", name, cut);
}

/* Returns how many octets went over the wire. */
static size_t
send_one(const char *name, struct slice content, unsigned way, size_t cut, size_t piece_max)
{
    struct pair p = {.content = content,
                     .from = "a@sender.example",
                     .rcpts = two,
                     .pipelining = way & 1,
                     .is_burst = way & 2,
                     .cut_at = cut,
                     .piece_max = piece_max,
                     .messages = 1,
                     .dot_class = SMTP_CLASS_UNKNOWN};

    run(&p);
    expect_arrived(&p, name, cut);
    cr_expect_eq(p.server.ends, 1, "%s: one in, one out", name);
    finish(&p);
    return p.moved;
}

Test(smtp_joined, P7_messages_arrive_as_sent_in_every_cut, .timeout = 120)
{
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        for (unsigned way = 0; way < 4; way++) {
            struct slice content = slice_of(messages[i].content);
            size_t total = send_one(messages[i].name, content, way, 0, SIZE_MAX);

            send_one(messages[i].name, content, way, 0, 1);
            for (size_t cut = 1; cut < total; cut++)
                send_one(messages[i].name, content, way, cut, SIZE_MAX);
        }
}

Test(smtp_joined, P7_nineteen_megabytes, .timeout = 120)
{
    static const char line[] = "..dots and more to fill a line of mail with, again and again\r\n";
    struct buf big;

    buf_init(&big, 0);
    while (buf_size(&big) < 19 * 1024 * 1024)
        buf_add(&big, line + buf_size(&big) % 3, sizeof line - 1 - buf_size(&big) % 3);
    send_one("19 MB", buf_slice(&big), 3, 0, 65536);
    buf_fini(&big);
}

Test(smtp_joined, P7_a_missing_line_end_is_added)
{
    struct pair p = {.content = SLICE("Subject: x\r\n\r\nno end"),
                     .from = "a@sender.example",
                     .rcpts = two,
                     .pipelining = true,
                     .piece_max = SIZE_MAX,
                     .messages = 1};

    run(&p);
    cr_expect_str_eq(buf_text(&p.server.content), "Subject: x\r\n\r\nno end\r\n");
    finish(&p);
}

static const struct {
    const char *name, *from, *rcpts[4];
    const char *why; /* what must be among the server's events */
    unsigned ends;   /* messages that came to their end */
} outcomes[] = {
    {"all refused", "a@s.example", {"refuse@d.example", "later@d.example"}, "reset rset", 0},
    {"some refused", "a@s.example", {"refuse@d.example", "b@d.example"}, "end fault=0", 3},
    {"sender refused", "refuse@s.example", {"b@d.example"}, "mail <refuse@s.example>", 0},
    {"DATA refused", "nodata@s.example", {"b@d.example"}, "reset rset", 0},
    {"dot refused", "baddot@s.example", {"b@d.example"}, "reset done", 3},
    {"421 at RCPT", "a@s.example", {"close@d.example", "b@d.example"}, "reset closed", 0},
    {"421 at the dot", "closedot@s.example", {"b@d.example"}, "reset done", 1},
};

Test(smtp_joined, three_transactions_of_every_outcome)
{
    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
        for (unsigned way = 0; way < 4; way++) {
            struct pair p = {.content = SLICE("x\r\n"),
                             .from = outcomes[i].from,
                             .rcpts = outcomes[i].rcpts,
                             .pipelining = way & 1,
                             .is_burst = way & 2,
                             .piece_max = SIZE_MAX,
                             .messages = 3};

            run(&p);
            cr_expect_not_null(strstr(buf_text(&p.server.events), outcomes[i].why), "%s, way %u",
                               outcomes[i].name, way);
            cr_expect_eq(p.server.ends, outcomes[i].ends, "%s, way %u: %u", outcomes[i].name, way,
                         p.server.ends);
            cr_expect_not(p.dot_sent, "%s, way %u", outcomes[i].name, way);
            finish(&p);
        }
}
