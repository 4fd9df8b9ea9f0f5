/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The PTR records first; then the addresses of their names, of the client's family alone, all at
 * once.  The first name that leads back ends it; otherwise all are waited for, since only then it
 * is known that none does.
 */
#include "sender/sender_ptr.h"

#include <stdio.h>
#include <stdlib.h>

#include "dns/dns_reverse.h"

struct candidate {
    struct sender_ptr_check *check;
    struct dns_lookup *lookup;
    char name[INET_DOMAIN_SIZE];
};

struct sender_ptr_check {
    struct dns *dns;
    struct inet_endpoint address;
    struct dns_lookup *lookup; /* of the names */
    struct candidate candidates[SENDER_PTR_NAMES_MAX];
    unsigned count, waiting;
    bool has_failed; /* a look-up */
    void (*on_done)(void *ctx, const struct sender_ptr *found);
    void *ctx;
};

static void
check_end(struct sender_ptr_check *check)
{
    dns_lookup_cancel(&check->lookup);
    for (unsigned i = 0; i < check->count; i++)
        dns_lookup_cancel(&check->candidates[i].lookup);
    loop_defer(dns_loop(check->dns), free, check);
}

static void
done(struct sender_ptr_check *check, enum sender_ptr_result result, const char *name)
{
    struct sender_ptr found = {.result = result};

    snprintf(found.name, sizeof found.name, "%s", name);
    check_end(check);
    check->on_done(check->ctx, &found);
}

static bool
leads_back(const struct sender_ptr_check *check, const struct dns_records *found)
{
    size_t size = check->address.family == 4 ? 4 : 16;

    for (unsigned i = 0; i < found->count; i++)
        if (memcmp(found->items[i].address.addr, check->address.addr, size) == 0)
            return true;
    return false;
}

static void
on_addresses(void *ctx, const struct dns_records *found)
{
    struct candidate *candidate = ctx;
    struct sender_ptr_check *check = candidate->check;

    candidate->lookup = NULL;
    check->waiting--;
    check->has_failed = check->has_failed || found->answer.result == DNS_TEMPORARY;
    if (leads_back(check, found))
        done(check, SENDER_PTR_OK, candidate->name);
    else if (check->waiting == 0)
        done(check, check->has_failed ? SENDER_PTR_TEMPORARY : SENDER_PTR_MISMATCH,
             check->candidates[0].name);
}

static bool
has_name(const struct sender_ptr_check *check, const char *name)
{
    for (unsigned i = 0; i < check->count; i++)
        if (strcmp(check->candidates[i].name, name) == 0)
            return true;
    return false;
}

static void
take_names(struct sender_ptr_check *check, const struct dns_records *found)
{
    for (unsigned i = 0; i < found->count && check->count < SENDER_PTR_NAMES_MAX; i++) {
        struct candidate *candidate = &check->candidates[check->count];
        const char *name = found->items[i].name;

        if (name[0] == '\0' || has_name(check, name))
            continue;
        candidate->check = check;
        snprintf(candidate->name, sizeof candidate->name, "%s", name);
        check->count++;
    }
}

static void
on_names(void *ctx, const struct dns_records *found)
{
    struct sender_ptr_check *check = ctx;
    enum dns_type type = check->address.family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA;

    check->lookup = NULL;
    if (found->answer.result != DNS_OK) {
        done(check, found->answer.result == DNS_TEMPORARY ? SENDER_PTR_TEMPORARY : SENDER_PTR_NONE,
             "");
        return;
    }
    take_names(check, found);
    check->waiting = check->count;
    for (unsigned i = 0; i < check->count; i++)
        check->candidates[i].lookup = dns_lookup_records(check->dns, check->candidates[i].name,
                                                         type, on_addresses, &check->candidates[i]);
    if (check->count == 0)
        done(check, SENDER_PTR_MISMATCH, "");
}

struct sender_ptr_check *
sender_ptr_start(struct dns *dns, const struct inet_endpoint *address,
                 void (*on_done)(void *ctx, const struct sender_ptr *found), void *ctx)
{
    struct sender_ptr_check *check = mem_alloc(sizeof *check);
    char name[DNS_REVERSE_SIZE];

    check->dns = dns;
    check->address = *address;
    check->on_done = on_done;
    check->ctx = ctx;
    check->lookup =
        dns_lookup_records(dns, dns_reverse_name(address, name), DNS_TYPE_PTR, on_names, check);
    return check;
}

void
sender_ptr_cancel(struct sender_ptr_check **check)
{
    if (*check != NULL)
        check_end(*check);
    *check = NULL;
}
