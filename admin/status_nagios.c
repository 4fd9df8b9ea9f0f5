/* SPDX-License-Identifier: BSD-2-Clause
 *
 *   POSTERN CRITICAL - database unreachable, spool expiring | connections=3;8000;;0;10000 ...
 *
 * What is not known is U, and no reason for an alarm of its own.  A part that this user may not
 * look at makes it unknown, unless another is critical.
 */
#include "admin/status_nagios.h"

#include <string.h>

enum state { STATE_OK, STATE_WARNING, STATE_CRITICAL, STATE_UNKNOWN };

static const char *const state_words[] = {
    [STATE_OK] = "OK",
    [STATE_WARNING] = "WARNING",
    [STATE_CRITICAL] = "CRITICAL",
    [STATE_UNKNOWN] = "UNKNOWN",
};

static bool
is_warning(const struct status_part *part)
{
    return strcmp(part->state, "near") == 0 || strcmp(part->state, "pressed") == 0 ||
           strcmp(part->state, "draining") == 0;
}

static bool
is_unknown(const struct status_part *part)
{
    return strcmp(part->state, "unknown") == 0;
}

/* NULL: it is not known. */
static const json_t *
fact(const struct status *s, const char *part, const char *name)
{
    for (unsigned i = 0; i < s->part_count; i++)
        if (strcmp(s->parts[i].name, part) == 0)
            return json_object_get(s->parts[i].facts, name);
    return NULL;
}

static json_int_t
down(const struct status *s)
{
    return json_integer_value(fact(s, "health", "down"));
}

static enum state
judge(const struct status *s)
{
    enum state state = down(s) > 0 ? STATE_WARNING : STATE_OK;
    bool unknown = false;

    for (unsigned i = 0; i < s->part_count; i++) {
        const struct status_part *part = &s->parts[i];

        if (part->needs_operator && !is_unknown(part))
            return STATE_CRITICAL;
        unknown |= is_unknown(part);
        if (is_warning(part))
            state = STATE_WARNING;
    }
    return unknown ? STATE_UNKNOWN : state;
}

/* --- The line. */

static void
add_reason(struct buf *text, const char *what, const char *state)
{
    buf_printf(text, "%s%s %s", buf_size(text) ? ", " : "", what, state);
}

static void
add_reasons(const struct status *s, struct buf *text)
{
    char number[32];

    for (unsigned i = 0; i < s->part_count; i++)
        if (s->parts[i].needs_operator)
            add_reason(text, s->parts[i].name, s->parts[i].state);
    for (unsigned i = 0; i < s->part_count; i++)
        if (is_warning(&s->parts[i]))
            add_reason(text, s->parts[i].name, s->parts[i].state);
    snprintf(number, sizeof number, "%lld", (long long)down(s));
    if (down(s) > 0)
        add_reason(text, "backends down:", number);
    if (buf_size(text) == 0)
        buf_printf(text, "%u connections, %lld messages wait", s->connections,
                   (long long)json_integer_value(fact(s, "spool", "messages")));
}

/* `range`: warning;critical;least;most. */
static void
add_value(struct buf *text, const char *label, const json_t *value, const char *unit,
          const char *range)
{
    if (json_is_integer(value))
        buf_printf(text, " %s=%lld%s;%s", label, (long long)json_integer_value(value), unit, range);
    else
        buf_printf(text, " %s=U", label);
}

static void
add_values(const struct status *s, struct buf *text)
{
    uint64_t most = s->call->config->max_connections;
    int64_t age_s = (s->now_ms - s->replica_written_at_ms) / 1000;
    json_t *age = s->replica_written_at_ms ? json_integer(age_s > 0 ? age_s : 0) : json_null();
    char range[64];

    snprintf(range, sizeof range, "%llu;;0;%llu",
             (unsigned long long)most * STATUS_NEAR_PERCENT / 100, (unsigned long long)most);
    add_value(text, "connections", fact(s, "clients", "connections"), "", range);
    add_value(text, "spool_messages", fact(s, "spool", "messages"), "", ";;0");
    add_value(text, "spool_bytes", fact(s, "spool", "size_bytes"), "B", ";;0");
    add_value(text, "backends_down", fact(s, "health", "down"), "", "0;;0");
    add_value(text, "replica_age", age, "s", ";;0");
    add_value(text, "events_waiting_bytes", fact(s, "events", "waiting_bytes"), "B", ";;0");
    json_decref(age);
}

int
status_nagios(const struct status *s)
{
    enum state state = judge(s);
    struct buf text, values;

    buf_init(&text, 0);
    buf_init(&values, 0);
    add_reasons(s, &text);
    add_values(s, &values);
    fprintf(s->call->printing.out, "POSTERN %s - %s |%s\n", state_words[state], buf_text(&text),
            buf_text(&values));
    buf_fini(&values);
    buf_fini(&text);
    return (int)state;
}
