/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The index names the messages, as of the transaction; this node's spool has them.  What waits on
 * other nodes is theirs to return: the removal is refused until they have.
 */
#include "admin/removal.h"

#include <string.h>

#include "admin/database.h"
#include "admin/spool_reader.h"

void
removal_init(struct removal *r, struct call *call)
{
    *r = (struct removal){.returns = false};
    spool_orders_init(&r->orders, call, SPOOL_ACT_RETURN);
}

void
removal_fini(struct removal *r)
{
    spool_orders_fini(&r->orders);
}

/* --- Asking the index. */

static enum command_status
query(struct removal *r, const char *columns, const char *where, int param_count,
      const char *const *params, PGresult **result)
{
    enum command_status status;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql, "SELECT %s FROM postern.spool_index WHERE open_recipients > 0 AND (%s)",
               columns, where);
    status = database_query(r->orders.call, buf_text(&sql), param_count, params, result);
    buf_fini(&sql);
    return status;
}

static enum command_status
count_waiting(struct removal *r, const char *where, int param_count, const char *const *params,
              long long *waiting)
{
    PGresult *result;
    enum command_status status = query(r, "count(*)", where, param_count, params, &result);

    if (status != COMMAND_DONE)
        return status;
    *waiting = (long long)database_number(result, 0, 0);
    PQclear(result);
    return COMMAND_DONE;
}

static enum command_status
pick(struct removal *r, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        struct ref ref;

        if (database_number(result, i, 1) != r->orders.call->config->node) {
            call_complain("mail waits for it on node %lld as well: `relayctl spool return --node "
                          "%lld` first, or --spool keep",
                          (long long)database_number(result, i, 1),
                          (long long)database_number(result, i, 1));
            return COMMAND_FAILED;
        }
        if (ref_parse(slice_of(database_text(result, i, 0)), &ref) == ERR_OK)
            spool_orders_pick_ref(&r->orders, ref);
    }
    return COMMAND_DONE;
}

static enum command_status
pick_all(struct removal *r, const char *whole, int param_count, const char *const *params)
{
    PGresult *result;
    enum command_status status = query(r, "ref, node", whole, param_count, params, &result);

    if (status != COMMAND_DONE)
        return status;
    status = pick(r, result);
    PQclear(result);
    return status;
}

static enum command_status
ask(const char *what, long long waiting)
{
    call_complain(
        "%s has %lld message%s waiting in the spool; say what becomes of %s: --spool keep "
        "(%s stay%s until the deadline) or --spool return (%s end%s, and senders that were "
        "verified are told)",
        what, waiting, waiting == 1 ? "" : "s", waiting == 1 ? "it" : "them",
        waiting == 1 ? "it" : "they", waiting == 1 ? "s" : "", waiting == 1 ? "it" : "they",
        waiting == 1 ? "s" : "");
    return COMMAND_FAILED;
}

enum command_status
removal_check(struct removal *r, const char *what, const char *where, const char *whole,
              int param_count, const char *const *params)
{
    const char *choice = call_value(r->orders.call, "spool");
    enum command_status status;
    long long waiting;

    r->returns = choice != NULL && strcmp(choice, "return") == 0;
    if (choice != NULL && !r->returns && strcmp(choice, "keep") != 0)
        return call_usage("--spool: \"%s\" is unknown; use keep or return", choice);
    if (r->returns && (status = spool_orders_check_reason(&r->orders)) != COMMAND_DONE)
        return status;
    status = count_waiting(r, where, param_count, params, &waiting);
    if (status != COMMAND_DONE || waiting == 0)
        return status;
    if (choice == NULL)
        return ask(what, waiting);
    if (r->returns)
        status = pick_all(r, whole, param_count, params);
    if (status == COMMAND_DONE && r->returns && (size_t)waiting > r->orders.picked_count)
        call_complain("%lld of the messages wait for others as well, and stay: `relayctl spool "
                      "list` shows them",
                      waiting - (long long)r->orders.picked_count);
    return status;
}

/* --- Returning. */

enum command_status
removal_finish(struct removal *r, enum command_status status)
{
    struct spool_store *store = NULL;
    struct buf why;

    if (status != COMMAND_DONE || r->orders.picked_count == 0)
        return status;
    buf_init(&why, 0);
    (void)spool_reader_try_open(r->orders.call, NULL, &store, &why); /* its keeper has it */
    buf_fini(&why);
    status = spool_orders_give(&r->orders, store);
    spool_store_close(&store);
    if (status != COMMAND_DONE || r->orders.is_broken) {
        call_complain("the removal is done; what waited is not returned: `relayctl spool return`");
        return COMMAND_PARTLY;
    }
    return spool_orders_complain(&r->orders) > 0 ? COMMAND_PARTLY : COMMAND_DONE;
}
