/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl greylist: who has come to this node and waits, and which networks and domains are known.
 * First contacts are listed by their origin and customer, since their addresses are not kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/missing.h"
#include "admin/relay_memory.h"

/* As the greylist sees them. */
#define NETWORK_BITS_4 24
#define NETWORK_BITS_6 64

/* An address, or a network that is smaller than those of the greylist, is in one of them. */
static void
widen(struct inet_network *network)
{
    unsigned bits = network->family == 4 ? NETWORK_BITS_4 : NETWORK_BITS_6;
    struct inet_endpoint first = {.family = network->family};

    memcpy(first.addr, network->addr, sizeof first.addr);
    if (network->family != 0 && network->bits > bits)
        *network = inet_network_around(&first, bits);
}

static enum command_status
read_which(const char *text, struct relay_memory_which *which)
{
    enum command_status status = relay_memory_parse(text, which);

    widen(&which->network);
    return status;
}

static const char *
origin_of(const struct relay_memory_row *row)
{
    return row->network ? row->network : row->domain ? row->domain : "?";
}

/* --- Looking. */

struct listing {
    struct printer *printer;
    const char *customer; /* of this alone; NULL: all */
    const char *state;
    unsigned contacts; /* of the line that is being counted; 0: none */
    char origin[INET_DOMAIN_SIZE], customer_name[64];
    uint32_t customer_id;
    int64_t since_ms, seen_ms;
};

static void
end_line(struct listing *l)
{
    if (l->contacts == 0)
        return;
    printer_text(l->printer, l->state);
    printer_text(l->printer, l->origin);
    printer_text(l->printer, l->customer_name[0] ? l->customer_name : NULL);
    if (l->customer_id != 0)
        printer_number(l->printer, l->contacts);
    else
        printer_none(l->printer, "-");
    printer_time(l->printer, l->since_ms);
    printer_time(l->printer, l->seen_ms);
    l->contacts = 0;
}

static void
begin_line(struct listing *l, const struct relay_memory_row *row)
{
    l->contacts = 1;
    snprintf(l->origin, sizeof l->origin, "%s", origin_of(row));
    snprintf(l->customer_name, sizeof l->customer_name, "%s", row->customer ? row->customer : "");
    l->customer_id = row->customer_id;
    l->since_ms = row->since_ms;
    l->seen_ms = row->seen_ms;
}

/* Those of an origin and customer come one behind the other. */
static void
add_row(void *ctx, const struct relay_memory_row *row)
{
    struct listing *l = ctx;

    if (l->customer && (row->customer == NULL || strcmp(l->customer, row->customer) != 0))
        return;
    if (l->contacts == 0 || row->customer_id != l->customer_id ||
        strcmp(l->origin, origin_of(row)) != 0) {
        end_line(l);
        begin_line(l, row);
        return;
    }
    l->contacts++;
    if (row->since_ms < l->since_ms)
        l->since_ms = row->since_ms;
}

static enum command_status
list_state(const struct call *call, struct listing *l, const char *state,
           const struct relay_memory_which *which)
{
    enum command_status status;

    l->state = state;
    status = relay_memory_list(call, state, which, false, add_row, l);
    end_line(l);
    return status;
}

enum command_status
greylist_list(struct call *call)
{
    static const struct printer_column columns[] = {
        {"state", "STATE", PRINTER_LEFT},       {"origin", "NETWORK OR DOMAIN", PRINTER_LEFT},
        {"customer", "CUSTOMER", PRINTER_LEFT}, {"contacts", "CONTACTS", PRINTER_RIGHT},
        {"since_at", "SINCE", PRINTER_LEFT},    {"seen_at", "LAST SEEN", PRINTER_LEFT},
    };
    struct listing l = {.customer = call_value(call, "customer")};
    struct relay_memory_which which = {.domain = ""};
    enum command_status status = COMMAND_DONE;
    unsigned count;

    if (call->line.operand_count > 0)
        status = read_which(call->line.operands[0], &which);
    if (status != COMMAND_DONE)
        return status;
    l.printer = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    if (!l.customer)
        status = list_state(call, &l, "known", &which);
    if (status == COMMAND_DONE)
        status = list_state(call, &l, "waiting", &which);
    count = printer_row_count(l.printer);
    printer_finish(&l.printer);
    if (status != COMMAND_DONE || count > 0)
        return status;
    if (!l.customer && call->line.operand_count == 0) {
        call_complain("nobody has come to this node whom greylisting knows, or makes wait");
        return COMMAND_DONE;
    }
    call_complain("nobody of these has come, or it was forgotten");
    missing_say(call, MISSING_CUSTOMER, l.customer);
    return COMMAND_NOTHING;
}

/* --- Forgetting. */

struct forgetting {
    long *count; /* that is being counted */
    long known, waiting;
    struct inet_network *networks; /* those found */
    size_t network_count;
};

static void
count_row(void *ctx, const struct relay_memory_row *row)
{
    struct forgetting *f = ctx;
    struct inet_network network;

    ++*f->count;
    if (row->network == NULL || inet_network_parse(slice_of(row->network), &network) != ERR_OK ||
        (f->network_count > 0 &&
         memcmp(&f->networks[f->network_count - 1], &network, sizeof network) == 0))
        return;
    f->networks = mem_realloc(f->networks, (f->network_count + 1) * sizeof network);
    f->networks[f->network_count++] = network;
}

static enum command_status
count_all(const struct call *call, struct forgetting *f, const struct relay_memory_which *which)
{
    enum command_status status;

    f->count = &f->known;
    status = relay_memory_list(call, "known", which, false, count_row, f);
    f->count = &f->waiting;
    if (status == COMMAND_DONE)
        status = relay_memory_list(call, "waiting", which, false, count_row, f);
    if (status == COMMAND_DONE && f->known + f->waiting == 0)
        status = COMMAND_NOTHING;
    return status;
}

/* Of a larger network each that was found. */
static enum command_status
tell(const struct call *call, const struct forgetting *f, const struct relay_memory_which *which)
{
    enum command_status status = COMMAND_DONE;
    struct relay_memory_which one = {.domain = ""};
    unsigned bits = which->network.family == 4 ? NETWORK_BITS_4 : NETWORK_BITS_6;

    if (which->network.family == 0 || which->network.bits == bits)
        return relay_memory_forget_origin(call, which);
    for (size_t i = 0; status == COMMAND_DONE && i < f->network_count; i++) {
        one.network = f->networks[i];
        status = relay_memory_forget_origin(call, &one);
    }
    return status;
}

/* text NULL: all. */
static enum command_status
forget(const struct call *call, const char *text, struct printer *p)
{
    struct forgetting f = {.networks = NULL};
    struct relay_memory_which which = {.domain = ""};
    enum command_status status = text ? read_which(text, &which) : COMMAND_DONE;

    if (status == COMMAND_DONE)
        status = count_all(call, &f, &which);
    if (status == COMMAND_NOTHING)
        call_complain("nothing is known of %s", text ? text : "anybody");
    if (status == COMMAND_DONE && !call->dry_run)
        status = tell(call, &f, &which);
    free(f.networks);
    if (status != COMMAND_DONE)
        return status;
    printer_text(p, text ? text : "all");
    printer_number(p, f.known);
    printer_number(p, f.waiting);
    printer_bool(p, call->dry_run);
    return status;
}

static enum command_status
forget_each(const struct call *call, struct printer *p)
{
    enum command_status status = COMMAND_DONE;
    unsigned done = 0;

    for (unsigned i = 0; i < call->line.operand_count; i++) {
        status = forget(call, call->line.operands[i], p);
        if (status != COMMAND_DONE && status != COMMAND_NOTHING)
            return status;
        done += status == COMMAND_DONE;
    }
    if (done == call->line.operand_count)
        return COMMAND_DONE;
    return done > 0 ? COMMAND_PARTLY : COMMAND_NOTHING;
}

enum command_status
greylist_forget(struct call *call)
{
    static const struct printer_column columns[] = {
        {"forgotten", "FORGOTTEN", PRINTER_LEFT},
        {"known", "KNOWN", PRINTER_RIGHT},
        {"waiting", "CONTACTS THAT WAITED", PRINTER_RIGHT},
        {"dry_run", "ONLY TRIED", PRINTER_LEFT},
    };
    bool all = call_value(call, "all") != NULL;
    enum command_status status = COMMAND_DONE;
    struct printer *p;

    if (all == (call->line.operand_count > 0))
        return call_usage("say which: addresses, networks or domains, or --all");
    if (all)
        status = call_confirm(call, "Forget everybody who has come to this node?");
    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    status = all ? forget(call, NULL, p) : forget_each(call, p);
    printer_finish(&p);
    return status;
}
