/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a check asks of DNS.  The domain's own TXT is looked up first and goes with the question, so
 * that a record without further names costs one round trip; so do the records that it includes, if
 * they are in the cache.
 */
#include <stdlib.h>

#include "spf/spf_client_private.h"
#include "spf/spf_dns.h"
#include "spf/spf_macro.h"
#include "spf/spf_record.h"

#define KNOWN_MAX 11 /* answers that go along: one and ten includes */
#define KNOWN_BYTES 16384

static void
put_records(struct spf_check *check, const char *name, enum spf_type type,
            const struct dns_records *found)
{
    struct slice items[DNS_RECORDS_MAX];
    struct spf_answer answer =
        spf_dns_answer(type, found->answer.result, found->items, found->count, items);

    spf_answer_encode(&check->answers, name, type, &answer);
    check->answer_count++;
}

static void put_known(struct spf_check *check, const struct dns_records *found);

/* The record that `spec` leads to, if it is in the cache and has no macros. */
static void
put_known_record(struct spf_check *check, struct slice spec)
{
    struct dns_records found;
    char name[INET_DOMAIN_SIZE];

    if ((spec.n > 0 && memchr(spec.p, '%', spec.n) != NULL) || !spf_macro_name(spec, name) ||
        !dns_peek_records(check->client->dns, name, DNS_TYPE_TXT, &found))
        return;
    put_records(check, name, SPF_TYPE_TXT, &found);
    put_known(check, &found);
}

/* Those that the record in `found` leads to: most checks are of large providers' domains, and a
 * round trip costs more than an answer that is not needed. */
static void
put_known(struct spf_check *check, const struct dns_records *found)
{
    for (unsigned i = 0; i < found->count; i++) {
        struct slice rest = found->items[i].data, spec;

        if (!spf_record_is(rest) || rest.n > SPF_RECORD_MAX)
            continue;
        while (check->answer_count < KNOWN_MAX && buf_size(&check->answers) < KNOWN_BYTES &&
               spf_record_next_reference(&rest, &spec))
            put_known_record(check, spec);
    }
}

static void
take_records(struct spf_lookup *lookup, const struct dns_records *found)
{
    put_records(lookup->check, lookup->name, lookup->type, found);
    if (lookup->type == SPF_TYPE_TXT)
        put_known(lookup->check, found);
}

static void
on_found(void *ctx, const struct dns_records *found)
{
    struct spf_lookup *lookup = ctx;
    struct spf_check *check = lookup->check;

    lookup->dns = NULL;
    take_records(lookup, found);
    if (--check->missing == 0)
        spf_client_ask(check);
}

static void
start_lookup(struct spf_lookup *lookup)
{
    struct spf_check *check = lookup->check;
    struct dns *dns = check->client->dns;
    enum dns_type type = spf_dns_type(lookup->type);
    struct dns_records found;

    if (dns_find_records(dns, lookup->name, type, &found)) {
        take_records(lookup, &found);
        return;
    }
    lookup->dns = dns_lookup_records(dns, lookup->name, type, on_found, lookup);
    check->missing++;
}

/* check->lookups have their names. */
void
spf_client_look_up(struct spf_check *check)
{
    check->state = SPF_CHECK_LOOKING;
    for (unsigned i = 0; i < check->lookup_count; i++)
        start_lookup(&check->lookups[i]);
    if (check->missing == 0)
        spf_client_ask(check);
}

void
spf_client_add_lookups(struct spf_check *check, unsigned count)
{
    spf_client_cancel_lookups(check);
    check->lookups = count > 0 ? mem_alloc(count * sizeof *check->lookups) : NULL;
    check->lookup_count = count;
    for (unsigned i = 0; i < count; i++)
        check->lookups[i].check = check;
}

void
spf_client_cancel_lookups(struct spf_check *check)
{
    for (unsigned i = 0; i < check->lookup_count; i++)
        dns_lookup_cancel(&check->lookups[i].dns);
    free(check->lookups);
    check->lookups = NULL;
    check->lookup_count = check->missing = 0;
}
