/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl simulate: what a sender would be told.  The running relay judges, with its own registry,
 * resolver and lists; nothing is written down by it.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/simulate_message.h"
#include "admin/simulate_scan.h"
#include "admin/paragraph.h"
#include "base/inet.h"
#include "net/control.h"
#include "smtp/smtp_path.h"
#include "smtp/smtp_reply.h"

#define ASK_MS 60000

static const struct printer_column check_columns[] = {
    {"check", "CHECK", PRINTER_LEFT},   {"action", "ACTION", PRINTER_LEFT},
    {"result", "RESULT", PRINTER_LEFT}, {"input", "LOOKED AT", PRINTER_LEFT},
    {"ms", "MS", PRINTER_RIGHT},
};

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* --- Asking. */

/* As relayd will read it. */
static enum command_status
check_mailbox(const char *option, const char *text)
{
    struct smtp_path path;

    if (smtp_path_parse_mailbox(slice_of(text), &path) == ERR_OK)
        return COMMAND_DONE;
    return call_usage("--%s: \"%s\" is no mail address; use the form info@acme.example", option,
                      text);
}

static enum command_status
check_options(const struct call *call)
{
    const char *check = call_value(call, "check"), *ip = call_value(call, "ip"),
               *from = call_value(call, "from");
    struct inet_endpoint address;

    if (check != NULL && strcmp(check, "spf") != 0)
        return call_usage(
            "--check: \"%s\" cannot be looked at alone; use spf, or no --check for all", check);
    if (ip == NULL)
        return call_usage("--ip is missing: the address that the mail would come from, for example "
                          "--ip 192.0.2.10");
    if (inet_endpoint_parse(slice_of(ip), 25, &address) < 0)
        return call_usage("--ip: \"%s\" is no address; use 192.0.2.10 or 2001:db8::1", ip);
    if (check != NULL && call_value(call, "message") != NULL)
        return call_usage("--message is for all checks; leave out --check");
    if (check == NULL && call_value(call, "rcpt") == NULL)
        return call_usage("--rcpt is missing: policy belongs to the recipient's customer; `--check "
                          "spf` needs none");
    if (from == NULL && call_value(call, "helo") == NULL)
        return call_usage(
            "--from is missing: the sender, or \"<>\" for the null sender together with --helo");
    if (from != NULL && from[0] && strcmp(from, "<>") != 0 &&
        check_mailbox("from", from) != COMMAND_DONE)
        return COMMAND_USAGE;
    return check != NULL ? COMMAND_DONE : check_mailbox("rcpt", call_value(call, "rcpt"));
}

/* NULL: nobody listens.  `message` is taken over; NULL: there is none. */
static json_t *
ask_relay(const struct call *call, json_t *message)
{
    json_t *question =
               json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "verb", "simulate", "client",
                         call_value(call, "ip"), "helo", call_value(call, "helo") ?: "", "from",
                         call_value(call, "from") ?: "", "rcpt", call_value(call, "rcpt") ?: "",
                         "check", call_value(call, "check") ?: ""),
           *answer = NULL;
    char path[CALL_PATH_SIZE], *line;
    struct buf text;

    if (message)
        json_object_set_new(question, "message", message);
    line = json_dumps(question, JSON_COMPACT);

    buf_init(&text, 0);
    if (line != NULL && control_call(call_path(path, call->config->run_dir, "relayd.sock"),
                                     slice_of(line), ASK_MS, &text) == ERR_OK)
        answer = json_loadb(buf_slice(&text).p, buf_slice(&text).n, 0, NULL);
    buf_fini(&text);
    free(line);
    json_decref(question);
    return answer;
}

/* --- Printing. */

static void
print_name(struct printer *p, const json_t *check)
{
    char name[64];

    snprintf(name, sizeof name, "%.20s%s%.40s", text_of(check, "check"),
             text_of(check, "name")[0] ? " " : "", text_of(check, "name"));
    printer_text(p, name);
}

static void
print_checks(const struct call *call, const json_t *answer)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, check_columns, ARRAY_SIZE(check_columns));
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(answer, "checks"), i, check)
    {
        print_name(p, check);
        printer_text(p, text_of(check, "action"));
        printer_word(p, text_of(check, "result"));
        printer_text(p, text_of(check, "input")[0] ? text_of(check, "input") : NULL);
        printer_number(p, json_integer_value(json_object_get(check, "ms")));
    }
    printer_finish(&p);
}

static void
print_spf(const struct call *call, const json_t *spf)
{
    if (json_is_object(spf))
        paragraph_printf(call->printing.out, "SPF", "%s for %s: %s", text_of(spf, "result"),
                         text_of(spf, "domain"),
                         text_of(spf, "reason")[0] ? text_of(spf, "reason")
                                                   : text_of(spf, "mechanism"));
}

static void
print_marks(const struct call *call, const json_t *answer)
{
    struct buf text;
    json_t *mark;
    size_t i;

    buf_init(&text, 0);
    json_array_foreach(json_object_get(answer, "marks"), i, mark)
    {
        buf_printf(&text, "%s%s", i ? ", " : "", json_string_value(mark));
    }
    if (i > 0)
        paragraph_print(call->printing.out, "Marked", buf_text(&text));
    buf_fini(&text);
}

/* What a list that says good of the client lifts. */
static void
print_white_list(const struct call *call, const json_t *answer)
{
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(answer, "checks"), i, check)
    {
        if (text_of(check, "white_list")[0])
            paragraph_printf(
                call->printing.out, "White list",
                "the client is on %s: no block list counts, and no first contact waits",
                text_of(check, "white_list"));
    }
}

static const char *
sentence_of(const json_t *answer)
{
    if (strcmp(text_of(answer, "verdict"), "hold") == 0)
        return "accepted, and held for a content scanner";
    if (strcmp(text_of(answer, "verdict"), "accept") == 0)
        return "the sender is accepted; limits and the customer's own server come next";
    if (strcmp(text_of(answer, "verdict"), "refuse") == 0)
        return "refused for good";
    if (json_is_true(json_object_get(answer, "greylist_applies")))
        return "greylisted: a first contact waits, and passes then";
    return "put off";
}

static void
print_answer(const struct call *call, const json_t *answer)
{
    FILE *out = call->printing.out;

    if (text_of(answer, "customer")[0])
        paragraph_printf(out, "Customer", "%s, policy %s", text_of(answer, "customer"),
                         text_of(answer, "policy"));
    if (text_of(answer, "rule")[0])
        paragraph_print(out, "Rule", text_of(answer, "rule"));
    if (json_array_size(json_object_get(answer, "checks")) > 0) {
        fputc('\n', out);
        print_checks(call, answer);
        fputc('\n', out);
    }
    print_spf(call, json_object_get(answer, "spf"));
    print_white_list(call, answer);
    print_marks(call, answer);
    paragraph_print(out, "Verdict", sentence_of(answer));
    paragraph_print(out, "Reply", text_of(answer, "reply"));
}

/* As its first word the result, for scripts. */
static void
print_spf_alone(const struct call *call, const json_t *answer)
{
    const json_t *spf = json_object_get(answer, "spf");

    if (!json_is_object(spf)) {
        fputs("none there is no domain to judge\n", call->printing.out);
        return;
    }
    fprintf(call->printing.out, "%s %s%s%s\n", text_of(spf, "result"), text_of(spf, "domain"),
            text_of(spf, "reason")[0] || text_of(spf, "mechanism")[0] ? ": " : "",
            text_of(spf, "reason")[0] ? text_of(spf, "reason") : text_of(spf, "mechanism"));
}

static void
print_json(const struct call *call, json_t *answer)
{
    char *text;

    json_object_del(answer, "ok");
    text = json_dumps(answer, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fprintf(call->printing.out, "%s\n", text);
    free(text);
}

static enum command_status
run(struct call *call, json_t *message, struct slice content)
{
    json_t *answer = ask_relay(call, message);
    enum command_status status = COMMAND_DONE;

    if (answer == NULL) {
        call_complain("relayd does not run here, or may not be asked by you (setting "
                      "control-group): it judges with its own "
                      "registry and resolver");
        return COMMAND_FAILED;
    }
    if (content.n > 0 && (strcmp(text_of(answer, "verdict"), "accept") == 0 ||
                          json_is_true(json_object_get(answer, "greylist_applies"))))
        simulate_scan(call, content, answer);
    json_object_del(answer, "queued");
    if (!json_is_true(json_object_get(answer, "ok"))) {
        call_complain("%s",
                      text_of(answer, "error")[0] ? text_of(answer, "error") : "the answer is odd");
        status = COMMAND_FAILED;
    } else if (call->printing.json)
        print_json(call, answer);
    else if (call_value(call, "check"))
        print_spf_alone(call, answer);
    else
        print_answer(call, answer);
    json_decref(answer);
    return status;
}

enum command_status
simulate(struct call *call)
{
    enum command_status status = check_options(call);
    const char *path = call_value(call, "message");
    json_t *message = NULL;
    struct buf content;

    buf_init(&content, 0);
    if (status == COMMAND_DONE && path != NULL)
        status = simulate_message_read(call, path, call_value(call, "rcpt"), &message, &content);
    if (status == COMMAND_DONE)
        status = run(call, message, buf_slice(&content));
    buf_fini(&content);
    return status;
}
