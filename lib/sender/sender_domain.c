/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One look-up after the other; what one says chooses the next.  A failure anywhere is a failure of
 * the whole, but for the look at the first MX, which only marks.
 */
#include "sender/sender_domain.h"

#include <stdio.h>
#include <stdlib.h>

struct sender_domain_check {
    struct dns *dns;
    struct dns_lookup *lookup;
    char name[INET_DOMAIN_SIZE];
    bool is_host; /* asked as a HELO name */
    sender_domain_on_done on_done;
    void *ctx;
};

static void
end(struct sender_domain_check *c, enum sender_domain result)
{
    sender_domain_on_done on_done = c->on_done;
    void *ctx = c->ctx;

    free(c);
    on_done(ctx, result);
}

/* --- The first MX. */

static void
on_first_mx(void *ctx, const struct dns_records *found)
{
    struct sender_domain_check *c = ctx;

    c->lookup = NULL;
    end(c, found->is_alias || found->answer.result == DNS_NO_NAME ? SENDER_DOMAIN_ODD
                                                                  : SENDER_DOMAIN_OK);
}

static bool
is_address(const char *name)
{
    struct inet_network network;

    return inet_network_parse(slice_of(name), &network) == ERR_OK;
}

static void
look_at_mx(struct sender_domain_check *c, const struct dns_records *found)
{
    const struct dns_record *first = &found->items[0];

    for (unsigned i = 1; i < found->count; i++)
        if (found->items[i].preference < first->preference)
            first = &found->items[i];
    if (first->is_root)
        end(c, SENDER_DOMAIN_NULL_MX);
    else if (first->name[0] == '\0' || is_address(first->name))
        end(c, SENDER_DOMAIN_ODD);
    else
        c->lookup = dns_lookup_records(c->dns, first->name, DNS_TYPE_A, on_first_mx, c);
}

/* --- MX and address, in either order. */

static void on_addresses(void *ctx, const struct dns_addresses *found);

static void
on_mx(void *ctx, const struct dns_records *found)
{
    struct sender_domain_check *c = ctx;

    c->lookup = NULL;
    if (found->answer.result == DNS_TEMPORARY)
        end(c, SENDER_DOMAIN_TEMPORARY);
    else if (found->answer.result == DNS_OK && c->is_host)
        end(c, found->items[0].is_root ? SENDER_DOMAIN_NONE : SENDER_DOMAIN_OK);
    else if (found->answer.result == DNS_OK)
        look_at_mx(c, found);
    else if (c->is_host || found->answer.result == DNS_NO_NAME)
        end(c, SENDER_DOMAIN_NONE);
    else
        c->lookup = dns_lookup_addresses(c->dns, DNS_FOR_POLICY, c->name, on_addresses, c);
}

static void
on_addresses(void *ctx, const struct dns_addresses *found)
{
    struct sender_domain_check *c = ctx;

    c->lookup = NULL;
    if (found->answer.result == DNS_OK)
        end(c, SENDER_DOMAIN_OK);
    else if (found->answer.result == DNS_TEMPORARY)
        end(c, SENDER_DOMAIN_TEMPORARY);
    else if (!c->is_host || found->answer.result == DNS_NO_NAME)
        end(c, SENDER_DOMAIN_NONE);
    else
        c->lookup = dns_lookup_records(c->dns, c->name, DNS_TYPE_MX, on_mx, c);
}

static struct sender_domain_check *
check_new(struct dns *dns, const char *name, bool is_host, sender_domain_on_done on_done, void *ctx)
{
    struct sender_domain_check *c = mem_alloc(sizeof *c);

    c->dns = dns;
    c->is_host = is_host;
    c->on_done = on_done;
    c->ctx = ctx;
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

struct sender_domain_check *
sender_domain_check_start(struct dns *dns, const char *domain, sender_domain_on_done on_done,
                          void *ctx)
{
    struct sender_domain_check *c = check_new(dns, domain, false, on_done, ctx);

    c->lookup = dns_lookup_records(dns, c->name, DNS_TYPE_MX, on_mx, c);
    return c;
}

struct sender_domain_check *
sender_domain_host_start(struct dns *dns, const char *name, sender_domain_on_done on_done,
                         void *ctx)
{
    struct sender_domain_check *c = check_new(dns, name, true, on_done, ctx);

    c->lookup = dns_lookup_addresses(dns, DNS_FOR_POLICY, c->name, on_addresses, c);
    return c;
}

void
sender_domain_check_cancel(struct sender_domain_check **check)
{
    struct sender_domain_check *c = *check;

    *check = NULL;
    if (c == NULL)
        return;
    dns_lookup_cancel(&c->lookup);
    free(c);
}
