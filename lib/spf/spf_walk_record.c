/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Records, as the library gets them.  ip4, ip6 and all are decided here: a term that matches
 * becomes a number that always does, one that does not is left out.  A record of such terms alone
 * is settled, and an include or a redirect that leads to one with it, if everything before it in
 * its own record is settled: so it is certain to be reached, and what it asks is asked and counted
 * in the order of the evaluation.  At the first term that DNS has to decide a record is open: from
 * there on it is the library's.
 *
 * Most checks are of large providers' trees of networks.  Settled, they are one term for the
 * library, which takes a few microseconds for each record that it is given.
 */
#include "spf/spf_macro.h"
#include "spf/spf_record.h"
#include "spf/spf_walk.h"

#define SOUND_BITS4 16 /* DESIGN.md P4 */
#define SOUND_BITS6 32

/* --- Terms to rows. */

static bool
is_broad_network(const struct spf_term *term)
{
    return term->network.bits < (term->network.family == 4 ? SOUND_BITS4 : SOUND_BITS6);
}

static bool
is_client_name(const struct spf_term *term)
{
    return spf_macro_has(term->domain, "iph");
}

/* Would it match whoever wants to? */
static bool
is_broad(const struct spf_walk *w, const struct spf_term *term)
{
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
        return is_client_name(term) || (w->subject->client.family == 4 ? term->bits4 < SOUND_BITS4
                                                                       : term->bits6 < SOUND_BITS6);
    case SPF_TERM_INCLUDE:
    case SPF_TERM_REDIRECT:
        return is_client_name(term);
    case SPF_TERM_EXP:
    case SPF_TERM_UNKNOWN:
        break;
    }
    return false;
}

static const struct {
    enum spf_row_kind kind;
    bool is_mechanism;
} kinds[] = {
    [SPF_TERM_ALL] = {SPF_ROW_MATCH, true},
    [SPF_TERM_INCLUDE] = {SPF_ROW_RECORD, true},
    [SPF_TERM_A] = {SPF_ROW_A, true},
    [SPF_TERM_MX] = {SPF_ROW_MX, true},
    [SPF_TERM_PTR] = {SPF_ROW_PTR, true},
    [SPF_TERM_IP4] = {SPF_ROW_MATCH, true},
    [SPF_TERM_IP6] = {SPF_ROW_MATCH, true},
    [SPF_TERM_EXISTS] = {SPF_ROW_EXISTS, true},
    [SPF_TERM_REDIRECT] = {SPF_ROW_RECORD, false},
    [SPF_TERM_EXP] = {SPF_ROW_MATCH, false},
    [SPF_TERM_UNKNOWN] = {SPF_ROW_MATCH, false},
};

static bool
is_passing(const struct spf_term *term)
{
    return term->kind == SPF_TERM_REDIRECT || term->qualifier == '+';
}

/* A new row; 0: there is no room. */
static unsigned
add_term(struct spf_walk *w, unsigned record, const struct spf_term *term)
{
    bool is_host = term->kind == SPF_TERM_A || term->kind == SPF_TERM_MX;
    bool is_ip4 = w->subject->client.family == 4;
    uint8_t bits = is_ip4 ? term->bits4 : term->bits6;
    struct spf_row row = {.kind = kinds[term->kind].kind,
                          .parent = record,
                          .text = term->text,
                          .spec = term->domain,
                          .qualifier = kinds[term->kind].is_mechanism ? term->qualifier : '\0',
                          .bits = !is_host || bits == 0 ? SPF_LIBRARY_BITS
                                  : is_ip4              ? SPF_LIBRARY_BITS - 32 + bits
                                                        : bits,
                          .is_broad = is_broad(w, term),
                          .is_positive = w->rows[record].is_positive && is_passing(term),
                          .is_any = is_host && bits == 0};

    return spf_walk_add_row(w, &row);
}

/* Of use for this client, in this walk. */
static bool
is_wanted(const struct spf_walk *w, unsigned record, const struct spf_term *term)
{
    if ((term->kind == SPF_TERM_IP4 || term->kind == SPF_TERM_IP6) &&
        !inet_network_has(&term->network, &w->subject->client))
        return false;
    return !(w->subject->is_second && w->rows[record].is_positive && is_passing(term) &&
             is_broad(w, term));
}

/* --- A record's rows, in the order of the evaluation. */

struct steps {
    unsigned record;
    unsigned count, rows[SPF_WALK_MECHANISMS_MAX + 1];
    bool is_ended; /* nothing behind can be reached */
    bool has_redirect;
    struct spf_term redirect;
};

static void
add_step(struct spf_walk *w, struct steps *steps, const struct spf_term *term)
{
    unsigned row;

    if (steps->is_ended)
        return;
    if (!is_wanted(w, steps->record, term)) {
        steps->is_ended = term->kind == SPF_TERM_ALL; /* a redirect does not count beside it */
        return;
    }
    row = add_term(w, steps->record, term);
    if (row == 0)
        return;
    steps->rows[steps->count++] = row;
    steps->is_ended = w->rows[row].kind == SPF_ROW_MATCH || steps->count > SPF_WALK_MECHANISMS_MAX;
}

static void
take_term(struct spf_walk *w, struct steps *steps, const struct spf_term *term)
{
    if (kinds[term->kind].is_mechanism)
        add_step(w, steps, term);
    else if (term->kind == SPF_TERM_REDIRECT) {
        steps->has_redirect = true;
        steps->redirect = *term;
    }
}

/* All of the record is read, for its syntax. */
static enum spf_find
read_steps(struct spf_walk *w, unsigned number, struct slice text, struct steps *steps)
{
    struct spf_record_reader reader;
    struct spf_term term;
    char problem[SPF_QUOTE_SIZE], domain[SPF_QUOTE_SIZE];
    int rc;

    steps->record = number;
    steps->count = 0;
    steps->is_ended = steps->has_redirect = false;
    spf_record_begin(&reader, text);
    while ((rc = spf_record_next(&reader, &term)) == ERR_OK)
        take_term(w, steps, &term);
    if (rc == ERR_SYNTAX)
        return spf_walk_fail(w, SPF_PERMERROR, "the record of %s is not valid at: %s",
                             spf_walk_quote(slice_of(w->rows[number].domain), domain),
                             spf_walk_quote(reader.problem, problem));
    if (steps->has_redirect)
        add_step(w, steps, &steps->redirect);
    return w->is_failed ? SPF_FIND_STOP : SPF_FIND_OK;
}

/* --- The record of a row. */

static enum spf_find
select_record(struct spf_walk *w, const struct spf_row *row, const struct spf_known *known,
              struct slice *text)
{
    char term[SPF_QUOTE_SIZE], domain[SPF_QUOTE_SIZE];
    enum spf_selected selected;

    if (known == NULL)
        return SPF_FIND_STOP;
    selected = spf_record_select(known->answer.items, known->answer.count, text);
    if (selected == SPF_SELECTED_ONE)
        return SPF_FIND_OK;
    (void)spf_walk_quote(slice_of(known->name), domain);
    if (known->answer.result == SPF_ANSWER_TEMPORARY)
        return spf_walk_fail(w, SPF_TEMPERROR, "DNS gives no answer about %s", domain);
    if (selected == SPF_SELECTED_MANY)
        return spf_walk_fail(w, SPF_PERMERROR, "%s has more than one SPF record", domain);
    if (row != &w->rows[SPF_WALK_ROOT])
        return spf_walk_fail(w, SPF_PERMERROR, "%s has no SPF record, at %s", domain,
                             spf_walk_quote(row->text, term));
    if (known->answer.result == SPF_ANSWER_NO_NAME)
        return spf_walk_fail(w, SPF_NONE, "%s does not exist", domain);
    return spf_walk_fail(w, SPF_NONE, "%s has no SPF record", domain);
}

/* The name whose record it is. */
static enum spf_find
find_name(struct spf_walk *w, const struct spf_row *row, char name[INET_DOMAIN_SIZE])
{
    char term[SPF_QUOTE_SIZE];
    enum spf_find find = spf_walk_count_mechanism(w, row);

    if (find == SPF_FIND_OK)
        find = spf_walk_name(w, row, name);
    if (find == SPF_FIND_NOTHING)
        return spf_walk_fail(w, SPF_PERMERROR, "there is no such domain as in %s",
                             spf_walk_quote(row->text, term));
    return find;
}

static enum spf_find
find_text(struct spf_walk *w, unsigned number, struct slice *text)
{
    struct spf_row *row = &w->rows[number];
    const struct spf_known *known;
    char name[INET_DOMAIN_SIZE];

    if (number == SPF_WALK_ROOT)
        known = spf_walk_know(w, w->subject->domain, SPF_TYPE_TXT);
    else {
        enum spf_find find = find_name(w, row, name);

        if (find != SPF_FIND_OK)
            return find;
        known = spf_walk_know(w, name, SPF_TYPE_TXT);
    }
    if (select_record(w, row, known, text) == SPF_FIND_STOP)
        return SPF_FIND_STOP;
    row->domain = known->name;
    return SPF_FIND_OK;
}

/* --- For the library. */

static void
put_step(struct spf_walk *w, const struct spf_row *row, unsigned number)
{
    static const char *const names[] = {
        [SPF_ROW_RECORD] = "include", [SPF_ROW_MATCH] = "exists",  [SPF_ROW_A] = "a",
        [SPF_ROW_MX] = "mx",          [SPF_ROW_EXISTS] = "exists", [SPF_ROW_PTR] = "exists",
    };

    if (row->qualifier == '\0')
        spf_library_put_redirect(&w->records, number);
    else
        spf_library_put(&w->records, row->qualifier, names[row->kind], number, row->bits);
}

static void
begin_record(struct spf_walk *w, struct spf_row *row)
{
    row->is_written = true;
    row->written_at = buf_size(&w->records);
    spf_library_put_version(&w->records);
}

static void
end_record(struct spf_walk *w)
{
    buf_add(&w->records, "", 1);
}

/* --- What is settled. */

enum settled_as { SETTLED_NOTHING, SETTLED_MATCH, SETTLED_OPEN, SETTLED_STOP };

struct settled {
    enum settled_as as;
    char qualifier; /* of a match, in the record itself */
    unsigned row;   /* of a match: the term that decided */
};

static struct settled settle(struct spf_walk *w, unsigned number);

static struct settled
settle_step(struct spf_walk *w, unsigned number)
{
    const struct spf_row *row = &w->rows[number];
    struct settled settled = {.as = SETTLED_OPEN};

    if (row->kind == SPF_ROW_MATCH)
        return (struct settled){SETTLED_MATCH, row->qualifier, number};
    if (row->kind == SPF_ROW_RECORD)
        settled = settle(w, number);
    if (settled.as != SETTLED_MATCH || row->qualifier == '\0')
        return settled;
    if (settled.qualifier != '+') /* an include matches if its record passes (RFC 7208 5.2) */
        settled.as = SETTLED_NOTHING;
    settled.qualifier = row->qualifier;
    return settled;
}

/* A record that is open is written, from the term on that is.  An include costs a mechanism, so
 * that this cannot go deeper than there may be of them. */
static struct settled
settle(struct spf_walk *w, unsigned number)
{
    struct settled settled = {.as = SETTLED_NOTHING};
    struct slice text;
    struct steps steps;
    unsigned at = 0;

    if (find_text(w, number, &text) == SPF_FIND_STOP ||
        read_steps(w, number, text, &steps) == SPF_FIND_STOP)
        return (struct settled){.as = SETTLED_STOP};
    for (; at < steps.count && settled.as == SETTLED_NOTHING; at++)
        settled = settle_step(w, steps.rows[at]);
    if (settled.as != SETTLED_OPEN)
        return settled;
    begin_record(w, &w->rows[number]);
    for (at--; at < steps.count; at++)
        put_step(w, &w->rows[steps.rows[at]], steps.rows[at]);
    end_record(w);
    return settled;
}

enum spf_find
spf_walk_record(struct spf_walk *w, unsigned number, const char **text)
{
    struct spf_row *row = &w->rows[number];

    CHECK(number < w->row_count && row->kind == SPF_ROW_RECORD);
    if (!row->is_written) {
        struct settled settled = settle(w, number);

        if (settled.as == SETTLED_STOP)
            return SPF_FIND_STOP;
        if (settled.as != SETTLED_OPEN) {
            begin_record(w, row);
            if (settled.as == SETTLED_MATCH)
                spf_library_put(&w->records, settled.qualifier, "exists", settled.row,
                                w->rows[settled.row].bits);
            end_record(w);
        }
    }
    *text = buf_slice(&w->records).p + row->written_at;
    return SPF_FIND_OK;
}
