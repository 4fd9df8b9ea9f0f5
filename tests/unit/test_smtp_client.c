/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Conversations with good and bad servers.  A case is what the client must say and what the server
 * says then, turn by turn, and the events that must follow; each is run with the server's words cut
 * at every octet.  Then the same conversations with 421, loss, timeout, garbage and doubled replies
 * put in at every turn.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "smtp/smtp_client.h"

#define EHLO_FULL "250-peer hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n"
#define EHLO_BARE "250 peer\r\n"
#define EHLO_TLS "250-peer hello\r\n250-PIPELINING\r\n250-DSN\r\n250 STARTTLS\r\n"
#define EHLO_AUTH(mechanisms) "250-peer\r\n250 AUTH " mechanisms "\r\n"
#define STARTTLS "STARTTLS\r\n"

enum style {
    ONE_BY_ONE,   /* as the cut-through: all RCPTs, then DATA when they are answered */
    BURST,        /* as the retry: all at once */
    GIVE_UP,      /* RSET as soon as MAIL is answered */
    GIVE_UP_LATE, /* BURST, then RSET when the last RCPT is answered */
    QUIT_ONLY,
    TLS_MAY,  /* as QUIT_ONLY, with TLS if it is there */
    TLS_MUST, /* as QUIT_ONLY, with TLS or not at all */
    AUTH,     /* as TLS_MAY, with credentials */
};

struct turn {
    const char *client, *server; /* server NULL: none more is said */
};

struct conversation {
    const char *name;
    enum style style;
    unsigned rcpts;
    const char *content;
    const char *events;
    struct turn turns[12];
};

struct app {
    const struct conversation *plan;
    struct smtp_client *client;
    struct buf in, out;
    char events[1000];
    unsigned answered, accepted;
    bool ended, dot_sent, securing;
    enum smtp_phase end_phase;
    enum smtp_class last_class;
    enum smtp_phase last_phase;
    char end_text[SMTP_REPLY_LINE_SIZE];
};

static const struct smtp_client_settings settings = {
    .hostname = "relay.example",
    .command_timeout_ms = 1,
    .data_timeout_ms = 2,
    .content_timeout_ms = 3,
    .final_timeout_ms = 4,
};

static const struct smtp_credentials credentials = {"user", "pass word"};

#define M "MAIL FROM:<a@sender.example> SIZE=7 BODY=8BITMIME\r\n"
#define M0 "MAIL FROM:<a@sender.example>\r\n"
#define R0 "RCPT TO:<r0@dest.example>\r\n"
#define R1 "RCPT TO:<r1@dest.example>\r\n"
#define HI "220 peer ESMTP\r\n"
#define EHLO "EHLO relay.example\r\n"
#define OK "250 ok\r\n"
#define GO "354 go\r\n"
#define BYE "221 bye\r\n"

static const struct conversation good[] = {
    {"pipelined burst",
     BURST,
     2,
     "hello\r\n",
     "ready; mail ok 250; rcpt0 ok 250; rcpt1 ok 250; data ok 354; want; dot ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 R1 "DATA\r\n", OK OK OK GO},
      {"hello\r\n.\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"without PIPELINING, one at a time",
     BURST,
     2,
     "hello\r\n",
     "ready; mail ok 250; rcpt0 ok 250; rcpt1 ok 250; data ok 354; want; dot ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_BARE},
      {M0, OK},
      {R0, OK},
      {R1, OK},
      {"DATA\r\n", GO},
      {"hello\r\n.\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"one by one",
     ONE_BY_ONE,
     2,
     ".dot\r\nno end",
     "ready; mail ok 250; rcpt0 ok 250; rcpt1 refused 550; data ok 354; want; dot refused 554; "
     "rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 R1, OK OK "550 5.1.1 no\r\n"},
      {"DATA\r\n", GO},
      {"..dot\r\nno end\r\n.\r\n", "554 5.7.1 spam\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"empty content",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; data ok 354; want; dot ok 250; end quit 221",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 "DATA\r\n", OK OK GO}, {".\r\n", OK}, {"QUIT\r\n", BYE}}},
    {"HELO on the same connection",
     BURST,
     1,
     "x\r\n",
     "ready; mail ok 250; rcpt0 ok 250; data ok 354; want; dot ok 250; end quit 221",
     {{"", HI},
      {EHLO, "502-PIPELINING\r\n502 what?\r\n"},
      {"HELO relay.example\r\n", OK},
      {M0, OK},
      {R0, OK},
      {"DATA\r\n", GO},
      {"x\r\n.\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"MAIL refused, pipelined",
     BURST,
     2,
     "",
     "ready; mail refused 550; rcpt0 refused 550; rcpt1 refused 550; data refused 550; rset ok "
     "250; "
     "end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 R1 "DATA\r\n", "550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"MAIL refused, not pipelined: the rest is not sent",
     BURST,
     2,
     "",
     "ready; mail later 450; rcpt0 later 450; rcpt1 later 450; data later 450; rset ok 250; "
     "end quit 221",
     {{"", HI}, {EHLO, EHLO_BARE}, {M0, "450 4.7.1 no\r\n"}, {"RSET\r\n", OK}, {"QUIT\r\n", BYE}}},
    {"all RCPTs refused, DATA 503",
     BURST,
     2,
     "",
     "ready; mail ok 250; rcpt0 refused 550; rcpt1 later 450; data refused 554; rset ok 250; "
     "end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 R1 "DATA\r\n", OK "550 5.1.1 no\r\n450 4.2.1 no\r\n503 x\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"all RCPTs refused, DATA 354",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 refused 550; data refused 554; rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 "DATA\r\n", OK "550 5.1.1 no\r\n354 go\r\n"},
      {".\r\n", "554 5.5.1 no\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"all RCPTs refused, not pipelined: DATA is not sent",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 refused 550; data refused 554; rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_BARE},
      {M0, OK},
      {R0, "550 5.1.1 no\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"DATA refused",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; data later 452; rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 "DATA\r\n", OK OK "452 no\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"multi-line replies with mixed codes",
     BURST,
     1,
     "x",
     "ready; mail ok 250; rcpt0 refused 550; data refused 554; rset ok 250; end quit 221",
     {{"", "220-one\r\n250 two\r\n"},
      {EHLO, EHLO_FULL},
      {M R0 "DATA\r\n", "250-a\r\n250-b\r\n250 c\r\n250-5.1.1 a\r\n550 5.1.1 b\r\n554 x\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"bare LF and no text",
     BURST,
     1,
     "x",
     "ready; mail ok 250; rcpt0 ok 250; data ok 354; want; dot ok 250; end quit 221",
     {{"", "220\n"},
      {EHLO, "250\n"},
      {M0, "250\n"},
      {R0, "250\n"},
      {"DATA\r\n", "354\n"},
      {"x\r\n.\r\n", "250\n"},
      {"QUIT\r\n", "221\n"}}},
    {"given up, pipelined",
     GIVE_UP,
     2,
     "",
     "ready; mail ok 250; rcpt0 ok 250; rcpt1 ok 250; rset ok 250; end quit 221",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 R1, OK OK OK}, {"RSET\r\n", OK}, {"QUIT\r\n", BYE}}},
    {"given up, not pipelined: unsent RCPTs go",
     GIVE_UP,
     2,
     "",
     "ready; mail ok 250; rset ok 250; end quit 221",
     {{"", HI}, {EHLO, EHLO_BARE}, {M0, OK}, {"RSET\r\n", OK}, {"QUIT\r\n", BYE}}},
    {"given up with DATA in flight, refused",
     GIVE_UP_LATE,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; data later 451; rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 "DATA\r\n", OK OK "451 4.7.1 x\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"given up with DATA in flight, nobody accepted",
     GIVE_UP_LATE,
     1,
     "",
     "ready; mail ok 250; rcpt0 refused 550; data refused 554; rset ok 250; end quit 221",
     {{"", HI},
      {EHLO, EHLO_FULL},
      {M R0 "DATA\r\n", OK "550 x\r\n" GO},
      {".\r\n", "554 x\r\n"},
      {"RSET\r\n", OK},
      {"QUIT\r\n", BYE}}},
    {"quit",
     QUIT_ONLY,
     0,
     "",
     "ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_FULL}, {"QUIT\r\n", BYE}}},
    {"TLS, and what was offered before it is forgotten",
     TLS_MAY,
     0,
     "",
     "starttls; ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_TLS}, {STARTTLS, HI}, {EHLO, EHLO_BARE}, {"QUIT\r\n", BYE}}},
    {"TLS offered once more inside TLS is not asked for again",
     TLS_MUST,
     0,
     "",
     "starttls; ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_TLS}, {STARTTLS, HI}, {EHLO, EHLO_TLS}, {"QUIT\r\n", BYE}}},
    {"P7 replies injected behind the 220 are answers to nothing",
     TLS_MUST,
     0,
     "",
     "starttls; ready; end quit 221",
     {{"", HI},
      {EHLO, EHLO_TLS},
      {STARTTLS, HI EHLO_TLS OK "421 injected\r\n"},
      {EHLO, EHLO_BARE},
      {"QUIT\r\n", BYE}}},
    {"TLS refused where it may be",
     TLS_MAY,
     0,
     "",
     "ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_TLS}, {STARTTLS, "454 4.7.0 not now\r\n"}, {"QUIT\r\n", BYE}}},
    {"no TLS where it may be",
     TLS_MAY,
     0,
     "",
     "ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_FULL}, {"QUIT\r\n", BYE}}},
    {"TLS is not asked for where it must not be",
     QUIT_ONLY,
     0,
     "",
     "ready; end quit 221",
     {{"", HI}, {EHLO, EHLO_TLS}, {"QUIT\r\n", BYE}}},
};

/* The server is at fault. */
/* "\0user\0pass word" in base64; "user", "pass word". */
#define PLAIN "AUTH PLAIN AHVzZXIAcGFzcyB3b3Jk\r\n"
#define LOGIN "AUTH LOGIN\r\n"
#define TO_TLS                  \
    {"", HI}, {EHLO, EHLO_TLS}, \
    {                           \
        STARTTLS, "220 go\r\n"  \
    }

static const struct conversation authenticated[] = {
    {"PLAIN",
     AUTH,
     0,
     "",
     "starttls; ready; end quit 221",
     {TO_TLS, {EHLO, EHLO_AUTH("LOGIN plain")}, {PLAIN, "235 2.7.0 ok\r\n"}, {"QUIT\r\n", BYE}}},
    {"LOGIN",
     AUTH,
     0,
     "",
     "starttls; ready; end quit 221",
     {TO_TLS,
      {EHLO, EHLO_AUTH("GSSAPI LOGIN")},
      {LOGIN, "334 VXNlcm5hbWU6\r\n"},
      {"dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"},
      {"cGFzcyB3b3Jk\r\n", "235 ok\r\n"},
      {"QUIT\r\n", BYE}}},
    {"LOGIN without an end",
     AUTH,
     0,
     "",
     "starttls; end auth 334",
     {TO_TLS,
      {EHLO, EHLO_AUTH("LOGIN")},
      {LOGIN, "334 VXNlcm5hbWU6\r\n"},
      {"dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"},
      {"cGFzcyB3b3Jk\r\n", "334 more\r\n"}}},
    {"PLAIN asked for more",
     AUTH,
     0,
     "",
     "starttls; end auth 334",
     {TO_TLS, {EHLO, EHLO_AUTH("PLAIN")}, {PLAIN, "334 \r\n"}}},
    {"refused",
     AUTH,
     0,
     "",
     "starttls; end auth 535",
     {TO_TLS, {EHLO, EHLO_AUTH("PLAIN")}, {PLAIN, "535 5.7.8 wrong\r\n"}}},
    {"no mechanism of ours",
     AUTH,
     0,
     "",
     "starttls; end auth 0",
     {TO_TLS, {EHLO, EHLO_AUTH("CRAM-MD5 XPLAIN")}}},
    {"not offered", AUTH, 0, "", "starttls; end auth 0", {TO_TLS, {EHLO, EHLO_BARE}}},
    {"never in the clear, whatever is offered",
     AUTH,
     0,
     "",
     "end auth 0",
     {{"", HI}, {EHLO, EHLO_AUTH("PLAIN LOGIN")}}},
    {"what was offered in the clear is forgotten",
     AUTH,
     0,
     "",
     "starttls; end auth 0",
     {{"", HI},
      {EHLO, "250-peer\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"},
      {STARTTLS, "220 go\r\n"},
      {EHLO, EHLO_BARE}}},
};

static const struct conversation bad[] = {
    {"banner 554", BURST, 1, "", "end banner 554", {{"", "554 go away\r\n"}, {"", NULL}}},
    {"banner with our own name",
     BURST,
     1,
     "",
     "end banner 554",
     {{"", "220 relay.example ESMTP\r\n"}, {"", NULL}}},
    {"banner with our own name alone, in capitals",
     BURST,
     1,
     "",
     "end banner 554",
     {{"", "220 RELAY.EXAMPLE\r\n"}, {"", NULL}}},
    {"banner with a longer name is none of ours",
     QUIT_ONLY,
     1,
     "",
     "ready; end quit 221",
     {{"", "220 relay.example.org ESMTP\r\n"}, {EHLO, OK}, {"QUIT\r\n", BYE}}},
    {"EHLO 554", BURST, 1, "", "end ehlo 554", {{"", HI}, {EHLO, "554 no\r\n"}, {"", NULL}}},
    {"EHLO 451", BURST, 1, "", "end ehlo 451", {{"", HI}, {EHLO, "451 no\r\n"}, {"", NULL}}},
    {"HELO refused",
     BURST,
     1,
     "",
     "end helo 550",
     {{"", HI}, {EHLO, "500 x\r\n"}, {"HELO relay.example\r\n", "550 x\r\n"}, {"", NULL}}},
    {"HTTP", BURST, 1, "", "end banner 0", {{"", "HTTP/1.1 400 Bad\r\n"}, {"", NULL}}},
    {"354 to MAIL",
     BURST,
     1,
     "",
     "ready; end mail 0",
     {{"", HI}, {EHLO, EHLO_BARE}, {M0, GO}, {"", NULL}}},
    {"250 to DATA",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; end data 0",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 "DATA\r\n", OK OK OK}, {"", NULL}}},
    {"354 to the dot",
     BURST,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; data ok 354; want; end dot 0 sent",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 "DATA\r\n", OK OK GO}, {".\r\n", GO}, {"", NULL}}},
    {"RCPT and DATA taken for a refused MAIL",
     BURST,
     1,
     "",
     "ready; mail refused 550; rcpt0 refused 550; end rcpt 0",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 "DATA\r\n", "550 5.7.1 x\r\n" OK GO}, {"", NULL}}},
    {"given up and asked for content",
     GIVE_UP_LATE,
     1,
     "",
     "ready; mail ok 250; rcpt0 ok 250; end rset 0",
     {{"", HI}, {EHLO, EHLO_FULL}, {M R0 "DATA\r\n", OK OK GO}, {"", NULL}}},
    {"RSET refused",
     GIVE_UP,
     1,
     "",
     "ready; mail ok 250; end rset 500",
     {{"", HI}, {EHLO, EHLO_BARE}, {M0, OK}, {"RSET\r\n", "500 x\r\n"}, {"", NULL}}},
    {"banner and EHLO's reply at once",
     BURST,
     1,
     "",
     "end ehlo 0",
     {{"", HI EHLO_FULL}, {EHLO, NULL}}},
    {"TLS needed and not offered",
     TLS_MUST,
     1,
     "",
     "end starttls 0",
     {{"", HI}, {EHLO, EHLO_FULL}, {"", NULL}}},
    {"TLS needed, and the server knows HELO alone",
     TLS_MUST,
     1,
     "",
     "end starttls 0",
     {{"", HI}, {EHLO, "502 STARTTLS\r\n"}, {"HELO relay.example\r\n", OK}, {"", NULL}}},
    {"TLS needed and refused",
     TLS_MUST,
     1,
     "",
     "end starttls 454",
     {{"", HI}, {EHLO, EHLO_TLS}, {STARTTLS, "454 4.7.0 not now\r\n"}, {"", NULL}}},
    {"354 to STARTTLS",
     TLS_MAY,
     1,
     "",
     "end starttls 0",
     {{"", HI}, {EHLO, EHLO_TLS}, {STARTTLS, GO}, {"", NULL}}},
    {"two banners", BURST, 1, "", "end ehlo 0", {{"", HI HI}, {EHLO, NULL}}},
    {"all replies at once",
     BURST,
     1,
     "",
     "end ehlo 0",
     {{"", HI EHLO_FULL OK OK GO OK}, {EHLO, NULL}}},
};

/* --- The caller of the engine. */
static void add_event(struct app *app, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
add_event(struct app *app, const char *fmt, ...)
{
    size_t used = strlen(app->events);
    va_list args;

    cr_assert_lt(used, sizeof app->events - 100);
    if (used)
        used += (size_t)snprintf(app->events + used, sizeof app->events - used, "; ");
    va_start(args, fmt);
    vsnprintf(app->events + used, sizeof app->events - used, fmt, args);
    va_end(args);
}

static struct smtp_path
path_of(const char *text)
{
    struct smtp_path path = {0};

    snprintf(path.text, sizeof path.text, "%s", text);
    return path;
}

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    struct app *app = ctx;
    struct smtp_mail mail = {.path = path_of("a@sender.example"),
                             .has_size = true,
                             .size_bytes = 7,
                             .body = SMTP_BODY_8BITMIME};

    (void)caps;
    add_event(app, "ready");
    if (app->plan->style >= QUIT_ONLY) {
        smtp_client_quit(app->client);
        return;
    }
    smtp_client_mail(app->client, &mail);
    for (unsigned i = 0; i < app->plan->rcpts; i++) {
        char text[64];

        snprintf(text, sizeof text, "r%u@dest.example", i);
        smtp_client_rcpt(app->client, &(struct smtp_rcpt){.path = path_of(text)});
    }
    if (app->plan->style == BURST || app->plan->style == GIVE_UP_LATE)
        smtp_client_data(app->client);
}

static void
after_rcpt(struct app *app)
{
    if (++app->answered < app->plan->rcpts)
        return;
    if (app->plan->style == GIVE_UP_LATE)
        smtp_client_reset(app->client);
    if (app->plan->style != ONE_BY_ONE)
        return;
    if (app->accepted)
        smtp_client_data(app->client);
    else
        smtp_client_reset(app->client);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct app *app = ctx;
    char number[8] = "";

    if (phase == SMTP_PHASE_RCPT)
        snprintf(number, sizeof number, "%u", index);
    add_event(app, "%s%s %s %u", smtp_phase_word(phase), number, smtp_class_word(class),
              reply->code);
    app->last_class = class;
    app->last_phase = phase;
    if (phase == SMTP_PHASE_MAIL && app->plan->style == GIVE_UP)
        smtp_client_reset(app->client);
    if (phase == SMTP_PHASE_RCPT) {
        app->accepted += class == SMTP_CLASS_OK;
        after_rcpt(app);
    }
    if ((phase == SMTP_PHASE_DATA || phase == SMTP_PHASE_DOT) && class != SMTP_CLASS_OK)
        smtp_client_reset(app->client);
    else if (phase == SMTP_PHASE_DOT || phase == SMTP_PHASE_RSET)
        smtp_client_quit(app->client);
}

static void
on_want_content(void *ctx)
{
    struct app *app = ctx;

    add_event(app, "want");
    smtp_client_content(app->client, slice_of(app->plan->content));
    smtp_client_dot(app->client);
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct app *app = ctx;

    cr_assert_not(app->ended);
    add_event(app, "end %s %u%s", smtp_phase_word(phase), reply->code, dot_sent ? " sent" : "");
    smtp_reply_text(reply, app->end_text, sizeof app->end_text);
    app->ended = true;
    app->dot_sent = dot_sent;
    app->end_phase = phase;
    smtp_client_reset(app->client); /* permitted, does nothing */
    smtp_client_quit(app->client);
}

static void
on_starttls(void *ctx)
{
    struct app *app = ctx;

    cr_assert_not(app->securing);
    cr_expect_eq(buf_size(&app->in), 0, "what was behind the 220 is still there");
    app->securing = true;
    add_event(app, "starttls");
}

static const struct smtp_client_ops ops = {
    .on_ready = on_ready,
    .on_starttls = on_starttls,
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_end = on_end,
};

/* --- Running a conversation. */
static void
begin(struct app *app, const struct conversation *plan)
{
    *app = (struct app){.plan = plan};
    buf_init(&app->in, 0);
    buf_init(&app->out, 0);
    app->client = smtp_client_new(&settings, &ops, app, &app->out);
    if (plan->style >= TLS_MAY)
        smtp_client_set_tls(app->client,
                            plan->style == TLS_MUST ? SMTP_CLIENT_TLS_MUST : SMTP_CLIENT_TLS_MAY);
    if (plan->style == AUTH)
        smtp_client_set_credentials(app->client, &credentials);
}

static void
finish(struct app *app)
{
    smtp_client_free(&app->client);
    buf_fini(&app->in);
    buf_fini(&app->out);
}

static void
feed(struct app *app, struct slice piece)
{
    buf_add_slice(&app->in, piece);
    smtp_client_input(app->client, &app->in);
    smtp_client_check(app->client);
    cr_assert_eq(buf_size(&app->in), 0);
}

/* Everything the server says in this turn, cut at `cut` octets if it is so long. */
static void
say(struct app *app, const char *text, size_t cut)
{
    struct slice all = slice_of(text);

    if (cut > 0 && cut < all.n) {
        feed(app, (struct slice){all.p, cut});
        feed(app, (struct slice){all.p + cut, all.n - cut});
    } else if (cut == 0)
        for (size_t i = 0; i < all.n; i++)
            feed(app, (struct slice){all.p + i, 1});
    else
        feed(app, all);
    if (app->securing && !app->ended) { /* the handshake comes behind all that was said */
        app->securing = false;
        smtp_client_tls_started(app->client);
        smtp_client_check(app->client);
    }
}

static void
expect_said(struct app *app, const struct turn *turn)
{
    cr_assert_str_eq(buf_text(&app->out), turn->client, "%s: \"%s\"", app->plan->name,
                     buf_text(&app->out));
    buf_clear(&app->out);
}

static void
run(const struct conversation *plan, size_t cut)
{
    struct app app;

    begin(&app, plan);
    for (const struct turn *turn = plan->turns; turn->client != NULL; turn++) {
        expect_said(&app, turn);
        if (turn->server == NULL)
            break;
        say(&app, turn->server, cut);
    }
    cr_expect_str_eq(app.events, plan->events, "%s, cut at %zu: %s (%s)", plan->name, cut,
                     app.events, app.end_text);
    cr_expect_eq(smtp_client_timeout_ms(app.client), 0, "%s", plan->name);
    finish(&app);
}

static size_t
longest_turn(const struct conversation *plan)
{
    size_t longest = 0;

    for (const struct turn *turn = plan->turns; turn->client != NULL && turn->server; turn++)
        if (strlen(turn->server) > longest)
            longest = strlen(turn->server);
    return longest;
}

Test(smtp_client, conversations_in_every_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        for (size_t cut = 0; cut <= longest_turn(&good[i]); cut++)
            run(&good[i], cut);
}

Test(smtp_client, credentials_are_said_inside_TLS_alone)
{
    for (size_t i = 0; i < ARRAY_SIZE(authenticated); i++)
        for (size_t cut = 0; cut <= longest_turn(&authenticated[i]); cut++)
            run(&authenticated[i], cut);
}

/* Uncut, since an early reply is one only if it came before its command was sent. */
Test(smtp_client, servers_at_fault)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        run(&bad[i], SIZE_MAX);
}

/* Goes through the first `turns` of them; what the client says next has been said then. */
static void
begin_until(struct app *app, const struct conversation *plan, size_t turns)
{
    begin(app, plan);
    for (size_t i = 0; i < turns; i++) {
        buf_clear(&app->out);
        say(app, plan->turns[i].server, SIZE_MAX);
    }
}

static size_t
count_turns(const struct conversation *plan)
{
    size_t n = 0;

    while (n < ARRAY_SIZE(plan->turns) && plan->turns[n].client != NULL)
        n++;
    return n;
}

static bool
awaits_dot(const struct conversation *plan, size_t turn)
{
    size_t n = strlen(plan->turns[turn].client);

    return n >= 3 && strcmp(plan->turns[turn].client + n - 3, ".\r\n") == 0 &&
           strstr(plan->events, "want") != NULL;
}

typedef void (*fault)(struct app *app);

/* Every good conversation, broken off at every turn by `put_in`. */
static void
at_every_turn(fault put_in, void (*expect)(struct app *app, bool after_dot))
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        for (size_t turn = 0; turn < count_turns(&good[i]); turn++) {
            struct app app;
            enum smtp_phase phase;

            begin_until(&app, &good[i], turn);
            phase = smtp_client_phase(app.client);
            put_in(&app);
            smtp_client_check(app.client);
            cr_assert(app.ended, "%s, turn %zu", good[i].name, turn);
            cr_expect_eq(app.end_phase, phase, "%s, turn %zu", good[i].name, turn);
            cr_expect_eq(smtp_client_timeout_ms(app.client), 0);
            expect(&app, awaits_dot(&good[i], turn));
            finish(&app);
        }
}

static void
lose(struct app *app)
{
    smtp_client_lost(app->client);
    smtp_client_lost(app->client); /* once is enough */
}

static void
lose_in_a_line(struct app *app)
{
    feed(app, SLICE("250-partial\r\n25"));
    smtp_client_lost(app->client);
}

static void
time_out(struct app *app)
{
    cr_expect_gt(smtp_client_timeout_ms(app->client), 0);
    smtp_client_timeout(app->client);
}

static void
say_garbage(struct app *app)
{
    static const char binary[] = "\0\xff\x16\x03\x01\0\x80\n";

    feed(app, (struct slice){binary, sizeof binary - 1});
}

static void
never_end_a_line(struct app *app)
{
    char many[4096];

    memset(many, '2', sizeof many);
    for (int i = 0; i < 1000 && !app->ended; i++)
        feed(app, (struct slice){many, sizeof many});
}

static void
expect_away_or_unknown(struct app *app, bool after_dot)
{
    cr_expect_eq(app->dot_sent, after_dot, "%s: %s", app->plan->name, app->events);
}

Test(smtp_client, P1_lost_anywhere_is_away_and_behind_the_dot_unknown)
{
    at_every_turn(lose, expect_away_or_unknown);
    at_every_turn(lose_in_a_line, expect_away_or_unknown);
    at_every_turn(time_out, expect_away_or_unknown);
    at_every_turn(say_garbage, expect_away_or_unknown);
    at_every_turn(never_end_a_line, expect_away_or_unknown);
}

static void
say_421(struct app *app)
{
    say(app, "421 4.3.2 closing\r\n", SIZE_MAX);
}

static void
expect_421(struct app *app, bool after_dot)
{
    (void)after_dot; /* 421 to the dot is an answer: away, not unknown */
    cr_expect(!app->dot_sent, "%s: %s", app->plan->name, app->events);
    cr_expect_str_eq(app->end_text, "421 4.3.2 closing");
    if (app->end_phase < SMTP_PHASE_MAIL || app->end_phase > SMTP_PHASE_RSET)
        return;
    cr_expect_eq(app->last_class, SMTP_CLASS_AWAY, "%s: %s", app->plan->name, app->events);
    cr_expect_eq(app->last_phase, app->end_phase, "%s: %s", app->plan->name, app->events);
}

Test(smtp_client, says_421_anywhere)
{
    at_every_turn(say_421, expect_421);
}

Test(smtp_client, every_reply_doubled_ends_the_connection)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        for (size_t turn = 0; turn + 1 < count_turns(&good[i]); turn++) {
            struct app app;

            if (strcmp(good[i].turns[turn].client, STARTTLS) == 0)
                continue; /* what is doubled there is thrown away */
            begin_until(&app, &good[i], turn);
            buf_add_text(&app.in, good[i].turns[turn].server);
            feed(&app, SLICE("250 once more\r\n"));
            cr_expect(app.ended, "%s, turn %zu: %s", good[i].name, turn, app.events);
            finish(&app);
        }
}

Test(smtp_client, is_silent_in_a_phase_as_long_as_the_settings_say)
{
    static const int64_t want[] = {1, 1, 1, 1, 1, 2, 4, 1};
    struct app app;

    for (size_t turn = 0; turn < ARRAY_SIZE(want); turn++) {
        begin_until(&app, &good[1], turn); /* not pipelined */
        cr_expect_eq(smtp_client_timeout_ms(app.client), want[turn], "turn %zu", turn);
        finish(&app);
    }
}

Test(smtp_client, a_drip_of_octets_is_no_progress)
{
    struct app app;
    unsigned before;

    begin(&app, &good[0]);
    before = smtp_client_progress(app.client);
    feed(&app, SLICE("220-a\r\n"));
    feed(&app, SLICE("22"));
    cr_expect_eq(smtp_client_progress(app.client), before);
    feed(&app, SLICE("0 b\r\n"));
    cr_expect_neq(smtp_client_progress(app.client), before);
    finish(&app);
}

/* --- Between the 220 to STARTTLS and the end of the handshake. */
static void
begin_securing(struct app *app)
{
    static const struct conversation plan = {.name = "securing", .style = TLS_MUST};

    begin(app, &plan);
    feed(app, SLICE(HI));
    feed(app, SLICE(EHLO_TLS));
    feed(app, SLICE(HI "250 injected\r\n"));
    cr_assert(app->securing);
    cr_expect_eq(smtp_client_injected_bytes(app->client), strlen("250 injected\r\n"));
    cr_expect_eq(smtp_client_phase(app->client), SMTP_PHASE_STARTTLS);
    cr_expect_gt(smtp_client_timeout_ms(app->client), 0);
}

Test(smtp_client, P7_nothing_is_read_while_the_handshake_runs)
{
    struct app app;

    begin_securing(&app);
    buf_clear(&app.out);
    feed(&app, SLICE("421 injected\r\n"));
    cr_expect_str_eq(app.events, "starttls");
    cr_expect_eq(smtp_client_injected_bytes(app.client),
                 strlen("250 injected\r\n421 injected\r\n"));
    smtp_client_tls_started(app.client);
    cr_expect_str_eq(buf_text(&app.out), EHLO);
    cr_expect_not(smtp_client_capabilities(app.client)->dsn, "of the EHLO before TLS");
    feed(&app, SLICE(EHLO_FULL));
    cr_expect_str_eq(app.events, "starttls; ready");
    finish(&app);
}

Test(smtp_client, a_handshake_that_fails_ends_in_its_phase)
{
    static const fault faults[] = {lose, time_out};

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct app app;

        begin_securing(&app);
        faults[i](&app);
        cr_expect_str_eq(app.events, "starttls; end starttls 0");
        smtp_client_tls_started(app.client); /* permitted, does nothing */
        cr_expect_eq(app.end_phase, SMTP_PHASE_STARTTLS);
        finish(&app);
    }
}

Test(smtp_client, after_its_end_every_call_is_permitted_and_does_nothing)
{
    static const fault faults[] = {lose, time_out};

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct slice rest = SLICE("content\r\n");
        struct smtp_mail mail = {.path = path_of("x@y.example")};
        struct smtp_rcpt rcpt = {.path = mail.path};
        struct smtp_xforward xforward = {0};
        struct app app;

        begin(&app, &good[0]);
        faults[i](&app);
        cr_expect_str_eq(app.events, "end banner 0");
        smtp_client_set_tls(app.client, SMTP_CLIENT_TLS_MUST);
        smtp_client_set_credentials(app.client, &credentials);
        smtp_client_tls_started(app.client);
        smtp_client_xforward(app.client, &xforward);
        smtp_client_mail(app.client, &mail);
        smtp_client_rcpt(app.client, &rcpt);
        smtp_client_data(app.client);
        smtp_client_content(app.client, rest);
        smtp_client_next_run(app.client, &rest);
        smtp_client_dot(app.client);
        smtp_client_reset(app.client);
        smtp_client_quit(app.client);
        smtp_client_lost(app.client);
        smtp_client_timeout(app.client);
        feed(&app, SLICE("220 here\r\n"));
        cr_expect_eq(rest.n, 0);
        cr_expect_eq(buf_size(&app.out), 0);
        cr_expect_str_eq(app.events, "end banner 0");
        finish(&app);
    }
}

/* --- Many transactions, and the capabilities. */
static void
no_ready(void *ctx, const struct smtp_capabilities *caps)
{
    (void)ctx;
    (void)caps;
}

static void
no_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    unsigned *count = ctx;

    (void)index;
    (void)reply;
    cr_expect_eq(class, SMTP_CLASS_OK, "%s", smtp_phase_word(phase));
    ++*count;
}

static void
no_content(void *ctx)
{
    (void)ctx;
}

static void
no_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    (void)ctx;
    (void)phase;
    (void)dot_sent;
    cr_assert_fail("%s", reply->text);
}

static const struct smtp_client_ops counting = {
    .on_ready = no_ready, .on_reply = no_reply, .on_want_content = no_content, .on_end = no_end};

static void
give(struct smtp_client *client, const char *text)
{
    struct buf in;

    buf_init(&in, 0);
    buf_add_text(&in, text);
    smtp_client_input(client, &in);
    smtp_client_check(client);
    buf_fini(&in);
}

static void
one_transaction(struct smtp_client *client, unsigned rcpts)
{
    struct smtp_mail mail = {.path = path_of("x@y.example")};
    struct smtp_rcpt rcpt = {.path = mail.path};

    cr_assert(smtp_client_is_idle(client));
    smtp_client_mail(client, &mail);
    for (unsigned i = 0; i < rcpts; i++)
        smtp_client_rcpt(client, &rcpt);
    smtp_client_check(client);
    for (unsigned i = 0; i < rcpts + 1; i++)
        give(client, OK);
    smtp_client_data(client);
    give(client, GO);
    smtp_client_content(client, SLICE("content\r\n"));
    cr_expect_eq(smtp_client_timeout_ms(client), 3);
    cr_expect_eq(smtp_client_phase(client), SMTP_PHASE_DOT);
    smtp_client_dot(client);
    give(client, OK);
}

Test(smtp_client, a_thousand_recipients_and_many_transactions)
{
    static const char *const ehlos[] = {EHLO_FULL, EHLO_BARE};

    for (size_t i = 0; i < ARRAY_SIZE(ehlos); i++) {
        unsigned count = 0;
        struct buf out;
        struct smtp_client *client;

        buf_init(&out, 0);
        client = smtp_client_new(&settings, &counting, &count, &out);
        give(client, HI);
        give(client, ehlos[i]);
        for (int round = 0; round < 3; round++)
            one_transaction(client, 1000);
        for (int round = 0; round < 50; round++)
            one_transaction(client, 1);
        cr_expect_eq(count, 3 * 1003 + 50 * 4);
        smtp_client_free(&client);
        buf_fini(&out);
    }
}
