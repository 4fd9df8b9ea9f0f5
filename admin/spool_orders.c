/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool: the verbs that change what waits.  Who is meant is found here, by reading the
 * log, or PostgreSQL's index where the log is another node's or not ours to read; what is done is
 * an order (lib/order) to the owner of the spool, in parts, so that the owner goes on with its work
 * between them.
 */
#include "admin/spool_orders.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/selection.h"
#include "admin/spool_audit.h"
#include "admin/spool_index.h"
#include "admin/spool_reader.h"
#include "admin/until.h"
#include "base/clock.h"
#include "order/order_json.h"

#define NAMED_MAX 20 /* messages that people are told about one by one */

/* --- What has come of it. */

static size_t
count_all(const struct spool_orders *o)
{
    return o->picked_count + o->away_count;
}

static bool
shows_progress(const struct spool_orders *o)
{
    return !o->call->printing.json && count_all(o) > ORDER_IDS_MAX && isatty(STDERR_FILENO);
}

static void
show_progress(const struct spool_orders *o, size_t at)
{
    if (shows_progress(o))
        fprintf(stderr, "\r%zu of %zu messages%s", at, count_all(o),
                at == count_all(o) ? "\n" : "");
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

/* " on nodes 2 and 3, as alice"; this node alone goes without saying. */
static void
print_nodes(const struct spool_orders *o)
{
    size_t count = json_array_size(o->nodes);

    if (o->away_count == 0 || o->call->dry_run)
        return;
    fprintf(o->call->printing.out, " on node%s", plural(count));
    for (size_t i = 0; i < count; i++)
        fprintf(o->call->printing.out, "%s%lld",
                i == 0          ? " "
                : i + 1 < count ? ", "
                                : " and ",
                (long long)json_integer_value(json_array_get(o->nodes, i)));
    fprintf(o->call->printing.out, ", as %s", o->who);
}

static void
print_text(const struct spool_orders *o)
{
    const struct order_kind *kind = order_kind(o->order.act);

    fprintf(o->call->printing.out, "%s%s %zu message%s%s%s",
            o->call->dry_run ? "dry run: would have " : "", kind->done, o->done, plural(o->done),
            o->order.detail[0] ? " " : "", o->order.detail);
    print_nodes(o);
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
        {"others", "", PRINTER_LEFT},  {"who", "", PRINTER_LEFT},
        {"nodes", "", PRINTER_LEFT},   {"way", "", PRINTER_LEFT},
        {"dry_run", "", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&o->call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));

    printer_text(p, order_kind(o->order.act)->done);
    printer_number(p, (int64_t)o->done);
    printer_value(p, json_incref(o->ids), "");
    printer_number(p, (int64_t)o->already);
    printer_value(p, json_incref(o->others), "");
    printer_text(p, o->who[0] ? o->who : NULL);
    printer_value(p, json_incref(o->nodes), "");
    printer_text(p, o->who[0] ? spool_way_word(o->way) : NULL);
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

    if (o->done + o->already + o->unjudged > 0)
        return others || o->is_broken ? COMMAND_PARTLY : COMMAND_DONE;
    if (o->is_broken)
        return o->broken;
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

/* Those of one node, in parts. */
static void
send_part(struct spool_orders *o, struct spool_way *way, const struct ref *refs, size_t count)
{
    bool has_effect;

    for (size_t at = 0; at < count && !o->is_broken;) {
        size_t n = count - at < ORDER_IDS_MAX ? count - at : ORDER_IDS_MAX;
        json_t *answer = spool_way_ask(way, refs + at, n, &o->broken, &has_effect);

        if (answer) {
            take_answer(o, answer);
            at += n;
            show_progress(o, o->sent += n);
        } else {
            o->is_broken = true;
            if (has_effect)
                call_complain("what was done with up to %zu message%s is not known: look with "
                              "`relayctl spool show`",
                              n, plural(n));
        }
    }
    o->way = spool_way_kind_of(way);
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
give_to(struct spool_orders *o, unsigned node, const struct spool_store *store,
        const struct ref *refs, size_t count)
{
    struct spool_way *way;
    enum command_status status = spool_way_open(o->call, node, &o->order, store, &way);

    if (status != COMMAND_DONE)
        return status;
    json_array_append_new(o->nodes, json_integer(node));
    send_part(o, way, refs, count);
    if (o->way == SPOOL_WAY_SELF)
        follow_without_keeper(o);
    spool_way_close(&way);
    return COMMAND_DONE;
}

static int
by_node(const void *a, const void *b)
{
    const struct spool_away *x = a, *y = b;

    return (x->node > y->node) - (x->node < y->node);
}

/* One node that can not be asked does not keep the others from it. */
static enum command_status
give_away(struct spool_orders *o)
{
    struct ref *refs;
    enum command_status status = COMMAND_DONE;

    if (o->away_count == 0)
        return COMMAND_DONE;
    refs = mem_alloc(o->away_count * sizeof *refs);
    qsort(o->away, o->away_count, sizeof *o->away, by_node);
    for (size_t i = 0; i < o->away_count;) {
        unsigned node = o->away[i].node;
        size_t count = 0;
        enum command_status given;

        for (; i < o->away_count && o->away[i].node == node; i++)
            refs[count++] = o->away[i].ref;
        given = give_to(o, node, NULL, refs, count);
        status = given != COMMAND_DONE ? given : status;
    }
    free(refs);
    return status;
}

static enum command_status
give_all(struct spool_orders *o, const struct spool_store *store)
{
    enum command_status status = COMMAND_DONE, away;

    if (o->picked_count > 0)
        status = give_to(o, o->call->config->node, store, o->picked, o->picked_count);
    away = give_away(o);
    if (away != COMMAND_DONE)
        status = away;
    if (status == COMMAND_DONE || json_array_size(o->nodes) == 0)
        return status;
    o->is_broken = true; /* partly done */
    o->broken = status;
    return COMMAND_DONE;
}

static enum command_status
confirm(const struct spool_orders *o)
{
    char question[256];

    if (!o->asks)
        return COMMAND_DONE;
    snprintf(question, sizeof question, "%s %zu message%s%s%.100s?", o->question, count_all(o),
             plural(count_all(o)), o->order.detail[0] ? " " : "", o->order.detail);
    return call_confirm(o->call, question);
}

/* Whether it can be done to what lies elsewhere is judged there. */
static enum command_status
judge_here(struct spool_orders *o, struct spool_store *store)
{
    o->unjudged = o->away_count + (store ? 0 : o->picked_count);
    if (store)
        judge_all(o, store);
    if (o->unjudged > 0)
        call_complain("dry run: would have asked for %zu message%s more, to be judged where %s",
                      o->unjudged, plural(o->unjudged), o->unjudged == 1 ? "it is" : "they are");
    return COMMAND_DONE;
}

enum command_status
spool_orders_give(struct spool_orders *o, struct spool_store *store)
{
    enum command_status status = confirm(o);

    if (status != COMMAND_DONE)
        return status;
    return o->call->dry_run ? judge_here(o, store) : give_all(o, store);
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
pick_away(struct spool_orders *o, struct ref ref, unsigned node)
{
    if ((o->away_count & (o->away_count - 1)) == 0)
        o->away = mem_realloc(o->away, (o->away_count ? o->away_count * 2 : 1) * sizeof *o->away);
    o->away[o->away_count++] = (struct spool_away){ref, node};
}

static bool
is_elsewhere(const struct spool_orders *o, const struct selection *selection, struct ref ref)
{
    return order_kind(o->order.act)->changes && selection->node == 0 &&
           ref.node != o->call->config->node && o->call->config->database[0] != '\0';
}

/* An id says whose it is. */
static void
note_missing(struct spool_orders *o, const struct selection *selection, struct ref ref)
{
    json_t *answer;

    if (is_elsewhere(o, selection, ref)) {
        pick_away(o, ref, ref.node);
        return;
    }
    answer = order_json_answer("");
    order_json_count(answer, ref, ORDER_MISSING, "it is not in the spool of this node");
    take_answer(o, answer);
}

void
spool_orders_pick(struct spool_orders *o, const struct selection *selection,
                  struct spool_store *store)
{
    struct spool_message *m = NULL;

    while ((m = selection_next(selection, store, m)) != NULL)
        spool_orders_pick_ref(o, m->ref);
    for (size_t i = 0; i < selection->ref_count; i++)
        if (spool_store_find(store, selection->refs[i]) == NULL)
            note_missing(o, selection, selection->refs[i]);
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
        .nodes = json_array(),
        .broken = COMMAND_LATER,
    };
}

void
spool_orders_fini(struct spool_orders *o)
{
    json_decref(o->ids);
    json_decref(o->others);
    json_decref(o->nodes);
    free(o->away);
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

static void
pick_for(struct spool_orders *o, struct ref ref, unsigned node)
{
    if (node == o->call->config->node)
        spool_orders_pick_ref(o, ref);
    else
        pick_away(o, ref, node);
}

static void
pick_row(void *ctx, const PGresult *result, int row)
{
    struct ref ref;

    if (ref_parse(slice_of(PQgetvalue(result, row, 0)), &ref) == ERR_OK)
        pick_for(ctx, ref, (unsigned)database_number(result, row, 1));
}

/* Bare ids need no index: their node knows them. */
static bool
is_ids_alone(const struct selection *s)
{
    return s->refs && !s->customer && !s->rcpt && !s->from && !s->state && !s->domain[0] &&
           !s->backend && !s->received_before_ms && !s->received_after_ms;
}

/* Without a spool that could be read. */
static enum command_status
pick_blind(struct spool_orders *o, const struct selection *selection)
{
    unsigned node = selection->node;

    if (!is_ids_alone(selection) && spool_index_node(o->call, selection) == 0)
        return call_usage(
            "--node N is needed: this machine has no spool (%s), so say whose is meant",
            o->call->config->spool_dir);
    if (!is_ids_alone(selection))
        return spool_index_each(o->call, selection, "ref, node", pick_row, o);
    for (size_t i = 0; i < selection->ref_count; i++)
        pick_for(o, selection->refs[i], node ? node : selection->refs[i].node);
    return COMMAND_DONE;
}

static enum command_status
pick(struct spool_orders *o, const struct selection *selection, struct spool_store **store)
{
    enum command_status status = spool_index_or_store(o->call, selection, NULL, store);

    if (status == COMMAND_DONE && *store == NULL)
        return pick_blind(o, selection);
    if (status == COMMAND_DONE)
        spool_orders_pick(o, selection, *store);
    return status;
}

/* Options of the order alone have been read into it. */
static enum command_status
run(struct spool_orders *o, const struct selection *selection)
{
    struct spool_store *store = NULL;
    enum command_status status = pick(o, selection, &store);

    if (status == COMMAND_DONE) {
        if (count_all(o) > 0)
            status = spool_orders_give(o, store);
        else if (json_array_size(o->others) == 0)
            selection_complain(o->call, selection);
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
