/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool: the verbs that change what waits.  Who is meant is found here, by reading the
 * log; what is done is an order (lib/order) to the owner of the spool, in parts, so that the owner
 * goes on with its work between them.
 */
#include "admin/spool_orders.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/selection.h"
#include "admin/spool_audit.h"
#include "admin/spool_owner.h"
#include "admin/spool_reader.h"
#include "admin/until.h"
#include "base/clock.h"
#include "order/order_json.h"

#define NAMED_MAX 20 /* messages that people are told about one by one */
#define PROGRESS_FROM 10000

/* --- What has come of it. */

static bool
shows_progress(const struct spool_orders *o)
{
    return !o->call->printing.json && o->picked_count >= PROGRESS_FROM && isatty(STDERR_FILENO);
}

static void
show_progress(const struct spool_orders *o, size_t at)
{
    if (shows_progress(o))
        fprintf(stderr, "\r%zu of %zu messages%s", at, o->picked_count,
                at == o->picked_count ? "\n" : "");
}

static void
take_answer(struct spool_orders *o, json_t *answer)
{
    json_array_extend(o->ids, json_object_get(answer, "ids"));
    o->done = json_array_size(o->ids);
    o->already += (size_t)json_integer_value(json_object_get(answer, "already"));
    json_array_extend(o->others, json_object_get(answer, "others"));
    snprintf(o->who, sizeof o->who, "%s", json_string_value(json_object_get(answer, "who")) ?: "?");
    json_decref(answer);
}

size_t
spool_orders_complain(const struct spool_orders *o)
{
    size_t count = json_array_size(o->others);

    for (size_t i = 0; i < count && i < NAMED_MAX; i++) {
        const json_t *other = json_array_get(o->others, i);

        call_complain("%s: %s", json_string_value(json_object_get(other, "id")),
                      json_string_value(json_object_get(other, "why")));
    }
    if (count > NAMED_MAX)
        call_complain("... and %zu more; --json lists all", count - NAMED_MAX);
    return count;
}

static const char *
plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void
print_text(const struct spool_orders *o)
{
    const struct order_kind *kind = order_kind(o->order.act);

    fprintf(o->call->printing.out, "%s%s %zu message%s%s%s",
            o->call->dry_run ? "dry run: would have " : "", kind->done, o->done, plural(o->done),
            o->order.detail[0] ? " " : "", o->order.detail);
    if (o->already)
        fprintf(o->call->printing.out, "; %zu %s so already", o->already,
                o->already == 1 ? "is" : "are");
    fprintf(o->call->printing.out, "%s\n", o->call->dry_run ? "; nothing is changed" : "");
}

static void
print_json(const struct spool_orders *o)
{
    static const struct printer_column columns[] = {
        {"action", "", PRINTER_LEFT},  {"messages", "", PRINTER_LEFT},
        {"ids", "", PRINTER_LEFT},     {"already", "", PRINTER_LEFT},
        {"others", "", PRINTER_LEFT},  {"operator", "", PRINTER_LEFT},
        {"dry_run", "", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&o->call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));

    printer_text(p, order_kind(o->order.act)->done);
    printer_number(p, (int64_t)o->done);
    printer_value(p, json_incref(o->ids), "");
    printer_number(p, (int64_t)o->already);
    printer_value(p, json_incref(o->others), "");
    printer_text(p, o->who[0] ? o->who : NULL);
    printer_bool(p, o->call->dry_run);
    printer_finish(&p);
}

/* What was named and is not there has not matched. */
static bool
all_are_missing(const struct spool_orders *o)
{
    for (size_t i = 0; i < json_array_size(o->others); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(o->others, i), "result")),
                   order_result_word(ORDER_MISSING)) != 0)
            return false;
    return true;
}

static enum command_status
status_of(const struct spool_orders *o)
{
    size_t others = json_array_size(o->others);

    if (o->done + o->already > 0)
        return others || o->is_broken ? COMMAND_PARTLY : COMMAND_DONE;
    if (o->is_broken)
        return COMMAND_LATER;
    return all_are_missing(o) ? COMMAND_NOTHING : COMMAND_FAILED;
}

static enum command_status
report(const struct spool_orders *o)
{
    if (o->call->printing.json)
        print_json(o);
    else if (o->done + o->already > 0)
        print_text(o);
    spool_orders_complain(o);
    return status_of(o);
}

/* --- Carrying it out. */

static void
judge_one(struct spool_orders *o, struct spool_store *store, struct ref ref)
{
    const struct spool_message *m = spool_store_find(store, ref);
    enum order_result result = ORDER_MISSING;
    json_t *answer = order_json_answer("");
    const char *why = "it is not in the spool of this node";

    if (m)
        result = order_judge(m, &o->order, &why);
    order_json_count(answer, ref, result, why);
    take_answer(o, answer);
}

static void
judge_all(struct spool_orders *o, struct spool_store *store)
{
    for (size_t i = 0; i < o->picked_count; i++)
        judge_one(o, store, o->picked[i]);
}

static void
send_all(struct spool_orders *o, struct spool_owner *owner)
{
    bool has_effect;

    for (size_t at = 0; at < o->picked_count && !o->is_broken;) {
        size_t n = o->picked_count - at < ORDER_IDS_MAX ? o->picked_count - at : ORDER_IDS_MAX;
        json_t *answer = spool_owner_ask(owner, &o->order, o->picked + at, n, &has_effect);

        if (answer) {
            take_answer(o, answer);
            at += n;
            show_progress(o, at);
        } else {
            o->is_broken = true;
            if (has_effect)
                call_complain("what was done with up to %zu message%s is not known: look with "
                              "`relayctl spool show`",
                              n, plural(n));
        }
    }
}

static void
follow_without_keeper(const struct spool_orders *o)
{
    if (o->done == 0)
        return;
    if (o->order.act != SPOOL_ACT_REMOVE && o->order.act != SPOOL_ACT_RETURN &&
        order_kind(o->order.act)->changes)
        call_complain("no keeper is running: this has effect when spoolmgr is started");
    if (o->call->config->database[0])
        spool_audit_copy(o);
}

static enum command_status
confirm(const struct spool_orders *o)
{
    char question[256];

    if (!o->asks)
        return COMMAND_DONE;
    snprintf(question, sizeof question, "%s %zu message%s%s%.100s?", o->question, o->picked_count,
             plural(o->picked_count), o->order.detail[0] ? " " : "", o->order.detail);
    return call_confirm(o->call, question);
}

enum command_status
spool_orders_give(struct spool_orders *o, struct spool_store *store)
{
    struct spool_owner *owner = NULL;
    enum command_status status = confirm(o);

    if (status != COMMAND_DONE)
        return status;
    if (o->call->dry_run) {
        judge_all(o, store);
        return COMMAND_DONE;
    }
    status = spool_owner_open(o->call, store, &owner);
    if (status != COMMAND_DONE)
        return status;
    send_all(o, owner);
    if (!spool_owner_is_keeper(owner))
        follow_without_keeper(o);
    spool_owner_close(&owner);
    return COMMAND_DONE;
}

/* --- Picking. */

void
spool_orders_pick_ref(struct spool_orders *o, struct ref ref)
{
    if ((o->picked_count & (o->picked_count - 1)) == 0)
        o->picked =
            mem_realloc(o->picked, (o->picked_count ? o->picked_count * 2 : 1) * sizeof *o->picked);
    o->picked[o->picked_count++] = ref;
}

static void
note_missing(struct spool_orders *o, const struct selection *selection, struct spool_store *store)
{
    for (size_t i = 0; i < selection->ref_count; i++) {
        json_t *answer;

        if (spool_store_find(store, selection->refs[i]))
            continue;
        answer = order_json_answer("");
        order_json_count(answer, selection->refs[i], ORDER_MISSING,
                         "it is not in the spool of this node");
        take_answer(o, answer);
    }
}

void
spool_orders_pick(struct spool_orders *o, const struct selection *selection,
                  struct spool_store *store)
{
    struct spool_message *m = NULL;

    while ((m = selection_next(selection, store, m)) != NULL)
        spool_orders_pick_ref(o, m->ref);
    note_missing(o, selection, store);
}

void
spool_orders_init(struct spool_orders *o, struct call *call, enum spool_act act)
{
    const char *reason = call_value(call, "reason");

    *o = (struct spool_orders){
        .call = call,
        .order = {.act = act, .reason = reason ? reason : "", .detail = ""},
        .ids = json_array(),
        .others = json_array(),
    };
}

void
spool_orders_fini(struct spool_orders *o)
{
    json_decref(o->ids);
    json_decref(o->others);
    free(o->picked);
}

enum command_status
spool_orders_check_reason(const struct spool_orders *o)
{
    json_t *text = json_string(o->order.reason);
    bool is_text = text != NULL;

    json_decref(text);
    if (order_kind(o->order.act)->needs_reason && o->order.reason[0] == '\0')
        return call_need_reason(o->call);
    if (!is_text)
        return call_usage("--reason: this is no UTF-8 text");
    if (strlen(o->order.reason) > ORDER_REASON_MAX)
        return call_usage("--reason: at most %d octets", ORDER_REASON_MAX);
    return COMMAND_DONE;
}

/* --- The verbs. */

/* Options of the order alone have been read into it. */
static enum command_status
run(struct spool_orders *o, const struct selection *selection)
{
    struct spool_store *store = NULL;
    enum command_status status = spool_reader_open(o->call, &store);

    if (status == COMMAND_DONE) {
        spool_orders_pick(o, selection, store);
        if (o->picked_count > 0)
            status = spool_orders_give(o, store);
        else if (json_array_size(o->others) == 0)
            call_complain(selection->is_empty ? "the spool is empty" : "no message matches");
    }
    if (status == COMMAND_DONE)
        status = report(o);
    spool_store_close(&store);
    return status;
}

typedef enum command_status (*read_options)(struct spool_orders *o,
                                            const struct selection *selection);

static enum command_status
read_until(struct spool_orders *o, const struct selection *selection)
{
    const char *text = call_value(o->call, "until");
    char local[CLOCK_LOCAL_SIZE];
    int rc;

    (void)selection;
    if (text == NULL)
        return call_usage("--until TIME is needed: how long they are kept, such as +2d or "
                          "2026-12-01");
    rc = until_parse(text, o->call->printing.now_ms, &o->order.until_ms);
    if (rc == ERR_RANGE)
        return call_usage("--until: \"%s\" is not in the future, or too far in it", text);
    if (rc != ERR_OK)
        return call_usage("--until: \"%s\" is no time; use +2d, 2026-12-01 or \"2026-12-01 "
                          "15:00\"",
                          text);
    snprintf(o->detail, sizeof o->detail, "until %s", clock_local(o->order.until_ms, local));
    o->order.detail = o->detail;
    return COMMAND_DONE;
}

static enum command_status
read_to(struct spool_orders *o, const struct selection *selection)
{
    const char *text = call_value(o->call, "to");
    enum command_status status;

    if (text == NULL)
        return call_usage("--to CUSTOMER/N is needed: which backend gets them; or --to none, to "
                          "send them where their domain's mail goes");
    o->order.detail = o->detail;
    if (strcmp(text, "none") == 0) {
        snprintf(o->detail, sizeof o->detail, "to where their domain's mail goes");
        return COMMAND_DONE;
    }
    status = routing_read_backend(selection->registry, "--to", text, &o->order.customer_id,
                                  &o->order.backend);
    if (status != COMMAND_DONE)
        return status;
    if (!routing_has_backend(selection->registry, o->order.customer_id, o->order.backend))
        return call_usage("--to: this node knows no backend %.80s that serves all domains of its "
                          "customer; `relayctl backend list` shows them",
                          text);
    snprintf(o->detail, sizeof o->detail, "to %.80s", text);
    return COMMAND_DONE;
}

static enum command_status
give(struct call *call, enum spool_act act, const char *question, read_options read)
{
    struct selection selection;
    struct spool_orders o;
    enum command_status status = selection_read(call, &selection);

    spool_orders_init(&o, call, act);
    o.question = question;
    o.asks = question != NULL;
    if (status == COMMAND_DONE)
        status = selection_need(call, &selection);
    if (status == COMMAND_DONE)
        status = spool_orders_check_reason(&o);
    if (status == COMMAND_DONE && read)
        status = read(&o, &selection);
    if (status == COMMAND_DONE)
        status = run(&o, &selection);
    spool_orders_fini(&o);
    selection_fini(&selection);
    return status;
}

enum command_status
spool_retry(struct call *call)
{
    return give(call, SPOOL_ACT_RETRY, NULL, NULL);
}

enum command_status
spool_hold(struct call *call)
{
    return give(call, SPOOL_ACT_HOLD, NULL, NULL);
}

enum command_status
spool_release(struct call *call)
{
    return give(call, SPOOL_ACT_RELEASE, NULL, NULL);
}

enum command_status
spool_extend(struct call *call)
{
    return give(call, SPOOL_ACT_EXTEND, NULL, read_until);
}

enum command_status
spool_redirect(struct call *call)
{
    return give(call, SPOOL_ACT_REDIRECT, "Redirect", read_to);
}

enum command_status
spool_return(struct call *call)
{
    return give(call, SPOOL_ACT_RETURN, "Return", NULL);
}

enum command_status
spool_remove(struct call *call)
{
    return give(call, SPOOL_ACT_REMOVE, "Remove", NULL);
}
