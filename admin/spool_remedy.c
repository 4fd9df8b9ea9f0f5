/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Its route (admin/routing.h), whether it is held, and how its servers are, as this node sees them.
 */
#include "admin/spool_remedy.h"

#include "admin/backend_health.h"
#include "base/clock.h"

struct look {
    const struct shared_table *table; /* NULL: the relay has not been here */
    struct registry_backend backend;  /* the first that is not asked */
    struct shared_health health;
    bool is_found, is_other_up;
};

static void
look_at(void *ctx, const struct registry_backend *backend)
{
    struct look *look = ctx;
    struct shared_health health;

    if (backend->held || backend->endpoint.family == 0 ||
        shared_health_get(look->table, &backend->endpoint, &health) != ERR_OK)
        return; /* it is not to be asked, or nothing is known of it */
    if (!shared_health_stops(health.state)) {
        look->is_other_up = true;
    } else if (!look->is_found) {
        look->is_found = true;
        look->backend = *backend;
        look->health = health;
    }
}

static void
add_server(const struct call *call, const struct registry *registry, const struct look *look,
           struct buf *remedy)
{
    char customer[REGISTRY_NAME_SIZE], when[CLOCK_LOCAL_SIZE], relative[PRINTER_RELATIVE_SIZE];
    const char *name = routing_customer_name(registry, look->backend.customer_id, customer);
    bool is_refusing = look->health.state == SHARED_HEALTH_REFUSING;

    buf_printf(remedy, "its server %s/%u is %s since %s (%s", name, look->backend.number,
               shared_health_shown(&look->health, call->printing.now_ms),
               clock_local(look->health.since_ms, when), shared_reason_text(look->health.reason));
    if (look->health.next_probe_at_ms > call->printing.now_ms)
        buf_printf(
            remedy, "; asked again %s",
            printer_relative(look->health.next_probe_at_ms, call->printing.now_ms, relative));
    buf_printf(remedy,
               is_refusing ? "); once it is mended: `relayctl backend release %s/%u`"
                           : "); what it says now: `relayctl backend test %s/%u`",
               name, look->backend.number);
}

void
spool_remedy(const struct call *call, const struct registry *registry,
             const struct spool_message *m, struct buf *remedy)
{
    struct shared_table *table = backend_health_open(call);
    struct look look = {.table = table};
    char id[REF_SIZE];

    routing_remedy(registry, m, remedy);
    if (m->held && m->open_count > 0)
        buf_printf(remedy, "%sto let it go: relayctl spool release %s",
                   buf_size(remedy) ? "; " : "", ref_text(m->ref, id));
    if (buf_size(remedy) == 0 && table && m->open_count > 0 &&
        (m->flags & SPOOL_FLAG_OWN) == 0 && /* that has a way out of its own */
        spool_message_next_attempt_at_ms(m) <= call->printing.now_ms)
        routing_each_backend(registry, m, look_at, &look);
    if (look.is_found && !look.is_other_up)
        add_server(call, registry, &look, remedy);
    shared_table_detach(&table);
}
