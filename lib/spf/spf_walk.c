/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the library asks of a number, by the number's row: the name is expanded, counted and taken
 * from the answers.  One that is missing stops the walk.  A row that was decided when its record
 * was read is answered "it matches"; so the last number asked for is the term that matched, and its
 * row leads up to the first record.
 */
#include "spf/spf_walk.h"

#include <stdarg.h>
#include <stdio.h>

#include "spf/spf_eval.h"
#include "spf/spf_macro.h"

#define VOIDS_MAX 2 /* RFC 7208 4.6.4 */

/* --- How a walk ends early. */

const char *
spf_walk_quote(struct slice text, char dst[SPF_QUOTE_SIZE])
{
    size_t n = 0;

    while (n < text.n && n < SPF_QUOTE_SIZE - 4) {
        dst[n] = text.p[n];
        if (dst[n] < 0x20 || dst[n] > 0x7e)
            dst[n] = '?';
        n++;
    }
    memcpy(dst + n, n < text.n ? "..." : "", n < text.n ? 4 : 1);
    return dst;
}

enum spf_find
spf_walk_fail(struct spf_walk *w, enum spf_verdict verdict, const char *fmt, ...)
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

const struct spf_known *
spf_walk_know(struct spf_walk *w, const char *name, enum spf_type type)
{
    struct spf_known *known = spf_answers_find(w->answers, name, type);

    if (known == NULL) {
        if (w->answers->count < SPF_EVAL_QUESTIONS_MAX)
            known = spf_answers_add(w->answers, name, type);
        if (known == NULL) {
            (void)spf_walk_fail(w, SPF_PERMERROR, "more than %d questions to DNS are needed",
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

unsigned
spf_walk_add_row(struct spf_walk *w, const struct spf_row *row)
{
    if (w->row_count == SPF_WALK_ROWS_MAX) {
        (void)spf_walk_fail(w, SPF_PERMERROR, "its records have too many terms");
        return 0;
    }
    w->rows[w->row_count] = *row;
    return w->row_count++;
}

const char *
spf_walk_domain(const struct spf_walk *w, const struct spf_row *row)
{
    return w->rows[row->parent].domain;
}

enum spf_find
spf_walk_count_mechanism(struct spf_walk *w, const struct spf_row *row)
{
    char term[SPF_QUOTE_SIZE], domain[SPF_QUOTE_SIZE];

    if (++w->mechanisms <= SPF_WALK_MECHANISMS_MAX)
        return SPF_FIND_OK;
    return spf_walk_fail(w, SPF_PERMERROR, "more than %d mechanisms that ask DNS, at %s in %s",
                         SPF_WALK_MECHANISMS_MAX, spf_walk_quote(row->text, term),
                         spf_walk_quote(slice_of(spf_walk_domain(w, row)), domain));
}

enum spf_find
spf_walk_count_void(struct spf_walk *w, const struct spf_row *row)
{
    char term[SPF_QUOTE_SIZE], domain[SPF_QUOTE_SIZE];

    if (++w->voids <= VOIDS_MAX)
        return SPF_FIND_NOTHING;
    return spf_walk_fail(w, SPF_PERMERROR, "more than %d names that do not exist, at %s in %s",
                         VOIDS_MAX, spf_walk_quote(row->text, term),
                         spf_walk_quote(slice_of(spf_walk_domain(w, row)), domain));
}

/* --- What the library asks. */

/* An answer that a term's own name got. */
static enum spf_find
judge_answer(struct spf_walk *w, const struct spf_row *row, const char *name,
             const struct spf_known *known)
{
    char quoted[SPF_QUOTE_SIZE];

    if (known == NULL)
        return SPF_FIND_STOP;
    switch (known->answer.result) {
    case SPF_ANSWER_OK:
        return SPF_FIND_OK;
    case SPF_ANSWER_NO_NAME:
    case SPF_ANSWER_NO_DATA:
        return row->kind == SPF_ROW_HOST ? SPF_FIND_NOTHING : spf_walk_count_void(w, row);
    case SPF_ANSWER_TEMPORARY:
        break;
    }
    return spf_walk_fail(w, SPF_TEMPERROR, "DNS gives no answer about %s",
                         spf_walk_quote(slice_of(name), quoted));
}

enum spf_type
spf_walk_address_type(const struct spf_walk *w)
{
    return w->subject->client.family == 4 ? SPF_TYPE_A : SPF_TYPE_AAAA;
}

static enum spf_find
on_record(void *ctx, unsigned number, const char **text)
{
    return spf_walk_record(ctx, number, text);
}

static enum spf_find
add_hosts(struct spf_walk *w, unsigned mx, const struct spf_known *known, struct spf_hosts *hosts)
{
    char name[INET_DOMAIN_SIZE];

    for (unsigned i = 0; i < known->answer.count; i++) {
        const struct spf_known *host;
        struct spf_row row = {.kind = SPF_ROW_HOST, .parent = mx, .is_any = w->rows[mx].is_any};

        if (!spf_macro_name(known->answer.items[i], name))
            continue;
        host = spf_walk_know(w, name, spf_walk_address_type(w)); /* all that is missing at once */
        if (w->is_failed)
            return SPF_FIND_STOP;
        if (host == NULL)
            continue;
        row.domain = host->name;
        hosts->items[hosts->count] = spf_walk_add_row(w, &row);
        if (hosts->items[hosts->count++] == 0)
            return SPF_FIND_STOP;
    }
    return w->is_missing ? SPF_FIND_STOP : SPF_FIND_OK;
}

static enum spf_find
on_hosts(void *ctx, unsigned number, struct spf_hosts *hosts)
{
    struct spf_walk *w = ctx;
    struct spf_row *row = &w->rows[number];
    const struct spf_known *known;
    char name[INET_DOMAIN_SIZE], quoted[SPF_QUOTE_SIZE];
    enum spf_find find;

    CHECK(number < w->row_count && row->kind == SPF_ROW_MX);
    find = spf_walk_count_mechanism(w, row);
    if (find == SPF_FIND_OK)
        find = spf_walk_name(w, row, name);
    if (find != SPF_FIND_OK)
        return find;
    known = spf_walk_know(w, name, SPF_TYPE_MX);
    find = judge_answer(w, row, name, known);
    if (find != SPF_FIND_OK)
        return find;
    if (known->answer.count > SPF_LIBRARY_HOSTS_MAX)
        return spf_walk_fail(w, SPF_PERMERROR, "%s has more than %d mail servers",
                             spf_walk_quote(slice_of(name), quoted), SPF_LIBRARY_HOSTS_MAX);
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
give_client(const struct spf_walk *w, struct spf_addresses *addresses)
{
    add_address(addresses, (struct slice){(const char *)w->subject->client.addr, 16});
    return SPF_FIND_OK;
}

static enum spf_find
find_ptr(struct spf_walk *w, const struct spf_row *row, const char *target,
         struct spf_addresses *addresses)
{
    enum spf_find find = spf_walk_ptr(w, row, target);

    return find == SPF_FIND_OK ? give_client(w, addresses) : find;
}

static enum spf_find
find_addresses(struct spf_walk *w, const struct spf_row *row, const char *name,
               struct spf_addresses *addresses)
{
    bool is_any = row->is_any || row->kind == SPF_ROW_EXISTS;
    /* Always A, whatever the client's family (RFC 7208 5.7). */
    enum spf_type type = row->kind == SPF_ROW_EXISTS ? SPF_TYPE_A : spf_walk_address_type(w);
    const struct spf_known *known = spf_walk_know(w, name, type);
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
    struct spf_walk *w = ctx;
    struct spf_row *row = &w->rows[number];
    char name[INET_DOMAIN_SIZE];
    enum spf_find find;

    CHECK(number < w->row_count);
    w->last = row->kind == SPF_ROW_HOST ? row->parent : number;
    if (row->kind == SPF_ROW_MATCH)
        return give_client(w, addresses);
    if (row->kind == SPF_ROW_HOST)
        return find_addresses(w, row, row->domain, addresses);
    find = spf_walk_count_mechanism(w, row);
    if (find == SPF_FIND_OK)
        find = spf_walk_name(w, row, name);
    if (find != SPF_FIND_OK)
        return find;
    if (row->kind == SPF_ROW_PTR)
        return find_ptr(w, row, name, addresses);
    return find_addresses(w, row, name, addresses);
}

/* --- A walk. */

static void
take_match(struct spf_walk *w)
{
    const struct spf_row *row = &w->rows[w->last];
    char domain[SPF_QUOTE_SIZE];

    (void)spf_walk_quote(row->text, w->mechanism);
    snprintf(w->reason, sizeof w->reason, "%s in the record of %s matches", w->mechanism,
             spf_walk_quote(slice_of(spf_walk_domain(w, row)), domain));
}

static void
take_default(struct spf_walk *w)
{
    char domain[SPF_QUOTE_SIZE];

    snprintf(w->mechanism, sizeof w->mechanism, "default");
    snprintf(w->reason, sizeof w->reason, "nothing in the record of %s matches",
             spf_walk_quote(slice_of(w->subject->domain), domain));
}

static void
take_end(struct spf_walk *w, enum spf_ended ended)
{
    switch (ended) {
    case SPF_ENDED_MATCH:
        take_match(w);
        return;
    case SPF_ENDED_DEFAULT:
        take_default(w);
        return;
    case SPF_ENDED_ERROR:
        (void)spf_walk_fail(w, SPF_TEMPERROR, "its records could not be evaluated");
        return;
    }
}

void
spf_walk_run(struct spf_walk *w, const struct spf_walk_subject *subject,
             struct spf_answers *answers)
{
    static const struct spf_library_ops ops = {on_record, on_hosts, on_addresses};
    enum spf_ended ended;

    memset(w, 0, offsetof(struct spf_walk, rows));
    w->subject = subject;
    w->answers = answers;
    w->rows[SPF_WALK_ROOT] =
        (struct spf_row){.kind = SPF_ROW_RECORD, .domain = subject->domain, .is_positive = true};
    w->row_count = 1;
    ended = spf_library_run(&subject->client, &ops, w, &w->verdict);
    if (!w->is_missing && !w->is_failed)
        take_end(w, ended);
}

void
spf_walk_fini(struct spf_walk *w)
{
    buf_fini(&w->records);
}

bool
spf_walk_is_owed_to_broad(const struct spf_walk *w)
{
    for (unsigned at = w->last; at != SPF_WALK_ROOT; at = w->rows[at].parent)
        if (w->rows[at].is_broad)
            return true;
    return false;
}
