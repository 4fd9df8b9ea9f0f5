/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl scan canary: a marked message goes through our own listener, as a stranger's would, and
 * what becomes of it is said with the time of each step.  The relay answers the end of a message
 * when the customer's server has (or when it is in the spool), so its answer is the whole story.
 * The name given in EHLO is not our own: that would be refused, and rightly.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/field.h"
#include "admin/scan_outage.h"
#include "base/clock.h"
#include "base/siphash.h"
#include "conformance/conformance_script.h"
#include "conformance/conformance_talk.h"
#include "net/conn.h"

#define CONNECT_MS 10000
#define BEYOND_MS 10000 /* an answer takes no longer than final-reply-timeout and this */

enum { STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_CONTENT, STEP_COUNT };

static const char *const step_words[STEP_COUNT] = {
    [STEP_MAIL] = "mail",
    [STEP_RCPT] = "rcpt",
    [STEP_DATA] = "data",
    [STEP_CONTENT] = "content",
};

enum outcome { OUTCOME_DELIVERED, OUTCOME_SPOOLED, OUTCOME_REFUSED, OUTCOME_UNANSWERED };

static const struct outcome_row {
    const char *word, *sentence;
    enum command_status status;
} outcome_rows[] = {
    [OUTCOME_DELIVERED] = {"delivered", "The customer's server has taken it.", COMMAND_DONE},
    [OUTCOME_SPOOLED] = {"spooled",
                         "It waits here; `relayctl spool show` with its reference says why.",
                         COMMAND_PARTLY},
    [OUTCOME_REFUSED] = {"refused", "It was refused; `relayctl explain` with the answer says why.",
                         COMMAND_FAILED},
    [OUTCOME_UNANSWERED] = {"unanswered",
                            "The relay did not answer; `relayctl status` says whether it runs.",
                            COMMAND_FAILED},
};

struct canary {
    struct call *call;
    struct loop *loop;
    char id[2 * sizeof(uint64_t) + 1];
    char rcpt[SMTP_PATH_SIZE], sender[SMTP_PATH_SIZE], helo[INET_DOMAIN_SIZE + 8];
    struct conformance_talk_settings settings;
    struct conformance_step steps[STEP_COUNT];
    struct conformance_talk_script script;
    int64_t began_at_ms, ready_ms, took_ms;
    enum outcome outcome;
    char answer[SMTP_REPLY_LINE_SIZE]; /* that decides */
    bool has_outage;
    struct scan_outage outage;
};

/* --- The message. */

static char *
line(const char *verb, const char *address)
{
    struct buf b;
    char *copy;

    buf_init(&b, 0);
    buf_printf(&b, "%s:<%s>", verb, address);
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

static char *
content(const struct canary *c)
{
    char date[CLOCK_RFC5322_SIZE], *copy;
    struct buf b;

    buf_init(&b, 0);
    buf_printf(&b,
               "From: <%s>\r\nTo: <%s>\r\nSubject: canary %s\r\nDate: %s\r\n"
               "Message-ID: <canary-%s@%s>\r\nX-Postern-Canary: %s\r\nAuto-Submitted: "
               "auto-generated\r\n\r\n"
               "A test of the way of mail to you. It can be deleted.\r\n",
               c->sender, c->rcpt, c->id, clock_rfc5322(clock_wall_ms(), date), c->id,
               c->call->config->hostname, c->id);
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

static void
make_script(struct canary *c)
{
    c->steps[STEP_MAIL].line = line("MAIL FROM", c->sender);
    c->steps[STEP_RCPT].line = line("RCPT TO", c->rcpt);
    c->steps[STEP_DATA].line = mem_strdup("DATA");
    c->steps[STEP_CONTENT].content = content(c);
    c->script =
        (struct conformance_talk_script){.steps = c->steps, .count = STEP_COUNT, .delivers = true};
}

static void
free_script(struct canary *c)
{
    for (unsigned i = 0; i < STEP_COUNT; i++) {
        free(c->steps[i].line);
        free(c->steps[i].content);
    }
}

/* --- Its way. */

static void
on_ready(void *ctx, struct conformance_talk *talk)
{
    struct canary *c = ctx;

    c->ready_ms = loop_now_ms(c->loop) - c->began_at_ms;
    conformance_talk_go(talk);
}

static void
on_end(void *ctx, struct conformance_talk *talk)
{
    struct canary *c = ctx;

    (void)talk;
    c->took_ms = loop_now_ms(c->loop) - c->began_at_ms;
    loop_stop(c->loop);
}

static bool
is_taken(const struct smtp_reply *reply)
{
    return reply->code / 100 == 2 || reply->code == 354;
}

static void
judge(struct canary *c)
{
    const struct conformance_talk_result *r = &c->script.result;
    const struct smtp_reply *last = &r->banner;

    for (unsigned i = 0; i < STEP_COUNT && (i == 0 || is_taken(last)); i++)
        if (c->steps[i].reply.code)
            last = &c->steps[i].reply;
    if (last->code)
        smtp_reply_text(last, c->answer, sizeof c->answer);
    if (c->steps[STEP_CONTENT].reply.code / 100 == 2)
        c->outcome = strstr(c->answer, "queued until") ? OUTCOME_SPOOLED : OUTCOME_DELIVERED;
    else if (last->code && !is_taken(last))
        c->outcome = OUTCOME_REFUSED;
    else {
        c->outcome = OUTCOME_UNANSWERED;
        snprintf(c->answer, sizeof c->answer, "%s", r->failure);
    }
}

static void
send_it(struct canary *c)
{
    static const struct conformance_talk_ops ops = {on_ready, on_end};

    c->loop = loop_new();
    loop_allow_stalls(c->loop);
    c->began_at_ms = loop_now_ms(c->loop);
    conformance_talk_start(c->loop, &c->settings, TLS_POLICY_NONE, &c->script, &ops, c);
    loop_run(c->loop);
    conn_close_ending();
    loop_free(&c->loop);
    judge(c);
}

/* --- What is said. */

static const char *
reference_of(const struct canary *c, char dst[REF_SIZE])
{
    struct ref ref;

    return ref_find(slice_of(c->answer), &ref) == ERR_OK ? ref_text(ref, dst) : NULL;
}

static void
print_json(const struct canary *c)
{
    char reference[REF_SIZE], listener[INET_ENDPOINT_SIZE], answer[SMTP_REPLY_LINE_SIZE];
    json_t *steps = json_array(), *all;
    char *text;

    for (unsigned i = 0; i < STEP_COUNT && c->steps[i].reply.code; i++) {
        smtp_reply_text(&c->steps[i].reply, answer, sizeof answer);
        json_array_append_new(steps, json_pack("{s:s, s:I, s:o}", "step", step_words[i], "ms",
                                               (json_int_t)c->steps[i].ms, "reply",
                                               printer_json_text(answer)));
    }
    all = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:o, s:I, s:I, s:o, s:s?, s:o}", "canary",
                    c->id, "outcome", outcome_rows[c->outcome].word, "recipient", c->rcpt, "from",
                    c->sender, "listener", inet_endpoint_text(&c->settings.endpoint, listener),
                    "id", reference_of(c, reference), "reply", printer_json_text(c->answer),
                    "ready_ms", (json_int_t)c->ready_ms, "took_ms", (json_int_t)c->took_ms, "steps",
                    steps, "end", c->outage.end[0] ? c->outage.end : NULL, "end_ms",
                    c->outage.end[0] ? json_integer(c->outage.end_ms) : json_null());
    text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(text != NULL);
    fprintf(c->call->printing.out, "%s\n", text);
    free(text);
    json_decref(all);
}

static void
print_step(struct printer *p, const char *word, int64_t ms, const char *answer)
{
    printer_text(p, word);
    printer_number(p, ms);
    printer_text(p, answer);
}

static void
print_text(const struct canary *c)
{
    static const struct printer_column columns[] = {
        {"step", "STEP", PRINTER_LEFT},
        {"ms", "MS", PRINTER_RIGHT},
        {"answer", "ANSWER", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&c->call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    char answer[SMTP_REPLY_LINE_SIZE];

    if (c->script.result.ready)
        print_step(p, "connect", c->ready_ms, "greeted");
    for (unsigned i = 0; i < STEP_COUNT && c->steps[i].reply.code; i++)
        print_step(p, step_words[i], c->steps[i].ms,
                   smtp_reply_text(&c->steps[i].reply, answer, sizeof answer));
    printer_finish(&p);
    printer_put_word(&c->call->printing, outcome_rows[c->outcome].word, 0);
    fprintf(c->call->printing.out, "after %lld ms: %s\n", (long long)c->took_ms,
            outcome_rows[c->outcome].sentence);
    if (c->outage.end[0]) {
        printer_put_word(&c->call->printing, c->outage.end, 0);
        fprintf(c->call->printing.out, "%lld ms after its servers were released.\n",
                (long long)c->outage.end_ms);
    }
}

/* --- What is asked for. */

static enum command_status
read_recipient(struct canary *c)
{
    const char *rcpt = call_value(c->call, "rcpt"), *domain = call_value(c->call, "domain");
    char text[SMTP_PATH_SIZE];
    struct smtp_path path;

    if ((rcpt == NULL) == (domain == NULL))
        return call_usage("either --rcpt ADDRESS or --domain NAME says who gets it; for example: "
                          "%s",
                          c->call->line.command->example);
    snprintf(text, sizeof text, "%s%s", rcpt ? "" : "postmaster@", rcpt ? rcpt : domain);
    if (smtp_path_parse_mailbox(slice_of(text), &path) < 0 || path.needs_smtputf8)
        return call_usage("%s: \"%.100s\" is no %s", rcpt ? "--rcpt" : "--domain",
                          rcpt ? rcpt : domain, rcpt ? "address" : "domain");
    snprintf(c->rcpt, sizeof c->rcpt, "%s", path.text);
    return COMMAND_DONE;
}

/* The first of `listen`; of one on all addresses the machine's own. */
static struct inet_endpoint
listener_of(const struct config *config)
{
    static const uint8_t any[16], loopback_4[4] = {127, 0, 0, 1}, loopback_6[16] = {[15] = 1};
    struct inet_endpoint e = config->listen.items[0];
    size_t size = e.family == 4 ? sizeof loopback_4 : sizeof loopback_6;

    if (memcmp(e.addr, any, size) == 0)
        memcpy(e.addr, e.family == 4 ? loopback_4 : loopback_6, size);
    return e;
}

static void
set_up(struct canary *c)
{
    const struct config *config = c->call->config;
    uint64_t id;

    random_bytes(&id, sizeof id);
    snprintf(c->id, sizeof c->id, "%016llx", (unsigned long long)id);
    conformance_sender(config->notice_from ? config->notice_from : config->postmaster,
                       config->hostname, c->sender);
    snprintf(c->helo, sizeof c->helo, "canary.%s", config->hostname);
    c->settings = (struct conformance_talk_settings){
        .endpoint = listener_of(config),
        .tls_name = "",
        .hostname = c->helo,
        .connect_timeout_ms = CONNECT_MS,
        .answer_timeout_ms = (int64_t)config->final_reply_timeout_ms + BEYOND_MS,
    };
    make_script(c);
}

/* Into the spool, and out again. */
static enum command_status
send_through_outage(struct canary *c)
{
    enum command_status status = scan_outage_begin(c->call, c->rcpt, &c->outage);
    char reference[REF_SIZE];

    if (status != COMMAND_DONE)
        return status;
    send_it(c);
    status = scan_outage_end(c->call, &c->outage);
    if (status == COMMAND_DONE && c->outcome == OUTCOME_SPOOLED && reference_of(c, reference))
        scan_outage_follow(c->call, reference, &c->outage);
    return COMMAND_DONE;
}

static enum command_status
status_of(const struct canary *c)
{
    if (outcome_rows[c->outcome].status == COMMAND_FAILED)
        call_complain("the canary to %s was not taken: %s", c->rcpt, c->answer);
    if (!c->has_outage)
        return outcome_rows[c->outcome].status;
    if (c->outcome == OUTCOME_DELIVERED)
        call_complain("the canary to %s was delivered at once, although its servers were held",
                      c->rcpt);
    else if (c->outcome == OUTCOME_SPOOLED && strcmp(c->outage.end, "delivered") != 0)
        call_complain("the canary to %s did not go out of the spool again: %s", c->rcpt,
                      c->outage.end[0] ? c->outage.end : "its servers could not be released");
    return c->outcome == OUTCOME_SPOOLED && strcmp(c->outage.end, "delivered") == 0
               ? COMMAND_DONE
               : COMMAND_FAILED;
}

enum command_status
scan_canary(struct call *call)
{
    struct canary c = {.call = call, .has_outage = call_value(call, "outage") != NULL};
    enum command_status status = read_recipient(&c);

    if (status != COMMAND_DONE)
        return status;
    set_up(&c);
    if (c.has_outage)
        status = send_through_outage(&c);
    else
        send_it(&c);
    if (status == COMMAND_DONE) {
        (call->printing.json ? print_json : print_text)(&c);
        status = status_of(&c);
    }
    scan_outage_fini(&c.outage);
    free_script(&c);
    return status;
}
