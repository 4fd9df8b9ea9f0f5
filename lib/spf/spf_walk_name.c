/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The name that a term means, and the client's validated names (RFC 7208 5.5), which %{p} and ptr
 * need: at most PTR_NAMES_MAX of those that its PTR records give have its address themselves.
 */
#include "spf/spf_macro.h"
#include "spf/spf_walk.h"

#define PTR_NAMES_MAX 10 /* RFC 7208 4.6.4 */

struct validated {
    unsigned count;
    const char *names[PTR_NAMES_MAX];
};

static bool
has_client(const struct spf_walk *w, const struct spf_known *known)
{
    size_t size = w->subject->client.family == 4 ? 4 : 16;

    for (unsigned i = 0; i < known->answer.count; i++)
        if (memcmp(known->answer.items[i].p, w->subject->client.addr, size) == 0)
            return true;
    return false;
}

static enum spf_find
validate(struct spf_walk *w, const struct spf_row *row, bool is_counted, struct validated *v)
{
    char reverse[INET_DOMAIN_SIZE], names[PTR_NAMES_MAX][INET_DOMAIN_SIZE];
    const struct spf_known *ptr, *found;
    unsigned count = 0;

    v->count = 0;
    spf_macro_reverse_name(&w->subject->client, reverse);
    ptr = spf_walk_know(w, reverse, SPF_TYPE_PTR);
    if (ptr == NULL)
        return SPF_FIND_STOP;
    if (ptr->answer.result != SPF_ANSWER_OK) /* an error is no match (RFC 7208 5.5) */
        return is_counted && ptr->answer.result != SPF_ANSWER_TEMPORARY
                   ? spf_walk_count_void(w, row)
                   : SPF_FIND_NOTHING;
    for (unsigned i = 0; i < ptr->answer.count && i < PTR_NAMES_MAX; i++)
        if (spf_macro_name(ptr->answer.items[i], names[count])) /* all that is missing at once */
            (void)spf_walk_know(w, names[count++], spf_walk_address_type(w));
    if (w->is_missing || w->is_failed)
        return SPF_FIND_STOP;
    for (unsigned i = 0; i < count; i++) {
        found = spf_walk_know(w, names[i], spf_walk_address_type(w));
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

/* The first %{p} counts as a mechanism. */
static enum spf_find
find_validated(struct spf_walk *w, const struct spf_row *row, const char **name)
{
    struct validated v;

    if (!w->is_validated && spf_walk_count_mechanism(w, row) == SPF_FIND_STOP)
        return SPF_FIND_STOP;
    w->is_validated = true;
    if (validate(w, row, false, &v) == SPF_FIND_STOP)
        return SPF_FIND_STOP;
    *name = choose_validated(&v, spf_walk_domain(w, row));
    return SPF_FIND_OK;
}

enum spf_find
spf_walk_name(struct spf_walk *w, const struct spf_row *row, char name[INET_DOMAIN_SIZE])
{
    const struct spf_walk_subject *subject = w->subject;
    struct spf_macro_values values = {
        .client = &subject->client,
        .local_part = subject->local_part,
        .sender_domain = subject->domain,
        .helo = subject->helo,
        .domain = spf_walk_domain(w, row),
    };

    if (row->spec.n == 0)
        return spf_macro_name(slice_of(values.domain), name) ? SPF_FIND_OK : SPF_FIND_NOTHING;
    if (spf_macro_has(row->spec, "p") && find_validated(w, row, &values.validated) == SPF_FIND_STOP)
        return SPF_FIND_STOP;
    return spf_macro_expand(row->spec, &values, name) ? SPF_FIND_OK : SPF_FIND_NOTHING;
}

enum spf_find
spf_walk_ptr(struct spf_walk *w, const struct spf_row *row, const char *target)
{
    struct validated v;
    enum spf_find find = validate(w, row, true, &v);

    for (unsigned i = 0; find == SPF_FIND_OK && i < v.count; i++)
        if (is_within(v.names[i], target))
            return SPF_FIND_OK;
    return find == SPF_FIND_OK ? SPF_FIND_NOTHING : find;
}
