/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A list of questions, asked one behind the other; an SPF record's answer adds networks and further
 * questions.  Nobody waits for it, so that it need not be fast.
 */
#include "relayd/control_resolve.h"

#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_record.h"

#define MECHANISMS_MAX 10 /* RFC 7208 4.6.4, include, redirect, a and mx */
#define MX_HOSTS_MAX 10
#define JOBS_MAX (1 + MECHANISMS_MAX * (1 + 2 * MX_HOSTS_MAX))
#define WIDEST_4 8 /* as the registry has it */
#define WIDEST_6 16
#define TTL_MOST_S 3600

struct job {
    enum dns_type type;
    char name[INET_DOMAIN_SIZE];
    uint8_t bits4, bits6; /* of a and mx */
};

struct control_resolve {
    struct dns *dns;
    struct dns_lookup *lookup;
    void (*on_done)(void *ctx, const struct control_resolved *result);
    void *ctx;
    struct registry_include include;
    struct job jobs[JOBS_MAX];
    unsigned job_count, next_job, mechanism_count;
    uint32_t ttl_s;
    bool is_failed;
    char why[INET_DOMAIN_SIZE + 300];
};

static void fail(struct control_resolve *r, const char *name, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The first failure is told. */
static void
fail(struct control_resolve *r, const char *name, const char *fmt, ...)
{
    int n;
    va_list args;

    if (r->is_failed)
        return;
    r->is_failed = true;
    n = snprintf(r->why, sizeof r->why, "%s: ", name);
    va_start(args, fmt);
    vsnprintf(r->why + n, sizeof r->why - (size_t)n, fmt, args);
    va_end(args);
    for (char *c = r->why; *c != '\0'; c++) /* a record may hold any octet */
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

/* --- Networks. */

static int
compare_networks(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct inet_network));
}

static void
add_network(struct control_resolve *r, const char *name, const struct inet_network *given,
            unsigned bits)
{
    struct inet_endpoint address = {.family = given->family};
    struct registry_include *include = &r->include;
    struct inet_network network;
    char text[INET_ENDPOINT_SIZE];

    memcpy(address.addr, given->addr, sizeof address.addr);
    network = inet_network_around(&address, bits);
    for (unsigned i = 0; i < include->count; i++)
        if (compare_networks(&include->networks[i], &network) == 0)
            return;
    if (bits < (network.family == 4 ? WIDEST_4 : WIDEST_6))
        fail(r, name, "its network %s is far too wide for a filter",
             inet_network_text(&network, text));
    else if (include->count == REGISTRY_INCLUDE_NETWORKS_MAX)
        fail(r, name, "it leads to more than %d networks", REGISTRY_INCLUDE_NETWORKS_MAX);
    else
        include->networks[include->count++] = network;
}

/* --- Questions. */

static void
add_job(struct control_resolve *r, enum dns_type type, const char *name, const struct job *like)
{
    struct job *job = &r->jobs[r->job_count];

    CHECK(r->job_count < JOBS_MAX);
    *job = (struct job){.type = type, .bits4 = like->bits4, .bits6 = like->bits6};
    snprintf(job->name, sizeof job->name, "%s", name);
    r->job_count++;
}

static void
add_addresses(struct control_resolve *r, const char *name, const struct job *like)
{
    add_job(r, DNS_TYPE_A, name, like);
    add_job(r, DNS_TYPE_AAAA, name, like);
}

/* The name that a term is of. False: it has failed. */
static bool
term_name(struct control_resolve *r, const struct job *job, const struct spf_term *term,
          char name[INET_DOMAIN_SIZE])
{
    const char *why;

    if (term->domain.n == 0)
        return slice_to_text(slice_of(job->name), name, INET_DOMAIN_SIZE);
    if (memchr(term->domain.p, '%', term->domain.n) != NULL)
        fail(r, job->name,
             "its term \"%.*s\" depends on who sends: it cannot be resolved to networks",
             (int)term->text.n, term->text.p);
    else if (inet_domain_normalize(term->domain, name, &why) != ERR_OK)
        fail(r, job->name, "its term \"%.*s\" names what %s", (int)term->text.n, term->text.p, why);
    return !r->is_failed;
}

static void
take_name_term(struct control_resolve *r, const struct job *job, const struct spf_term *term)
{
    struct job like = {.bits4 = term->bits4, .bits6 = term->bits6};
    char name[INET_DOMAIN_SIZE];

    if (!term_name(r, job, term, name))
        return;
    if (++r->mechanism_count > MECHANISMS_MAX)
        fail(r, job->name, "it needs more than the %d look-ups that SPF allows", MECHANISMS_MAX);
    else if (term->kind == SPF_TERM_A)
        add_addresses(r, name, &like);
    else
        add_job(r, term->kind == SPF_TERM_MX ? DNS_TYPE_MX : DNS_TYPE_TXT, name, &like);
}

/* --- Records. */

static void
take_mechanism(struct control_resolve *r, const struct job *job, const struct spf_term *term)
{
    if (term->kind != SPF_TERM_ALL && term->qualifier != '+') {
        fail(r, job->name, "its term \"%.*s\" excludes: it cannot be resolved to networks",
             (int)term->text.n, term->text.p);
        return;
    }
    switch (term->kind) {
    case SPF_TERM_ALL:
        if (term->qualifier == '+')
            fail(r, job->name, "it passes the whole Internet (+all)");
        return;
    case SPF_TERM_IP4:
    case SPF_TERM_IP6:
        add_network(r, job->name, &term->network, term->network.bits);
        return;
    case SPF_TERM_A:
    case SPF_TERM_MX:
    case SPF_TERM_INCLUDE:
        take_name_term(r, job, term);
        return;
    case SPF_TERM_PTR:
    case SPF_TERM_EXISTS:
        fail(r, job->name, "its term \"%.*s\" cannot be resolved to networks", (int)term->text.n,
             term->text.p);
        return;
    case SPF_TERM_REDIRECT:
    case SPF_TERM_EXP:
    case SPF_TERM_UNKNOWN:
        return;
    }
}

/* Terms up to `all`; a redirect counts where there is none (RFC 7208 6.1). */
static void
take_record(struct control_resolve *r, const struct job *job, struct slice record)
{
    struct spf_record_reader reader;
    struct spf_term term, redirect = {.kind = SPF_TERM_UNKNOWN};
    bool has_all = false;
    int rc;

    spf_record_begin(&reader, record);
    while ((rc = spf_record_next(&reader, &term)) == ERR_OK) {
        if (term.kind == SPF_TERM_REDIRECT)
            redirect = term;
        else if (!has_all && term.kind < SPF_TERM_REDIRECT)
            take_mechanism(r, job, &term);
        has_all = has_all || term.kind == SPF_TERM_ALL;
    }
    if (rc != ERR_AGAIN)
        fail(r, job->name, "its SPF record is invalid at \"%.*s\"",
             (int)(reader.problem.n < 80 ? reader.problem.n : 80), reader.problem.p);
    else if (!has_all && redirect.kind == SPF_TERM_REDIRECT)
        take_name_term(r, job, &redirect);
}

static void
take_texts(struct control_resolve *r, const struct job *job, const struct dns_records *found)
{
    struct slice texts[DNS_RECORDS_MAX], record;

    for (unsigned i = 0; i < found->count; i++)
        texts[i] = found->items[i].data;
    switch (spf_record_select(texts, found->count, &record)) {
    case SPF_SELECTED_NONE:
        fail(r, job->name, "it has no SPF record");
        return;
    case SPF_SELECTED_MANY:
        fail(r, job->name, "it has more than one SPF record");
        return;
    case SPF_SELECTED_ONE:
        take_record(r, job, record);
        return;
    }
}

static void
take_hosts(struct control_resolve *r, const struct job *job, const struct dns_records *found)
{
    if (found->count > MX_HOSTS_MAX)
        fail(r, job->name, "it has more than the %d mail servers that SPF allows", MX_HOSTS_MAX);
    for (unsigned i = 0; i < found->count && !r->is_failed; i++)
        if (found->items[i].name[0] != '\0')
            add_addresses(r, found->items[i].name, job);
}

static void
take_addresses(struct control_resolve *r, const struct job *job, const struct dns_records *found)
{
    for (unsigned i = 0; i < found->count; i++) {
        const struct inet_endpoint *e = &found->items[i].address;
        struct inet_network network = {.family = e->family};

        memcpy(network.addr, e->addr, sizeof network.addr);
        add_network(r, job->name, &network, e->family == 4 ? job->bits4 : job->bits6);
    }
}

static void
take_answer(struct control_resolve *r, const struct job *job, const struct dns_records *found)
{
    bool is_spf = job->type == DNS_TYPE_TXT;

    if (found->answer.ttl_s < r->ttl_s)
        r->ttl_s = found->answer.ttl_s;
    if (found->answer.result == DNS_TEMPORARY || found->answer.is_stale)
        fail(r, job->name, "the resolver gives no answer");
    else if (found->answer.result == DNS_NO_NAME && is_spf)
        fail(r, job->name, "there is no such name");
    else if (is_spf)
        take_texts(r, job, found);
    else if (job->type == DNS_TYPE_MX)
        take_hosts(r, job, found);
    else
        take_addresses(r, job, found);
}

/* --- Life. */

static void
finish(struct control_resolve *r)
{
    struct control_resolved result = {.include = &r->include, .ttl_s = r->ttl_s};

    if (!r->is_failed && r->include.count == 0)
        fail(r, r->include.name, "it leads to no network at all");
    qsort(r->include.networks, r->include.count, sizeof r->include.networks[0], compare_networks);
    if (r->is_failed)
        result.why = r->why;
    r->on_done(r->ctx, &result);
    free(r);
}

static void on_records(void *ctx, const struct dns_records *found);

static void
ask_next(struct control_resolve *r)
{
    const struct job *job = &r->jobs[r->next_job];

    if (r->is_failed || r->next_job == r->job_count)
        finish(r);
    else
        r->lookup = dns_lookup_records(r->dns, job->name, job->type, on_records, r);
}

static void
on_records(void *ctx, const struct dns_records *found)
{
    struct control_resolve *r = ctx;

    r->lookup = NULL;
    take_answer(r, &r->jobs[r->next_job++], found);
    ask_next(r);
}

struct control_resolve *
control_resolve_start(struct dns *dns, const char *name,
                      void (*on_done)(void *ctx, const struct control_resolved *result), void *ctx)
{
    struct control_resolve *r = mem_alloc(sizeof *r);

    r->dns = dns;
    r->on_done = on_done;
    r->ctx = ctx;
    r->ttl_s = TTL_MOST_S;
    snprintf(r->include.name, sizeof r->include.name, "%s", name);
    add_job(r, DNS_TYPE_TXT, name, &(struct job){.bits4 = 32, .bits6 = 128});
    ask_next(r);
    return r;
}

void
control_resolve_cancel(struct control_resolve **resolve)
{
    if (*resolve == NULL)
        return;
    dns_lookup_cancel(&(*resolve)->lookup);
    free(*resolve);
    *resolve = NULL;
}
