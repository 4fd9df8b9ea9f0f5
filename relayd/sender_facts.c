/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A table of five look-ups: the checks that each tells of, how it is begun, how it is let go.  Each
 * ends in `settle`, at once or later; what settles later is told to who listens.
 *
 * Invariant: a look-up that is begun has a handle or is settled; its facts are unknown until then.
 */
#include "relayd/sender_facts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/conn.h"
#include "sender/sender_dialin.h"
#include "sender/sender_domain.h"
#include "sender/sender_helo.h"

enum lookup { LOOKUP_PTR, LOOKUP_HELO, LOOKUP_DNSBL, LOOKUP_DOMAIN, LOOKUP_SPF, LOOKUP_COUNT };

struct sender_facts {
    struct worker *worker;
    struct inet_endpoint client;
    const struct conn *conn;
    struct policy_facts facts;
    struct lookup_state {
        bool begun, settled;
        int64_t began_ms; /* of the loop */
        int32_t ms;
    } lookups[LOOKUP_COUNT];
    bool is_looking; /* what settles now is returned, and not told */
    void (*on_change)(void *ctx);
    void *ctx;
    char helo[INET_DOMAIN_SIZE];
    struct smtp_path sender;

    struct sender_ptr_check *ptr_check;
    struct sender_ptr ptr;
    struct sender_domain_check *helo_check, *domain_check;
    bool has_null_mx;
    struct sender_dnsbl_check *dnsbl_check;
    struct sender_dnsbl_found *dnsbl;
    struct spf_check *spf_checks[2]; /* by enum spf_identity */
    struct spf_result *spf[2];
};

#define BIT(check) (1u << POLICY_##check)

static void begin_ptr(struct sender_facts *f);
static void begin_helo(struct sender_facts *f);
static void begin_dnsbl(struct sender_facts *f);
static void begin_domain(struct sender_facts *f);
static void begin_spf(struct sender_facts *f);

static const struct lookup_row {
    unsigned checks;
    void (*begin)(struct sender_facts *f);
} rows[] = {
    [LOOKUP_PTR] = {BIT(PTR_NONE) | BIT(PTR_MISMATCH) | BIT(DIALIN), begin_ptr},
    [LOOKUP_HELO] = {BIT(HELO), begin_helo},
    [LOOKUP_DNSBL] = {BIT(DNSBL), begin_dnsbl},
    [LOOKUP_DOMAIN] = {BIT(SENDER), begin_domain},
    [LOOKUP_SPF] = {POLICY_CHECKS_OF_SPF, begin_spf},
};
_Static_assert(ARRAY_SIZE(rows) == LOOKUP_COUNT, "one row each");

static void
set(struct sender_facts *f, enum policy_check check, enum policy_fact fact)
{
    f->facts.of[check] = fact;
}

static void
settle(struct sender_facts *f, enum lookup which)
{
    struct lookup_state *l = &f->lookups[which];

    l->settled = true;
    l->ms = (int32_t)(loop_now_ms(f->worker->loop) - l->began_ms);
    if (!f->is_looking && f->on_change)
        f->on_change(f->ctx);
}

static void
forget(struct sender_facts *f, enum lookup which)
{
    f->lookups[which] = (struct lookup_state){.begun = false};
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (rows[which].checks >> i & 1)
            set(f, (enum policy_check)i, POLICY_FACT_UNKNOWN);
}

/* --- The client's name. */

static enum policy_fact
fact_of_mismatch(const struct sender_ptr *ptr)
{
    switch (ptr->result) {
    case SENDER_PTR_OK:
        return POLICY_FACT_PASS;
    case SENDER_PTR_NONE:
        return POLICY_FACT_NONE;
    case SENDER_PTR_MISMATCH:
        return POLICY_FACT_FAIL;
    case SENDER_PTR_TEMPORARY:
        break;
    }
    return POLICY_FACT_TEMPORARY;
}

static void
on_ptr(void *ctx, const struct sender_ptr *ptr)
{
    struct sender_facts *f = ctx;
    bool has_name = ptr->name[0] != '\0', has_ptr = has_name || ptr->result == SENDER_PTR_MISMATCH;

    f->ptr_check = NULL;
    f->ptr = *ptr;
    set(f, POLICY_PTR_NONE,
        has_ptr                               ? POLICY_FACT_PASS
        : ptr->result == SENDER_PTR_TEMPORARY ? POLICY_FACT_TEMPORARY
                                              : POLICY_FACT_FAIL);
    set(f, POLICY_PTR_MISMATCH, fact_of_mismatch(ptr));
    if (has_name)
        set(f, POLICY_DIALIN,
            sender_dialin_match(f->worker->dialin, ptr->name, &f->client) ? POLICY_FACT_FAIL
                                                                          : POLICY_FACT_PASS);
    else
        set(f, POLICY_DIALIN,
            ptr->result == SENDER_PTR_TEMPORARY ? POLICY_FACT_TEMPORARY : POLICY_FACT_NONE);
    settle(f, LOOKUP_PTR);
}

static void
begin_ptr(struct sender_facts *f)
{
    f->ptr_check = sender_ptr_start(f->worker->dns, &f->client, on_ptr, f);
}

/* --- HELO. */

static void
settle_helo(struct sender_facts *f, enum policy_fact fact)
{
    set(f, POLICY_HELO, fact);
    settle(f, LOOKUP_HELO);
}

static enum policy_fact
fact_of_domain(enum sender_domain result)
{
    switch (result) {
    case SENDER_DOMAIN_OK:
        return POLICY_FACT_PASS;
    case SENDER_DOMAIN_ODD:
        return POLICY_FACT_ODD;
    case SENDER_DOMAIN_NONE:
    case SENDER_DOMAIN_NULL_MX:
        return POLICY_FACT_FAIL;
    case SENDER_DOMAIN_TEMPORARY:
        break;
    }
    return POLICY_FACT_TEMPORARY;
}

static void
on_helo_host(void *ctx, enum sender_domain result)
{
    struct sender_facts *f = ctx;

    f->helo_check = NULL;
    settle_helo(f, fact_of_domain(result));
}

static void
begin_helo(struct sender_facts *f)
{
    static const struct inet_endpoint nobody;
    const struct inet_endpoint *local = f->conn ? conn_local(f->conn) : &nobody;
    char name[INET_DOMAIN_SIZE];

    switch (sender_helo_of(slice_of(f->helo), f->worker->config, &f->client, local, name)) {
    case SENDER_HELO_OURS:
    case SENDER_HELO_ADDRESS:
    case SENDER_HELO_LOCALHOST:
        settle_helo(f, POLICY_FACT_FORGED);
        return;
    case SENDER_HELO_LITERAL:
        settle_helo(f, POLICY_FACT_PASS);
        return;
    case SENDER_HELO_FOREIGN:
    case SENDER_HELO_WORD:
    case SENDER_HELO_NONE:
        settle_helo(f, POLICY_FACT_FAIL);
        return;
    case SENDER_HELO_HOST:
        f->helo_check = sender_domain_host_start(f->worker->dns, name, on_helo_host, f);
        return;
    }
}

/* --- Lists. */

static void
on_dnsbl(void *ctx, const struct sender_dnsbl_found *found)
{
    static const enum policy_fact facts[] = {[SENDER_DNSBL_CLEAN] = POLICY_FACT_PASS,
                                             [SENDER_DNSBL_LISTED] = POLICY_FACT_FAIL,
                                             [SENDER_DNSBL_TEMPORARY] = POLICY_FACT_TEMPORARY};
    struct sender_facts *f = ctx;

    f->dnsbl_check = NULL;
    f->dnsbl = mem_alloc(sizeof *f->dnsbl);
    *f->dnsbl = *found;
    f->facts.is_whitelisted = found->white_list != NULL;
    set(f, POLICY_DNSBL, facts[found->result]);
    settle(f, LOOKUP_DNSBL);
}

static void
begin_dnsbl(struct sender_facts *f)
{
    f->dnsbl_check = sender_dnsbl_start(f->worker->dnsbl, &f->client, on_dnsbl, f);
}

/* --- The sender's domain. */

static void
settle_domain(struct sender_facts *f, enum policy_fact fact)
{
    set(f, POLICY_SENDER, fact);
    settle(f, LOOKUP_DOMAIN);
}

static void
on_domain(void *ctx, enum sender_domain result)
{
    struct sender_facts *f = ctx;

    f->domain_check = NULL;
    f->has_null_mx = result == SENDER_DOMAIN_NULL_MX;
    settle_domain(f, fact_of_domain(result));
}

static void
begin_domain(struct sender_facts *f)
{
    if (f->sender.is_null)
        settle_domain(f, POLICY_FACT_NONE);
    else if (f->sender.domain[0] == '[') /* no domain, and nobody can answer a host */
        settle_domain(f, POLICY_FACT_FAIL);
    else
        f->domain_check = sender_domain_check_start(f->worker->dns, f->sender.domain, on_domain, f);
}

/* --- SPF. */

/* The sender's word counts; that a host may not call itself so (fail) counts as well. */
const struct spf_result *
sender_facts_deciding_spf(const struct sender_facts *f)
{
    const struct spf_result *helo = f->spf[SPF_HELO], *mail = f->spf[SPF_MAIL_FROM];

    return (helo && helo->verdict == SPF_FAIL) || mail == NULL ? helo : mail;
}

static void
settle_spf(struct sender_facts *f)
{
    static const struct {
        enum policy_check check;
        enum spf_verdict verdict;
    } facts[] = {
        {POLICY_SPF, SPF_FAIL},
        {POLICY_SPF_SOFT, SPF_SOFTFAIL},
        {POLICY_SPF_PERM, SPF_PERMERROR},
        {POLICY_SPF_TEMP, SPF_TEMPERROR},
    };
    const struct spf_result *deciding = sender_facts_deciding_spf(f);
    enum spf_verdict verdict = deciding ? deciding->verdict : SPF_NONE;

    if (f->spf_checks[SPF_HELO] || f->spf_checks[SPF_MAIL_FROM])
        return;
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
        set(f, facts[i].check,
            verdict == facts[i].verdict ? POLICY_FACT_FAIL
            : verdict == SPF_NONE       ? POLICY_FACT_NONE
                                        : POLICY_FACT_PASS);
    f->facts.is_authorised = sender_facts_authorised_domain(f)[0] != '\0';
    settle(f, LOOKUP_SPF);
}

static void
keep_spf(struct sender_facts *f, enum spf_identity identity, const struct spf_result *result)
{
    f->spf_checks[identity] = NULL;
    f->spf[identity] = mem_alloc(sizeof *result);
    *f->spf[identity] = *result;
    settle_spf(f);
}

static void
on_spf_helo(void *ctx, const struct spf_result *result)
{
    keep_spf(ctx, SPF_HELO, result);
}

static void
on_spf_mail(void *ctx, const struct spf_result *result)
{
    keep_spf(ctx, SPF_MAIL_FROM, result);
}

struct spf_question
sender_facts_question(const struct sender_facts *f, enum spf_identity identity)
{
    return (struct spf_question){
        .client = f->client, .identity = identity, .helo = f->helo, .mail_from = f->sender.text};
}

static void
begin_spf_of(struct sender_facts *f, enum spf_identity identity)
{
    struct spf_question question = sender_facts_question(f, identity);

    f->spf_checks[identity] = spf_check_start(f->worker->spf, &question,
                                              identity == SPF_HELO ? on_spf_helo : on_spf_mail, f);
}

static void
begin_spf(struct sender_facts *f)
{
    if (strchr(f->helo, '.') && f->helo[0] != '[')
        begin_spf_of(f, SPF_HELO);
    if (!f->sender.is_null)
        begin_spf_of(f, SPF_MAIL_FROM);
    settle_spf(f);
}

static void
forget_spf(struct sender_facts *f)
{
    for (int i = 0; i < 2; i++) {
        spf_check_cancel(&f->spf_checks[i]);
        free(f->spf[i]);
        f->spf[i] = NULL;
    }
    f->facts.is_authorised = false;
    forget(f, LOOKUP_SPF);
}

/* --- Life. */

struct sender_facts *
sender_facts_new(struct worker *worker, const struct inet_endpoint *client, const struct conn *conn)
{
    struct sender_facts *f = mem_alloc(sizeof *f);

    f->worker = worker;
    f->client = *client;
    f->conn = conn;
    f->sender.is_null = true;
    return f;
}

void
sender_facts_free(struct sender_facts **facts)
{
    struct sender_facts *f = *facts;

    *facts = NULL;
    if (f == NULL)
        return;
    sender_ptr_cancel(&f->ptr_check);
    sender_domain_check_cancel(&f->helo_check);
    sender_domain_check_cancel(&f->domain_check);
    sender_dnsbl_cancel(&f->dnsbl_check);
    forget_spf(f);
    free(f->dnsbl);
    loop_defer(f->worker->loop, free, f);
}

void
sender_facts_set_helo(struct sender_facts *f, struct slice name)
{
    char helo[INET_DOMAIN_SIZE];

    if (!slice_to_text(name, helo, sizeof helo))
        helo[0] = '\0';
    if (strcasecmp(helo, f->helo) == 0)
        return;
    snprintf(f->helo, sizeof f->helo, "%s", helo);
    sender_domain_check_cancel(&f->helo_check);
    forget(f, LOOKUP_HELO);
    forget_spf(f);
}

void
sender_facts_set_sender(struct sender_facts *f, const struct smtp_path *path)
{
    if (strcmp(f->sender.text, path->text) == 0)
        return;
    if (strcmp(f->sender.domain, path->domain) != 0) {
        sender_domain_check_cancel(&f->domain_check);
        f->has_null_mx = false;
        forget(f, LOOKUP_DOMAIN);
    }
    f->sender = *path;
    forget_spf(f);
}

const struct policy_facts *
sender_facts_look(struct sender_facts *f, unsigned checks)
{
    f->is_looking = true;
    for (unsigned i = 0; i < LOOKUP_COUNT; i++) {
        if (f->lookups[i].begun || !(rows[i].checks & checks))
            continue;
        f->lookups[i].begun = true;
        f->lookups[i].began_ms = loop_now_ms(f->worker->loop);
        rows[i].begin(f);
    }
    f->is_looking = false;
    return &f->facts;
}

const struct policy_facts *
sender_facts_known(const struct sender_facts *f)
{
    return &f->facts;
}

void
sender_facts_listen(struct sender_facts *f, void (*on_change)(void *ctx), void *ctx)
{
    f->on_change = on_change;
    f->ctx = ctx;
}

/* --- What was found. */

const struct inet_endpoint *
sender_facts_client(const struct sender_facts *f)
{
    return &f->client;
}

const char *
sender_facts_name(const struct sender_facts *f)
{
    return f->ptr.result == SENDER_PTR_OK ? f->ptr.name : "";
}

const char *
sender_facts_ptr(const struct sender_facts *f)
{
    return f->ptr.name;
}

const char *
sender_facts_helo(const struct sender_facts *f)
{
    return f->helo;
}

const struct sender_dnsbl_found *
sender_facts_dnsbl(const struct sender_facts *f)
{
    return f->dnsbl;
}

const struct spf_result *
sender_facts_spf(const struct sender_facts *f, enum spf_identity identity)
{
    return f->spf[identity];
}

bool
sender_facts_has_null_mx(const struct sender_facts *f)
{
    return f->has_null_mx;
}

const char *
sender_facts_authorised_domain(const struct sender_facts *f)
{
    const struct spf_result *mail = f->spf[SPF_MAIL_FROM];

    return mail && mail->verdict == SPF_PASS && mail->is_sound ? mail->domain : "";
}

const char *
sender_facts_input(const struct sender_facts *f, enum policy_check check)
{
    switch (check) {
    case POLICY_PTR_NONE:
    case POLICY_PTR_MISMATCH:
    case POLICY_DIALIN:
        return f->ptr.name;
    case POLICY_HELO:
        return f->helo;
    case POLICY_DNSBL:
        return f->dnsbl && f->dnsbl->result == SENDER_DNSBL_LISTED ? f->dnsbl->list : "";
    case POLICY_SENDER:
        return f->sender.domain;
    case POLICY_SPF:
    case POLICY_SPF_SOFT:
    case POLICY_SPF_PERM:
    case POLICY_SPF_TEMP:
        return sender_facts_deciding_spf(f) ? sender_facts_deciding_spf(f)->domain : "";
    case POLICY_BAN:
    case POLICY_GREYLIST:
    case POLICY_MILTER:
    case POLICY_CHECK_COUNT:
        break;
    }
    return "";
}

int64_t
sender_facts_ms(const struct sender_facts *f, enum policy_check check)
{
    for (unsigned i = 0; i < LOOKUP_COUNT; i++)
        if (rows[i].checks >> check & 1)
            return f->lookups[i].ms;
    return 0;
}
