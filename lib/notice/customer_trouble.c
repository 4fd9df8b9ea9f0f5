/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An outage begins with a server that takes no mail while mail waits for it, and ends when it has
 * taken some: one that answers for a moment and fails again goes on being the same outage, so that
 * a server that comes and goes is told of at all.
 */
#include "notice/customer_trouble.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/parse.h"
#include "notice/notice_mime.h"

#define HOUR_MS (3600 * INT64_C(1000))
#define PATIENCE_MS HOUR_MS /* with what is left behind an outage, and is paused */
#define ADDRESS_MOST 320
#define RECIPIENTS_MOST 1000
#define REASON_MOST 500

static void
forget_failures(struct customer_trouble *t, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)(uintptr_t)t->failures[i].ref); /* the others lie behind it */
    t->failure_count -= count;
    if (t->failure_count > 0)
        memmove(t->failures, t->failures + count, t->failure_count * sizeof *t->failures);
    if (t->failure_count == 0) {
        free(t->failures);
        t->failures = NULL;
    }
}

void
customer_trouble_fini(struct customer_trouble *t)
{
    forget_failures(t, t->failure_count);
    *t = (struct customer_trouble){.since_ms = 0};
}

bool
customer_trouble_is_empty(const struct customer_trouble *t, int32_t today)
{
    return t->since_ms == 0 && !t->told_48 && !t->told_12 && (t->sent == 0 || t->day != today) &&
           t->failure_count == 0 && t->more == 0;
}

/* --- The outage. */

static void
end_outage(struct customer_trouble *t)
{
    t->since_ms = t->back_at_ms = t->quiet_at_ms = 0;
    t->delivered = t->failed = 0;
    t->why = CUSTOMER_NOTICE_WHY_UNKNOWN;
    t->servers[0] = t->backend[0] = '\0';
    t->told_down = false;
}

static void
follow_down(struct customer_trouble *t, const struct customer_facts *f)
{
    if (t->since_ms == 0 && f->messages == 0)
        return;
    if (t->since_ms == 0) {
        end_outage(t);
        t->since_ms = f->since_ms > 0 && f->since_ms < f->now_ms ? f->since_ms : f->now_ms;
    }
    t->back_at_ms = 0;
    t->why = f->why;
    snprintf(t->servers, sizeof t->servers, "%s", f->servers);
    snprintf(t->backend, sizeof t->backend, "%s", f->backend);
}

/* A clock that was ahead and has been set right: what it wrote begins now. */
static void
follow_clock(struct customer_trouble *t, int64_t now_ms)
{
    if (t->since_ms > now_ms)
        t->since_ms = now_ms;
    if (t->back_at_ms > now_ms)
        t->back_at_ms = now_ms;
    if (t->quiet_at_ms > now_ms)
        t->quiet_at_ms = now_ms;
    if (t->first_failure_at_ms > now_ms)
        t->first_failure_at_ms = now_ms;
}

static void
follow_server(struct customer_trouble *t, const struct customer_facts *f)
{
    bool is_quiet = f->server == CUSTOMER_SERVER_UNKNOWN && f->messages == 0;

    if (f->server == CUSTOMER_SERVER_DOWN)
        follow_down(t, f);
    else if (f->server == CUSTOMER_SERVER_UP && t->since_ms != 0 && t->back_at_ms == 0)
        t->back_at_ms = f->now_ms;
    if (!is_quiet)
        t->quiet_at_ms = 0;
    else if (t->quiet_at_ms == 0)
        t->quiet_at_ms = f->now_ms;
}

/* It was too short to be told, or nobody can say how it ended. */
static bool
is_over_untold(const struct customer_trouble *t, const struct customer_facts *f,
               const struct customer_rules *rules)
{
    if (t->quiet_at_ms != 0 && f->now_ms - t->quiet_at_ms >= PATIENCE_MS)
        return true;
    return !t->told_down && t->back_at_ms != 0 &&
           (f->messages == 0 || t->delivered > 0 || f->now_ms - t->back_at_ms >= rules->after_ms);
}

/* --- What is due. */

static bool
is_near_end(const struct customer_facts *f, int64_t hours)
{
    int64_t left_ms = f->first_expires_at_ms - f->now_ms;
    int64_t whole_ms = f->first_expires_at_ms - f->first_arrived_at_ms;

    /* What is kept for a day or two is not told of as soon as it arrives. */
    return !f->is_clock_odd && f->first_expires_at_ms != 0 && left_ms > 0 &&
           left_ms <= hours * HOUR_MS && left_ms <= whole_ms / 2;
}

static bool
is_down_due(const struct customer_trouble *t, const struct customer_facts *f,
            const struct customer_rules *rules)
{
    return t->since_ms != 0 && !t->told_down && f->server == CUSTOMER_SERVER_DOWN &&
           f->messages > 0 && f->now_ms - t->since_ms >= rules->after_ms;
}

static bool
is_back_due(const struct customer_trouble *t, const struct customer_facts *f,
            const struct customer_rules *rules)
{
    (void)rules;
    return t->told_down && t->back_at_ms != 0 && f->server == CUSTOMER_SERVER_UP &&
           (f->messages == 0 || (!f->is_moving && f->now_ms - t->back_at_ms >= PATIENCE_MS));
}

static bool
is_warn_48_due(const struct customer_trouble *t, const struct customer_facts *f,
               const struct customer_rules *rules)
{
    (void)rules;
    return !t->told_48 && is_near_end(f, 48);
}

static bool
is_warn_12_due(const struct customer_trouble *t, const struct customer_facts *f,
               const struct customer_rules *rules)
{
    (void)rules;
    return !t->told_12 && is_near_end(f, 12);
}

static bool
is_digest_due(const struct customer_trouble *t, const struct customer_facts *f,
              const struct customer_rules *rules)
{
    (void)rules;
    return t->first_failure_at_ms != 0 &&
           f->now_ms >= clock_next_hour_ms(t->first_failure_at_ms, CUSTOMER_TROUBLE_DIGEST_HOUR);
}

/* The most urgent first.  The last of a day is left for those that cannot come another day. */
static const struct notice_rule {
    enum customer_notice_kind kind;
    unsigned a_day;
    bool (*is_due)(const struct customer_trouble *t, const struct customer_facts *f,
                   const struct customer_rules *rules);
} notice_rules[] = {
    {CUSTOMER_NOTICE_WARN_12, CUSTOMER_TROUBLE_A_DAY, is_warn_12_due},
    {CUSTOMER_NOTICE_DOWN, CUSTOMER_TROUBLE_A_DAY - 1, is_down_due},
    {CUSTOMER_NOTICE_BACK, CUSTOMER_TROUBLE_A_DAY, is_back_due},
    {CUSTOMER_NOTICE_WARN_48, CUSTOMER_TROUBLE_A_DAY - 1, is_warn_48_due},
    {CUSTOMER_NOTICE_DIGEST, CUSTOMER_TROUBLE_A_DAY, is_digest_due},
};

static struct customer_due
choose(const struct customer_trouble *t, const struct customer_facts *f,
       const struct customer_rules *rules)
{
    struct customer_due due = {.kind = CUSTOMER_NOTICE_NONE};
    unsigned sent = t->day == f->day ? t->sent : 0;

    for (size_t i = 0; i < ARRAY_SIZE(notice_rules); i++) {
        const struct notice_rule *rule = &notice_rules[i];

        if (!rule->is_due(t, f, rules))
            continue;
        if (sent < rule->a_day) {
            due.kind = rule->kind;
            return due;
        }
        if (due.withheld == CUSTOMER_NOTICE_NONE)
            due.withheld = rule->kind;
        due.is_forgotten = due.is_forgotten || rule->kind == CUSTOMER_NOTICE_BACK;
    }
    return due;
}

struct customer_due
customer_trouble_look(struct customer_trouble *t, const struct customer_facts *f,
                      const struct customer_rules *rules)
{
    struct customer_due due;
    bool is_lost = false;

    follow_clock(t, f->now_ms);
    follow_server(t, f);
    if (t->since_ms != 0 && is_over_untold(t, f, rules)) {
        is_lost = t->told_down;
        end_outage(t);
    }
    if (t->since_ms == 0 && !is_near_end(f, 48) && !f->is_clock_odd)
        t->told_48 = t->told_12 = false;
    due = choose(t, f, rules);
    due.is_lost = is_lost;
    if (due.is_forgotten)
        end_outage(t);
    return due;
}

static void
digest_told(struct customer_trouble *t, const struct customer_told *told)
{
    forget_failures(t, told->failure_count);
    t->more -= told->more;
    t->first_failure_at_ms = t->failure_count > 0 ? t->failures[0].at_ms
                             : t->more > 0        ? told->now_ms
                                                  : 0;
}

void
customer_trouble_told(struct customer_trouble *t, const struct customer_told *told)
{
    if (t->day != told->day)
        t->sent = 0;
    t->day = told->day;
    t->sent += told->is_counted;
    switch (told->kind) {
    case CUSTOMER_NOTICE_NONE:
        break;
    case CUSTOMER_NOTICE_DOWN:
        t->told_down = true;
        break;
    case CUSTOMER_NOTICE_BACK:
        end_outage(t);
        break;
    case CUSTOMER_NOTICE_WARN_12:
        t->told_12 = t->told_48 = true;
        break;
    case CUSTOMER_NOTICE_WARN_48:
        t->told_48 = true;
        break;
    case CUSTOMER_NOTICE_DIGEST:
        digest_told(t, told);
        break;
    }
}

/* --- What becomes of what was kept. */

void
customer_trouble_delivered(struct customer_trouble *t, uint64_t count)
{
    if (t->since_ms != 0)
        t->delivered += count;
}

static bool
has_failure(const struct customer_trouble *t, const char *ref)
{
    for (size_t i = 0; i < t->failure_count; i++)
        if (strcmp(t->failures[i].ref, ref) == 0)
            return true;
    return false;
}

/* The four texts in one block, each with its NUL. */
static void
add_failure(struct customer_trouble *t, const struct customer_failure *f)
{
    const struct {
        const char *text;
        size_t most;
    } parts[] = {{f->ref, 64},
                 {f->sender, ADDRESS_MOST},
                 {f->recipients, RECIPIENTS_MOST},
                 {f->reason, REASON_MOST}};
    const char *at[ARRAY_SIZE(parts)];
    size_t offsets[ARRAY_SIZE(parts)];
    struct buf all;
    char *block;

    buf_init(&all, 0);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        offsets[i] = buf_size(&all);
        notice_mime_clean(&all, slice_of(parts[i].text), parts[i].most);
        buf_add(&all, "", 1);
    }
    block = mem_alloc(buf_size(&all));
    memcpy(block, buf_slice(&all).p, buf_size(&all));
    buf_fini(&all);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        at[i] = block + offsets[i];
    t->failures = mem_realloc(t->failures, (t->failure_count + 1) * sizeof *t->failures);
    t->failures[t->failure_count++] =
        (struct customer_failure){f->at_ms, f->end, f->is_sender_told, at[0], at[1], at[2], at[3]};
}

void
customer_trouble_failed(struct customer_trouble *t, const struct customer_failure *f, bool has_room)
{
    if (has_failure(t, f->ref))
        return;
    if (t->since_ms != 0)
        t->failed++;
    if (t->first_failure_at_ms == 0)
        t->first_failure_at_ms = f->at_ms;
    if (has_room && t->failure_count < CUSTOMER_TROUBLE_LINES)
        add_failure(t, f);
    else
        t->more++;
}

/* --- As text. */

void
customer_trouble_text(const struct customer_trouble *t, struct buf *out)
{
    if (t->since_ms != 0)
        buf_printf(out,
                   "outage\t%" PRId64 "\t%" PRId64 "\t%d\t%d\t%" PRIu64 "\t%" PRIu64 "\t%s\t%s\n",
                   t->since_ms, t->back_at_ms, (int)t->why, t->told_down, t->delivered, t->failed,
                   t->servers, t->backend);
    if (t->told_48 || t->told_12)
        buf_printf(out, "warned\t%d\t%d\n", t->told_48, t->told_12);
    if (t->sent > 0)
        buf_printf(out, "day\t%d\t%u\n", t->day, t->sent);
    if (t->first_failure_at_ms != 0)
        buf_printf(out, "digest\t%" PRId64 "\t%" PRIu64 "\n", t->first_failure_at_ms, t->more);
    for (size_t i = 0; i < t->failure_count; i++) {
        const struct customer_failure *f = &t->failures[i];

        buf_printf(out, "failed\t%" PRId64 "\t%d\t%d\t%s\t%s\t%s\t%s\n", f->at_ms, (int)f->end,
                   f->is_sender_told, f->ref, f->sender, f->recipients, f->reason);
    }
}

struct fields {
    struct slice rest;
    bool is_over; /* the last has been taken */
    bool is_bad;
};

static struct slice
take(struct fields *fields)
{
    fields->is_bad = fields->is_bad || fields->is_over;
    fields->is_over = fields->rest.n == 0 || memchr(fields->rest.p, '\t', fields->rest.n) == NULL;
    return slice_split(&fields->rest, '\t');
}

static uint64_t
take_number(struct fields *fields, uint64_t most)
{
    uint64_t v = 0;

    if (parse_u64(take(fields), &v) != ERR_OK || v > most)
        fields->is_bad = true;
    return v;
}

static void
take_text(struct fields *fields, char *dst, size_t dst_size)
{
    if (!slice_to_text(take(fields), dst, dst_size))
        fields->is_bad = true;
}

static void
parse_outage(struct customer_trouble *t, struct fields *fields)
{
    t->since_ms = (int64_t)take_number(fields, INT64_MAX);
    t->back_at_ms = (int64_t)take_number(fields, INT64_MAX);
    t->why = (enum customer_notice_why)take_number(fields, CUSTOMER_NOTICE_WHY_COUNT - 1);
    t->told_down = take_number(fields, 1) != 0;
    t->delivered = take_number(fields, UINT64_MAX);
    t->failed = take_number(fields, UINT64_MAX);
    take_text(fields, t->servers, sizeof t->servers);
    take_text(fields, t->backend, sizeof t->backend);
}

static void
parse_warned(struct customer_trouble *t, struct fields *fields)
{
    t->told_48 = take_number(fields, 1) != 0;
    t->told_12 = take_number(fields, 1) != 0;
}

static void
parse_day(struct customer_trouble *t, struct fields *fields)
{
    t->day = (int32_t)take_number(fields, INT32_MAX);
    t->sent = (unsigned)take_number(fields, 1000);
}

static void
parse_digest(struct customer_trouble *t, struct fields *fields)
{
    t->first_failure_at_ms = (int64_t)take_number(fields, INT64_MAX);
    t->more = take_number(fields, UINT64_MAX);
}

static void
parse_failed(struct customer_trouble *t, struct fields *fields)
{
    struct customer_failure f = {.at_ms = (int64_t)take_number(fields, INT64_MAX)};
    char ref[65], sender[ADDRESS_MOST + 1], recipients[RECIPIENTS_MOST + 1],
        reason[REASON_MOST + 1];

    f.end = (enum spool_end)take_number(fields, SPOOL_END_CANCELLED);
    f.is_sender_told = take_number(fields, 1) != 0;
    take_text(fields, ref, sizeof ref);
    take_text(fields, sender, sizeof sender);
    take_text(fields, recipients, sizeof recipients);
    take_text(fields, reason, sizeof reason);
    f.ref = ref;
    f.sender = sender;
    f.recipients = recipients;
    f.reason = reason;
    if (!fields->is_bad && t->failure_count < CUSTOMER_TROUBLE_LINES)
        add_failure(t, &f);
}

int
customer_trouble_parse(struct customer_trouble *t, struct slice line)
{
    static const struct {
        const char *word;
        void (*parse)(struct customer_trouble *t, struct fields *fields);
    } kinds[] = {{"outage", parse_outage},
                 {"warned", parse_warned},
                 {"day", parse_day},
                 {"digest", parse_digest},
                 {"failed", parse_failed}};
    struct fields fields = {.rest = line};
    struct slice word = take(&fields);

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!slice_equal(word, slice_of(kinds[i].word)))
            continue;
        kinds[i].parse(t, &fields);
        return fields.is_bad || !fields.is_over ? ERR_SYNTAX : ERR_OK;
    }
    return ERR_SYNTAX;
}
