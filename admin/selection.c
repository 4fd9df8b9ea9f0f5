/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Selectors are joined by "and".  Addresses are compared without regard to case, since people type
 * them.  An id is found in any pasted text.
 */
#include "admin/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/missing.h"
#include "base/parse.h"

static const char *const state_words[] = {"waiting",  "no-route",  "held",    "offered",
                                          "prepared", "listening", "damaged", "ended"};

const char *
selection_state_word(const struct spool_message *m, const struct registry *registry)
{
    if (m->open_count == 0)
        return "ended";
    if (m->damaged)
        return "damaged";
    if (m->held)
        return "held";
    if (m->prepared)
        return "prepared";
    if (spool_message_awaits_all(m))
        return "listening";
    if (routing_is_missing(routing_of(registry, m)))
        return "no-route";
    return m->offered ? "offered" : "waiting";
}

/* --- Reading. */

static enum command_status
read_state(struct selection *s)
{
    struct command_guess guess = {0};

    for (size_t i = 0; s->state && i < ARRAY_SIZE(state_words); i++) {
        if (strcmp(s->state, state_words[i]) == 0)
            return COMMAND_DONE;
        command_guess_offer(&guess, s->state, state_words[i]);
    }
    if (s->state == NULL)
        return COMMAND_DONE;
    return call_usage("--state: \"%s\" is unknown; %s%s", s->state,
                      guess.best ? "did you mean "
                                 : "use waiting, no-route, held, offered, prepared, "
                                   "listening, damaged or ended",
                      guess.best ? guess.best : "");
}

static enum command_status
read_age(const struct call *call, const char *option, int64_t *moment_ms)
{
    const char *text = call_value(call, option);
    int64_t age_ms;

    if (text == NULL)
        return COMMAND_DONE;
    if (parse_duration_ms(slice_of(text), &age_ms) < 0)
        return call_usage("--%s: \"%s\" is not a time span; use for example 30m, 2h or 3d", option,
                          text);
    *moment_ms = call->printing.now_ms - age_ms;
    return COMMAND_DONE;
}

static void
add_ref(struct selection *s, struct ref ref)
{
    if ((s->ref_count & (s->ref_count - 1)) == 0) /* full: 0, 1, 2, 4, 8 ... */
        s->refs = mem_realloc(s->refs, (s->ref_count ? s->ref_count * 2 : 1) * sizeof *s->refs);
    s->refs[s->ref_count++] = ref;
}

static enum command_status
read_id(struct selection *s, const char *text)
{
    struct ref ref;

    if (ref_find(slice_of(text), &ref) < 0)
        return call_usage("\"%.100s\" is not an id; ids look like P001-4KX3T-0B7Q2CF and stand in "
                          "replies, Received lines and `relayctl spool list`; did you mean --%s "
                          "%.100s?",
                          text,
                          strchr(text, '@')   ? "rcpt"
                          : strchr(text, '.') ? "domain"
                                              : "customer",
                          text);
    add_ref(s, ref);
    return COMMAND_DONE;
}

static enum command_status
read_ids_from_input(struct selection *s)
{
    enum command_status status = COMMAND_DONE;
    char line[1024];

    if (s->refs == NULL) /* an empty input selects nothing, not everything */
        s->refs = mem_alloc(sizeof *s->refs);
    while (status == COMMAND_DONE && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0])
            status = read_id(s, line);
    }
    return status;
}

static enum command_status
read_ids(const struct call *call, struct selection *s)
{
    const char *id = call_value(call, "id");
    enum command_status status = id ? read_id(s, id) : COMMAND_DONE;

    for (unsigned i = 0; i < call->line.operand_count && status == COMMAND_DONE; i++) {
        const char *text = call->line.operands[i];

        status = strcmp(text, "-") == 0 ? read_ids_from_input(s) : read_id(s, text);
    }
    return status;
}

static int
compare_refs(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;

    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    if (x->minute != y->minute)
        return x->minute < y->minute ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static void
sort_refs(struct selection *s)
{
    if (s->refs == NULL)
        return;
    s->sorted = mem_alloc((s->ref_count + 1) * sizeof *s->sorted);
    if (s->ref_count > 0)
        memcpy(s->sorted, s->refs, s->ref_count * sizeof *s->sorted);
    qsort(s->sorted, s->ref_count, sizeof *s->sorted, compare_refs);
}

static enum command_status
read_node(const struct call *call, struct selection *s)
{
    const char *text = call_value(call, "node");
    uint64_t number;

    if (text == NULL)
        return COMMAND_DONE;
    if (parse_u64(slice_of(text), &number) < 0 || number == 0 || number > INT16_MAX)
        return call_usage("--node: \"%s\" is no node's number, 1 to 32767", text);
    s->node = (unsigned)number;
    return COMMAND_DONE;
}

/* Whose backend it is, this node's replica says. */
static enum command_status
read_backend(const struct call *call, struct selection *s)
{
    const char *text = call_value(call, "backend");

    if (text == NULL)
        return COMMAND_DONE;
    s->backend = text;
    return routing_read_backend(s->registry, "--backend", text, &s->backend_customer_id,
                                &s->backend_number);
}

/* Without the brackets that it has in replies and stories; NULL: it was not said. */
static char *
read_address(const struct call *call, const char *option)
{
    const char *text = call_value(call, option);
    size_t n = text ? strlen(text) : 0;
    char *bare;

    if (text == NULL)
        return NULL;
    bare = mem_strdup(n >= 2 && text[0] == '<' && text[n - 1] == '>' ? text + 1 : text);
    if (n >= 2 && text[0] == '<' && text[n - 1] == '>')
        bare[n - 2] = '\0';
    return bare;
}

enum command_status
selection_read(const struct call *call, struct selection *s)
{
    enum command_status status;

    *s = (struct selection){
        .customer = call_value(call, "customer"),
        .rcpt = read_address(call, "rcpt"),
        .from = read_address(call, "from"),
        .state = call_value(call, "state"),
    };
    s->rcpt_ascii = s->rcpt ? field_address_ascii(s->rcpt) : NULL;
    s->from_ascii = s->from ? field_address_ascii(s->from) : NULL;
    status = read_state(s);
    if (status == COMMAND_DONE)
        status = field_domain_option(call, s->domain);
    if (status == COMMAND_DONE)
        status = read_age(call, "older", &s->received_before_ms);
    if (status == COMMAND_DONE)
        status = read_age(call, "newer", &s->received_after_ms);
    if (status == COMMAND_DONE)
        status = read_node(call, s);
    if (status == COMMAND_DONE)
        status = read_ids(call, s);
    sort_refs(s);
    if (status == COMMAND_DONE)
        s->registry = routing_open(call);
    if (status == COMMAND_DONE)
        status = read_backend(call, s);
    s->is_empty = !s->customer && !s->rcpt && !s->from && !s->state && !s->domain[0] &&
                  !s->backend && !s->received_before_ms && !s->received_after_ms && !s->refs;
    return status;
}

enum command_status
selection_need(const struct call *call, const struct selection *s)
{
    bool all = call_value(call, "all") != NULL;

    if (s->is_empty && !all)
        return call_usage("which messages? Give ids or selectors, such as --customer; for all that "
                          "wait on this node: --all");
    if (!s->is_empty && all)
        return call_usage("--all and a selector contradict each other: leave one of them out");
    return COMMAND_DONE;
}

void
selection_fini(struct selection *s)
{
    registry_close(&s->registry);
    free(s->refs);
    free(s->sorted);
    free(s->rcpt);
    free(s->from);
    free(s->rcpt_ascii);
    free(s->from_ascii);
    s->refs = s->sorted = NULL;
    s->rcpt = s->from = s->rcpt_ascii = s->from_ascii = NULL;
}

/* --- Matching. */

static bool
same_text(const char *a, const char *b)
{
    return slice_equal_nocase(slice_of(a), slice_of(b));
}

/* `wanted` with a leading @ is a whole domain. */
static bool
is_address(const char *wanted, const char *ascii, const char *address)
{
    size_t n = strlen(wanted), m = strlen(address);

    if (ascii && is_address(ascii, NULL, address))
        return true;
    return same_text(wanted[0] == '@' && m > n ? address + m - n : address, wanted);
}

static bool
domain_matches(const char *wanted, const char *domain)
{
    size_t n = strlen(wanted), m = strlen(domain);

    return wanted[0] == '.' ? m > n && same_text(domain + m - n, wanted)
                            : same_text(domain, wanted);
}

/* `e` is NULL unless addresses are asked for. */
static bool
any_recipient(const struct selection *s, const struct spool_message *m,
              const struct spool_envelope *e)
{
    if (s->rcpt == NULL && s->domain[0] == '\0')
        return true;
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if ((s->rcpt == NULL || is_address(s->rcpt, s->rcpt_ascii, e->recipients[i].address)) &&
            (s->domain[0] == '\0' || domain_matches(s->domain, spool_message_domain(m, i))))
            return true;
    }
    return false;
}

/* What cannot be read cannot be looked for; who lists all is told of it. */
static bool
addresses_match(const struct selection *s, struct spool_store *store, const struct spool_message *m)
{
    struct spool_envelope e;
    struct arena arena;
    bool matches;

    if (s->rcpt == NULL && s->from == NULL)
        return any_recipient(s, m, NULL);
    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    matches = spool_store_envelope(store, m, &arena, &e) == ERR_OK &&
              (s->from == NULL || is_address(s->from, s->from_ascii, e.reverse_path)) &&
              any_recipient(s, m, &e);
    arena_clear(&arena);
    return matches;
}

static bool
any_ref(const struct selection *s, struct ref ref)
{
    return s->refs == NULL ||
           bsearch(&ref, s->sorted, s->ref_count, sizeof *s->sorted, compare_refs) != NULL;
}

bool
selection_matches(const struct selection *s, struct spool_store *store,
                  const struct spool_message *m)
{
    if (s->customer && strcmp(s->customer, m->customer) != 0)
        return false;
    /* What has ended is shown only to who asks for it. */
    if (s->state ? strcmp(s->state, selection_state_word(m, s->registry)) != 0
                 : m->open_count == 0 && !s->refs)
        return false;
    if ((s->received_before_ms && m->received_at_ms > s->received_before_ms) ||
        (s->received_after_ms && m->received_at_ms < s->received_after_ms))
        return false;
    return any_ref(s, m->ref) &&
           (s->backend == NULL ||
            routing_leads_to(s->registry, m, s->backend_customer_id, s->backend_number)) &&
           addresses_match(s, store, m);
}

struct spool_message *
selection_next(const struct selection *s, struct spool_store *store, struct spool_message *m)
{
    do
        m = spool_store_next(store, m);
    while (m != NULL && !selection_matches(s, store, m));
    return m;
}

void
selection_complain(const struct call *call, const struct selection *s)
{
    call_complain(s->is_empty ? "the spool is empty" : "no message matches");
    missing_say(call, MISSING_CUSTOMER, s->customer);
    missing_say(call, MISSING_DOMAIN, s->domain);
}
