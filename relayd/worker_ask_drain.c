/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An operator takes the node out of service, or back into it, a line of JSON:
 *
 *   node-drain  reason; end: back into service; dry_run: nothing is changed.
 *               {"ok", "was_draining", "connections"}
 *
 * The worker that is asked writes it into the shared table; the others find it there (arrival.c).
 */
#include "base/clock.h"
#include "base/log.h"
#include "relayd/worker_ask_private.h"

#define REASON_SIZE 512

/* True: it was out of service. */
static bool
carry_out(struct worker *w, uint32_t uid, bool is_end, const char *reason)
{
    char quoted[REASON_SIZE];
    bool was_draining = is_end ? shared_table_return_to_service(w->table)
                               : !shared_table_leave_service(w->table, clock_wall_ms());

    if (was_draining == is_end)
        log_line(LOG_LEVEL_WARN, NULL, is_end ? "drain-ended" : "draining",
                 "uid=%u reason=%s connections=%u effect=\"%s\"", uid,
                 log_quote(slice_of(reason), quoted, sizeof quoted), shared_connections(w->table),
                 is_end ? "clients are served again" : "clients are told to come again");
    return was_draining;
}

void
worker_ask_drain(struct worker *w, uint32_t id, uint32_t uid, const json_t *json)
{
    const char *reason = json_string_value(json_object_get(json, "reason"));
    bool is_end = json_is_true(json_object_get(json, "end"));
    bool was_draining = shared_table_left_service_at_ms(w->table) != 0;

    if (!json_is_true(json_object_get(json, "dry_run")))
        was_draining = carry_out(w, uid, is_end, reason ? reason : "");
    worker_ask_answer(w, id,
                      json_pack("{s:b, s:b, s:I}", "ok", 1, "was_draining", (int)was_draining,
                                "connections", (json_int_t)shared_connections(w->table)));
}
