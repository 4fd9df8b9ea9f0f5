/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each run walks the tree of records from the start.  A term becomes a number for the library and a
 * row in our table; what the library then asks of the number, we look up by the row: the name is
 * expanded, counted and taken from the answers.  One that is missing stops the run, which is thrown
 * away whole.
 *
 * What can be decided here is: ip4, ip6 and all become "a number that always matches" or nothing;
 * so the last number asked for is the term that matched, and its row leads up to the first record.
 *
 * A pass that is owed to a broad term is evaluated once more without broad terms, as far as
 * they stand where only a pass leads to a pass; if it is a pass again, it was not owed to them.
 */
#include "spf/spf_eval.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_answers.h"
#include "spf/spf_library.h"
#include "spf/spf_macro.h"
#include "spf/spf_record.h"

#define MECHANISMS_MAX 10 /* RFC 7208 4.6.4 */
#define VOIDS_MAX 2
#define PTR_NAMES_MAX 10
#define ROWS_MAX 320
#define ROOT 0
#define SOUND_BITS4 16 /* DESIGN.md P4 */
#define SOUND_BITS6 32
#define QUOTE_SIZE 80 /* of a stranger's text in a reason */

enum row_kind { ROW_RECORD, ROW_MATCH, ROW_A, ROW_MX, ROW_EXISTS, ROW_PTR, ROW_HOST };

struct row {
    enum row_kind kind;
    unsigned parent;    /* the row of the record it stands in; of a host: of its mx */
    struct slice text;  /* the term */
    struct slice spec;  /* its domain-spec; n 0: the record's domain */
    const char *domain; /* of a record: its name; of a host: its name */
    bool is_broad;
    bool is_positive; /* a match here leads to a pass, by passes alone */
    bool is_any;      /* its prefix is /0: any address will do */
};

struct spf_eval {
    struct inet_endpoint client;
    char helo[SPF_HELO_SIZE], local_part[SPF_SENDER_SIZE];
    struct spf_answers answers;
    struct spf_result result;
    bool is_second; /* without broad terms */
};

struct walk {
    struct spf_eval *eval;
    struct row rows[ROWS_MAX];
    unsigned row_count;
    unsigned mechanisms, voids;
    unsigned last; /* row that was asked for its addresses */
    bool is_missing, is_failed;
    bool is_validated; /* %{p} has been counted */
    enum spf_verdict verdict;
    char reason[SPF_REASON_SIZE];
};

const char *
spf_verdict_text(enum spf_verdict verdict)
{
    static const char *const texts[] = {
        [SPF_NONE] = "none",           [SPF_NEUTRAL] = "neutral",   [SPF_PASS] = "pass",
        [SPF_FAIL] = "fail",           [SPF_SOFTFAIL] = "softfail", [SPF_TEMPERROR] = "temperror",
        [SPF_PERMERROR] = "permerror",
    };

    return texts[verdict];
}

/* --- How a walk ends early. */

static const char *
quote(struct slice text, char dst[QUOTE_SIZE])
{
    size_t n = 0;

    while (n < text.n && n < QUOTE_SIZE - 4) {
        dst[n] = text.p[n];
        if (dst[n] < 0x20 || dst[n] > 0x7e)
            dst[n] = '?';
        n++;
    }
    snprintf(dst + n, QUOTE_SIZE - n, "%s", n < text.n ? "..." : "");
    return dst;
}

static enum spf_find fail(struct walk *w, enum spf_verdict verdict, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static enum spf_find
fail(struct walk *w, enum spf_verdict verdict, const char *fmt, ...)
{
    va_list args;

    if (w->is_failed)
        return SPF_FIND_STOP;
    w->is_failed = true;
    w->verdict = verdict;
    va_start(args, fmt);
    vsnprintf(w->reason, sizeof w->reason, fmt, args);
    va_end(args);
    return SPF_FIND_STOP;
}

/* NULL: it is missing, or the walk has failed. */
static const struct spf_known *
know(struct walk *w, const char *name, enum spf_type type)
{
    struct spf_answers *answers = &w->eval->answers;
    struct spf_known *known = spf_answers_find(answers, name, type);

    if (known == NULL) {
        if (answers->count < SPF_EVAL_QUESTIONS_MAX)
            known = spf_answers_add(answers, name, type);
        if (known == NULL) {
            (void)fail(w, SPF_PERMERROR, "more than %d questions to DNS are needed",
                       SPF_EVAL_QUESTIONS_MAX);
            return NULL;
        }
    }
    if (known->is_given)
        return known;
    w->is_missing = true;
    return NULL;
}

/* --- Rows. */

static const char *
domain_of(const struct walk *w, const struct row *row)
{
    return w->rows[row->parent].domain;
}

static enum spf_find
count_mechanism(struct walk *w, const struct row *row)
{
    char term[QUOTE_SIZE], domain[QUOTE_SIZE];

    if (++w->mechanisms <= MECHANISMS_MAX)
        return SPF_FIND_OK;
    return fail(w, SPF_PERMERROR, "more than %d mechanisms that ask DNS, at %s in %s",
                MECHANISMS_MAX, quote(row->text, term), quote(slice_of(domain_of(w, row)), domain));
}

static enum spf_find
count_void(struct walk *w, const struct row *row)
{
    char term[QUOTE_SIZE], domain[QUOTE_SIZE];

    if (++w->voids <= VOIDS_MAX)
        return SPF_FIND_NOTHING;
    return fail(w, SPF_PERMERROR, "more than %d names that do not exist, at %s in %s", VOIDS_MAX,
                quote(row->text, term), quote(slice_of(domain_of(w, row)), domain));
}

/* An answer that a term's own name got. */
static enum spf_find
judge_answer(struct walk *w, const struct row *row, const char *name, const struct spf_known *known)
{
    char quoted[QUOTE_SIZE];

    if (known == NULL)
        return SPF_FIND_STOP;
    switch (known->answer.result) {
    case SPF_ANSWER_OK:
        return SPF_FIND_OK;
    case SPF_ANSWER_NO_NAME:
    case SPF_ANSWER_NO_DATA:
        return row->kind == ROW_HOST ? SPF_FIND_NOTHING : count_void(w, row);
    case SPF_ANSWER_TEMPORARY:
        break;
    }
    return fail(w, SPF_TEMPERROR, "DNS gives no answer about %s", quote(slice_of(name), quoted));
}

static enum spf_type
address_type(const struct walk *w)
{
    return w->eval->client.family == 4 ? SPF_TYPE_A : SPF_TYPE_AAAA;
}

static bool
has_client(const struct walk *w, const struct spf_known *known)
{
    size_t size = w->eval->client.family == 4 ? 4 : 16;

    for (unsigned i = 0; i < known->answer.count; i++)
        if (memcmp(known->answer.items[i].p, w->eval->client.addr, size) == 0)
            return true;
    return false;
}

/* --- The client's validated names (RFC 7208 5.5): *names, at most PTR_NAMES_MAX. */

struct validated {
    unsigned count;
    const char *names[PTR_NAMES_MAX];
};

static enum spf_find
validate(struct walk *w, const struct row *row, bool is_counted, struct validated *v)
{
    char reverse[INET_DOMAIN_SIZE], names[PTR_NAMES_MAX][INET_DOMAIN_SIZE];
    const struct spf_known *ptr, *found;
    unsigned count = 0;

    v->count = 0;
    spf_macro_reverse_name(&w->eval->client, reverse);
    ptr = know(w, reverse, SPF_TYPE_PTR);
    if (ptr == NULL)
        return SPF_FIND_STOP;
    if (ptr->answer.result != SPF_ANSWER_OK) /* an error is no match (RFC 7208 5.5) */
        return is_counted && ptr->answer.result != SPF_ANSWER_TEMPORARY ? count_void(w, row)
                                                                        : SPF_FIND_NOTHING;
    for (unsigned i = 0; i < ptr->answer.count && i < PTR_NAMES_MAX; i++)
        if (spf_macro_name(ptr->answer.items[i], names[count]))
            (void)know(w, names[count++], address_type(w)); /* all that is missing at once */
    if (w->is_missing || w->is_failed)
        return SPF_FIND_STOP;
    for (unsigned i = 0; i < count; i++) {
        found = know(w, names[i], address_type(w));
        if (found->answer.result == SPF_ANSWER_OK && has_client(w, found))
            v->names[v->count++] = found->name;
    }
    return v->count > 0 ? SPF_FIND_OK : SPF_FIND_NOTHING;
}

static bool
is_within(const char *name, const char *domain)
{
    size_t n = strlen(name), tail = strlen(domain);

    return n >= tail && strcmp(name + n - tail, domain) == 0 &&
           (n == tail || name[n - tail - 1] == '.');
}

/* %{p}: the domain itself, a name below it, any, in this order (RFC 7208 7.3). */
static const char *
choose_validated(const struct validated *v, const char *domain)
{
    const char *below = NULL;

    for (unsigned i = 0; i < v->count; i++) {
        if (strcmp(v->names[i], domain) == 0)
            return v->names[i];
        if (below == NULL && is_within(v->names[i], domain))
            below = v->names[i];
    }
    if (below != NULL)
        return below;
    return v->count > 0 ? v->names[0] : "unknown";
}

/* --- Names. */

/* The name of a term: *name; SPF_FIND_NOTHING: it is none that DNS could have. */
static enum spf_find
name_of(struct walk *w, const struct row *row, char name[INET_DOMAIN_SIZE])
{
    const struct spf_eval *eval = w->eval;
    struct spf_macro_values values = {
        .client = &eval->client,
        .local_part = eval->local_part,
        .sender_domain = eval->result.domain,
        .helo = eval->helo,
        .domain = domain_of(w, row),
    };

    if (row->spec.n == 0)
        return spf_macro_name(slice_of(values.domain), name) ? SPF_FIND_OK : SPF_FIND_NOTHING;
    if (spf_macro_has(row->spec, "p")) {
        struct validated v;

        if (!w->is_validated && count_mechanism(w, row) == SPF_FIND_STOP)
            return SPF_FIND_STOP;
        w->is_validated = true;
        if (validate(w, row, false, &v) == SPF_FIND_STOP)
            return SPF_FIND_STOP;
        values.validated = choose_validated(&v, values.domain);
    }
    return spf_macro_expand(row->spec, &values, name) ? SPF_FIND_OK : SPF_FIND_NOTHING;
}

/* --- A record for the library. */

static bool
is_broad_network(const struct spf_term *term)
{
    return term->network.bits < (term->network.family == 4 ? SOUND_BITS4 : SOUND_BITS6);
}

/* Would it match whoever wants to? */
static bool
is_broad(const struct walk *w, const struct spf_term *term)
{
    bool is_client_name = spf_macro_has(term->domain, "iph");

    switch (term->kind) {
    case SPF_TERM_ALL:
    case SPF_TERM_PTR:
    case SPF_TERM_EXISTS:
        return true;
    case SPF_TERM_IP4:
    case SPF_TERM_IP6:
        return is_broad_network(term);
    case SPF_TERM_A:
    case SPF_TERM_MX:
        return is_client_name || (w->eval->client.family == 4 ? term->bits4 < SOUND_BITS4
                                                              : term->bits6 < SOUND_BITS6);
    case SPF_TERM_INCLUDE:
    case SPF_TERM_REDIRECT:
        return is_client_name;
    case SPF_TERM_EXP:
    case SPF_TERM_UNKNOWN:
        break;
    }
    return false;
}

static const struct {
    enum row_kind kind;
    const char *name; /* for the library; NULL: it gets nothing of it */
} plans[] = {
    [SPF_TERM_ALL] = {ROW_MATCH, "exists"},
    [SPF_TERM_INCLUDE] = {ROW_RECORD, "include"},
    [SPF_TERM_A] = {ROW_A, "a"},
    [SPF_TERM_MX] = {ROW_MX, "mx"},
    [SPF_TERM_PTR] = {ROW_PTR, "exists"},
    [SPF_TERM_IP4] = {ROW_MATCH, "exists"},
    [SPF_TERM_IP6] = {ROW_MATCH, "exists"},
    [SPF_TERM_EXISTS] = {ROW_EXISTS, "exists"},
    [SPF_TERM_REDIRECT] = {ROW_RECORD, NULL},
    [SPF_TERM_EXP] = {ROW_MATCH, NULL},
    [SPF_TERM_UNKNOWN] = {ROW_MATCH, NULL},
};

/* A new row; 0: there is no room. */
static unsigned
add_row(struct walk *w, const struct row *row)
{
    if (w->row_count == ROWS_MAX) {
        (void)fail(w, SPF_PERMERROR, "its records have too many terms");
        return 0;
    }
    w->rows[w->row_count] = *row;
    return w->row_count++;
}

static unsigned
plan(struct walk *w, unsigned record, const struct spf_term *term)
{
    struct row row = {.kind = plans[term->kind].kind,
                      .parent = record,
                      .text = term->text,
                      .spec = term->domain,
                      .is_broad = is_broad(w, term),
                      .is_positive = w->rows[record].is_positive &&
                                     (term->kind == SPF_TERM_REDIRECT || term->qualifier == '+'),
                      .is_any = (term->kind == SPF_TERM_A || term->kind == SPF_TERM_MX) &&
                                (w->eval->client.family == 4 ? term->bits4 : term->bits6) == 0};

    return add_row(w, &row);
}

/* Of use for this client, in this walk. */
static bool
is_wanted(const struct walk *w, unsigned record, const struct spf_term *term)
{
    if ((term->kind == SPF_TERM_IP4 || term->kind == SPF_TERM_IP6) &&
        !inet_network_has(&term->network, &w->eval->client))
        return false;
    return !(w->eval->is_second && w->rows[record].is_positive &&
             (term->kind == SPF_TERM_REDIRECT || term->qualifier == '+') && is_broad(w, term));
}

struct writing {
    struct buf *record;
    unsigned number, terms;
    bool is_ended; /* nothing behind can be reached */
    bool has_redirect;
    struct spf_term redirect;
};

static void
write_mechanism(struct walk *w, struct writing *out, const struct spf_term *term)
{
    const struct inet_endpoint *client = &w->eval->client;
    uint8_t bits = client->family == 4 ? term->bits4 : term->bits6;
    unsigned whole = client->family == 4 ? 32 : 128;
    unsigned row;

    if (out->is_ended || !is_wanted(w, out->number, term))
        return;
    row = plan(w, out->number, term);
    if (row == 0)
        return;
    if ((term->kind != SPF_TERM_A && term->kind != SPF_TERM_MX) || bits == 0)
        bits = (uint8_t)whole;
    spf_library_put(out->record, term->qualifier, plans[term->kind].name, row, client, bits);
    out->is_ended = plans[term->kind].kind == ROW_MATCH || ++out->terms > MECHANISMS_MAX;
}

static void
write_term(struct walk *w, struct writing *out, const struct spf_term *term)
{
    if (plans[term->kind].name != NULL)
        write_mechanism(w, out, term);
    else if (term->kind == SPF_TERM_REDIRECT) {
        out->has_redirect = true;
        out->redirect = *term;
    }
}

/* All of the record is read, for its syntax. */
static enum spf_find
write_record(struct walk *w, unsigned number, struct slice text, struct buf *record)
{
    struct writing out = {.record = record, .number = number};
    struct spf_record_reader reader;
    struct spf_term term;
    char problem[QUOTE_SIZE], domain[QUOTE_SIZE];
    int rc;

    spf_library_put_version(record);
    spf_record_begin(&reader, text);
    while ((rc = spf_record_next(&reader, &term)) == ERR_OK)
        write_term(w, &out, &term);
    if (rc == ERR_SYNTAX)
        return fail(w, SPF_PERMERROR, "the record of %s is not valid at: %s",
                    quote(slice_of(w->rows[number].domain), domain),
                    quote(reader.problem, problem));
    if (out.has_redirect && !out.is_ended && is_wanted(w, number, &out.redirect)) {
        unsigned row = plan(w, number, &out.redirect);

        if (row != 0)
            spf_library_put_redirect(record, row);
    }
    return w->is_failed ? SPF_FIND_STOP : SPF_FIND_OK;
}

/* --- What the library asks. */

static enum spf_find
select_record(struct walk *w, const struct row *row, const struct spf_known *known,
              struct slice *text)
{
    char term[QUOTE_SIZE], domain[QUOTE_SIZE];

    if (known == NULL)
        return SPF_FIND_STOP;
    (void)quote(slice_of(known->name), domain);
    if (known->answer.result == SPF_ANSWER_TEMPORARY)
        return fail(w, SPF_TEMPERROR, "DNS gives no answer about %s", domain);
    switch (spf_record_select(known->answer.items, known->answer.count, text)) {
    case SPF_SELECTED_ONE:
        return SPF_FIND_OK;
    case SPF_SELECTED_MANY:
        return fail(w, SPF_PERMERROR, "%s has more than one SPF record", domain);
    case SPF_SELECTED_NONE:
        break;
    }
    if (row != &w->rows[ROOT])
        return fail(w, SPF_PERMERROR, "%s has no SPF record, at %s", domain,
                    quote(row->text, term));
    if (known->answer.result == SPF_ANSWER_NO_NAME)
        return fail(w, SPF_NONE, "%s does not exist", domain);
    return fail(w, SPF_NONE, "%s has no SPF record", domain);
}

static enum spf_find
on_record(void *ctx, unsigned number, struct buf *record)
{
    struct walk *w = ctx;
    struct row *row = &w->rows[number];
    const struct spf_known *known;
    char name[INET_DOMAIN_SIZE], term[QUOTE_SIZE];
    struct slice text;
    enum spf_find find = SPF_FIND_OK;

    CHECK(number < w->row_count && row->kind == ROW_RECORD);
    if (number == ROOT)
        snprintf(name, sizeof name, "%s", w->eval->result.domain);
    else
        find = count_mechanism(w, row);
    if (find == SPF_FIND_OK && number != ROOT)
        find = name_of(w, row, name);
    if (find == SPF_FIND_NOTHING)
        return fail(w, SPF_PERMERROR, "there is no such domain as in %s", quote(row->text, term));
    if (find != SPF_FIND_OK)
        return find;
    known = know(w, name, SPF_TYPE_TXT);
    find = select_record(w, row, known, &text);
    if (find != SPF_FIND_OK)
        return find;
    row->domain = known->name;
    return write_record(w, number, text, record);
}

static enum spf_find
add_hosts(struct walk *w, unsigned mx, const struct spf_known *known, struct spf_hosts *hosts)
{
    char name[INET_DOMAIN_SIZE];

    for (unsigned i = 0; i < known->answer.count; i++) {
        const struct spf_known *host;
        struct row row = {.kind = ROW_HOST, .parent = mx, .is_any = w->rows[mx].is_any};

        if (!spf_macro_name(known->answer.items[i], name))
            continue;
        host = know(w, name, address_type(w)); /* all that is missing at once */
        if (w->is_failed)
            return SPF_FIND_STOP;
        if (host == NULL)
            continue;
        row.domain = host->name;
        hosts->items[hosts->count] = add_row(w, &row);
        if (hosts->items[hosts->count++] == 0)
            return SPF_FIND_STOP;
    }
    return w->is_missing ? SPF_FIND_STOP : SPF_FIND_OK;
}

static enum spf_find
on_hosts(void *ctx, unsigned number, struct spf_hosts *hosts)
{
    struct walk *w = ctx;
    struct row *row = &w->rows[number];
    const struct spf_known *known;
    char name[INET_DOMAIN_SIZE], quoted[QUOTE_SIZE];
    enum spf_find find;

    CHECK(number < w->row_count && row->kind == ROW_MX);
    find = count_mechanism(w, row);
    if (find == SPF_FIND_OK)
        find = name_of(w, row, name);
    if (find != SPF_FIND_OK)
        return find;
    known = know(w, name, SPF_TYPE_MX);
    find = judge_answer(w, row, name, known);
    if (find != SPF_FIND_OK)
        return find;
    if (known->answer.count > SPF_LIBRARY_HOSTS_MAX)
        return fail(w, SPF_PERMERROR, "%s has more than %d mail servers",
                    quote(slice_of(name), quoted), SPF_LIBRARY_HOSTS_MAX);
    return add_hosts(w, number, known, hosts);
}

static void
add_address(struct spf_addresses *addresses, struct slice octets)
{
    if (addresses->count < SPF_LIBRARY_ADDRESSES_MAX)
        memcpy(addresses->items[addresses->count++], octets.p, octets.n);
}

/* "It matches": the client's own address. */
static enum spf_find
give_client(const struct walk *w, struct spf_addresses *addresses)
{
    add_address(addresses, (struct slice){(const char *)w->eval->client.addr, 16});
    return SPF_FIND_OK;
}

static enum spf_find
find_ptr(struct walk *w, const struct row *row, const char *target, struct spf_addresses *addresses)
{
    struct validated v;
    enum spf_find find = validate(w, row, true, &v);

    for (unsigned i = 0; find == SPF_FIND_OK && i < v.count; i++)
        if (is_within(v.names[i], target))
            return give_client(w, addresses);
    return find == SPF_FIND_OK ? SPF_FIND_NOTHING : find;
}

static enum spf_find
find_addresses(struct walk *w, const struct row *row, const char *name,
               struct spf_addresses *addresses)
{
    bool is_any = row->is_any || row->kind == ROW_EXISTS;
    /* Always A, whatever the client's family (RFC 7208 5.7). */
    enum spf_type type = row->kind == ROW_EXISTS ? SPF_TYPE_A : address_type(w);
    const struct spf_known *known = know(w, name, type);
    enum spf_find find = judge_answer(w, row, name, known);

    if (find == SPF_FIND_OK && is_any)
        return give_client(w, addresses);
    for (unsigned i = 0; find == SPF_FIND_OK && i < known->answer.count; i++)
        add_address(addresses, known->answer.items[i]);
    return find;
}

static enum spf_find
on_addresses(void *ctx, unsigned number, struct spf_addresses *addresses)
{
    struct walk *w = ctx;
    struct row *row = &w->rows[number];
    char name[INET_DOMAIN_SIZE];
    enum spf_find find;

    CHECK(number < w->row_count);
    w->last = row->kind == ROW_HOST ? row->parent : number;
    if (row->kind == ROW_MATCH)
        return give_client(w, addresses);
    if (row->kind == ROW_HOST)
        return find_addresses(w, row, row->domain, addresses);
    find = count_mechanism(w, row);
    if (find == SPF_FIND_OK)
        find = name_of(w, row, name);
    if (find != SPF_FIND_OK)
        return find;
    if (row->kind == ROW_PTR)
        return find_ptr(w, row, name, addresses);
    return find_addresses(w, row, name, addresses);
}

/* --- A walk. */

static void
take_match(struct walk *w, char mechanism[SPF_MECHANISM_SIZE])
{
    const struct row *row = &w->rows[w->last];
    char term[QUOTE_SIZE], domain[QUOTE_SIZE];

    snprintf(mechanism, SPF_MECHANISM_SIZE, "%s", quote(row->text, term));
    snprintf(w->reason, sizeof w->reason, "%s in the record of %s matches", term,
             quote(slice_of(domain_of(w, row)), domain));
}

static void
take_default(struct walk *w, char mechanism[SPF_MECHANISM_SIZE])
{
    char domain[QUOTE_SIZE];

    snprintf(mechanism, SPF_MECHANISM_SIZE, "default");
    snprintf(w->reason, sizeof w->reason, "nothing in the record of %s matches",
             quote(slice_of(w->eval->result.domain), domain));
}

static void
walk(struct walk *w, char mechanism[SPF_MECHANISM_SIZE])
{
    static const struct spf_library_ops ops = {on_record, on_hosts, on_addresses};
    enum spf_ended ended;

    w->rows[ROOT] =
        (struct row){.kind = ROW_RECORD, .domain = w->eval->result.domain, .is_positive = true};
    w->row_count = 1;
    ended = spf_library_run(&w->eval->client, &ops, w, &w->verdict);
    if (w->is_missing || w->is_failed)
        return;
    switch (ended) {
    case SPF_ENDED_MATCH:
        take_match(w, mechanism);
        return;
    case SPF_ENDED_DEFAULT:
        take_default(w, mechanism);
        return;
    case SPF_ENDED_ERROR:
        (void)fail(w, SPF_TEMPERROR, "its records could not be evaluated");
        return;
    }
}

static bool
is_owed_to_broad(const struct walk *w)
{
    for (unsigned at = w->last; at != ROOT; at = w->rows[at].parent)
        if (w->rows[at].is_broad)
            return true;
    return false;
}

static void
finish(struct spf_eval *eval, const struct walk *w, const char *mechanism)
{
    struct spf_result *result = &eval->result;

    result->verdict = w->verdict;
    result->mechanisms = w->mechanisms;
    memcpy(result->reason, w->reason, sizeof result->reason);
    snprintf(result->mechanism, sizeof result->mechanism, "%s", mechanism);
}

enum spf_eval_state
spf_eval_run(struct spf_eval *eval)
{
    char mechanism[SPF_MECHANISM_SIZE] = "";
    struct walk w;

    if (eval->result.domain[0] == '\0')
        return SPF_EVAL_DONE;
    memset(&w, 0, sizeof w);
    w.eval = eval;
    walk(&w, mechanism);
    if (w.is_missing && !w.is_failed)
        return SPF_EVAL_NEEDS;
    eval->result.lookups = eval->answers.count;
    if (eval->is_second) {
        eval->result.is_sound = w.verdict == SPF_PASS;
        return SPF_EVAL_DONE;
    }
    finish(eval, &w, mechanism);
    if (w.verdict != SPF_PASS)
        return SPF_EVAL_DONE;
    eval->result.is_sound = !is_owed_to_broad(&w);
    if (eval->result.is_sound)
        return SPF_EVAL_DONE;
    eval->is_second = true;
    return spf_eval_run(eval);
}

/* --- The question. */

static const char *
sender_domain(const struct spf_question *question)
{
    const char *at = strrchr(question->mail_from, '@');

    return at != NULL ? at + 1 : question->mail_from;
}

static bool
is_helo(const struct spf_question *question)
{
    return question->identity == SPF_HELO || question->mail_from[0] == '\0';
}

bool
spf_eval_domain(const struct spf_question *question, char domain[INET_DOMAIN_SIZE])
{
    const char *why;
    const char *name = is_helo(question) ? question->helo : sender_domain(question);

    if (inet_domain_normalize(slice_of(name), domain, &why) == ERR_OK)
        return true;
    domain[0] = '\0';
    return false;
}

/* RFC 7208 4.3: without a local part it is "postmaster". */
static void
take_local_part(struct spf_eval *eval, const struct spf_question *question)
{
    const char *at = is_helo(question) ? NULL : strrchr(question->mail_from, '@');

    if (at == NULL || at == question->mail_from)
        snprintf(eval->local_part, sizeof eval->local_part, "postmaster");
    else
        snprintf(eval->local_part, sizeof eval->local_part, "%.*s", (int)(at - question->mail_from),
                 question->mail_from);
}

/* One host has one spelling: an IPv4 address in IPv6 is an IPv4 address. */
static struct inet_endpoint
plain_client(const struct inet_endpoint *client)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct inet_endpoint plain = *client;

    if (plain.family == 6 && memcmp(plain.addr, mapped, sizeof mapped) == 0) {
        plain.family = 4;
        memmove(plain.addr, plain.addr + 12, 4);
        memset(plain.addr + 4, 0, 12);
    }
    return plain;
}

struct spf_eval *
spf_eval_start(const struct spf_question *question)
{
    struct spf_eval *eval = mem_alloc(sizeof *eval);

    spf_answers_init(&eval->answers);
    eval->client = plain_client(&question->client);
    snprintf(eval->helo, sizeof eval->helo, "%s", question->helo);
    take_local_part(eval, question);
    eval->result = (struct spf_result){.verdict = SPF_NONE,
                                       .identity = is_helo(question) ? SPF_HELO : SPF_MAIL_FROM};
    if (!spf_eval_domain(question, eval->result.domain))
        snprintf(eval->result.reason, sizeof eval->result.reason,
                 "the %s names no domain that could have a record",
                 is_helo(question) ? "HELO" : "sender address");
    return eval;
}

void
spf_eval_free(struct spf_eval **held)
{
    struct spf_eval *eval = *held;

    *held = NULL;
    if (eval == NULL)
        return;
    spf_answers_fini(&eval->answers);
    free(eval);
}

void
spf_eval_give(struct spf_eval *eval, const char *name, enum spf_type type,
              const struct spf_answer *answer)
{
    struct spf_known *known = spf_answers_find(&eval->answers, name, type);

    if (known == NULL)
        known = spf_answers_add(&eval->answers, name, type);
    if (known != NULL && !known->is_given)
        spf_answers_fill(&eval->answers, known, answer);
}

bool
spf_eval_needed(const struct spf_eval *eval, unsigned i, const char **name, enum spf_type *type)
{
    for (const struct spf_known *known = eval->answers.first; known != NULL; known = known->next) {
        if (known->is_given || i-- > 0)
            continue;
        *name = known->name;
        *type = known->type;
        return true;
    }
    return false;
}

const struct spf_result *
spf_eval_result(const struct spf_eval *eval)
{
    return &eval->result;
}
