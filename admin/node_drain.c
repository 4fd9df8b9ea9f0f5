/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl node drain: the relay on this node takes no new clients until it is told otherwise or
 * starts anew, so that it can be stopped when the last has gone.  It is told over its control
 * socket, and logs who has asked; then we write it into PostgreSQL's audit, if that is there: a
 * node must be drained also while it is not (P5).
 */
#include "admin/commands.h"
#include "admin/database.h"
#include "admin/relay_memory.h"

/* *was_draining: before. */
static enum command_status
tell(const struct call *call, bool is_end, bool dry_run, bool *was_draining, unsigned *connections)
{
    json_t *answer;
    enum command_status status = relay_memory_ask(
        call,
        json_pack("{s:s, s:b, s:b, s:s?}", "verb", "node-drain", "end", (int)is_end, "dry_run",
                  (int)dry_run, "reason", call_value(call, "reason")),
        false, &answer);

    *was_draining = json_is_true(json_object_get(answer, "was_draining"));
    *connections = (unsigned)json_integer_value(json_object_get(answer, "connections"));
    json_decref(answer);
    return status;
}

static void
write_down(struct call *call, bool is_end, const char *node)
{
    const char *params[] = {node, is_end ? "drain-end" : "drain", call_value(call, "reason")};
    PGresult *result = NULL;
    struct buf why;

    buf_init(&why, 0);
    if (database_try_connect(call, &why) == COMMAND_DONE) {
        result = database_try(call, "SELECT postern.audit_node_order($1, $2, $3)",
                              ARRAY_SIZE(params), params);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
            database_say_why(call, result, &why);
    }
    PQclear(result);
    if (buf_size(&why) > 0)
        call_warn(call, "the audit in PostgreSQL does not have it, relayd's log does: %s",
                  buf_text(&why));
    buf_fini(&why);
}

enum command_status
node_drain(struct call *call)
{
    bool is_end = call_value(call, "end") != NULL, was_draining;
    enum command_status status = is_end ? COMMAND_DONE : call_need_reason(call);
    unsigned connections;
    char node[16];

    if (status == COMMAND_DONE && !is_end)
        status = call_confirm(call, "Take no new connections on this node?");
    if (status == COMMAND_DONE)
        status = tell(call, is_end, call->dry_run, &was_draining, &connections);
    if (status != COMMAND_DONE)
        return status;
    if (is_end && !was_draining) {
        call_complain("the relay on this node takes connections; there is nothing to end");
        return COMMAND_NOTHING;
    }
    snprintf(node, sizeof node, "%u", (unsigned)call->config->node);
    if (is_end == was_draining && !call->dry_run)
        write_down(call, is_end, node);
    call_done(call, is_end ? "returned to service" : "drained", "node", node);
    if (!is_end && !call->dry_run && !call->printing.json)
        fprintf(call->printing.out,
                "%u connection%s open: those in a message go on to its end, `relayctl status` "
                "counts them.\n",
                connections, connections == 1 ? " is" : "s are");
    return COMMAND_DONE;
}
