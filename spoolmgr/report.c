/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The lines that say what has become of a message.  A line is an outcome's proof for people, so it
 * waits until the outcome is durable: a keeper that dies in between does the attempt once more, and
 * has not said otherwise.  In order; what is durable already is said at once.
 */
#include "spoolmgr/keeper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

struct report {
    struct report *next;
    uint64_t seq; /* durable once the store has synced so far */
    char ref[REF_SIZE];
    const char *event; /* a literal; NULL: the text is a line of the event log */
    char text[];
};

static void
say(struct keeper *k, struct report_list *list)
{
    struct report *r = list->first;

    if (r->event != NULL)
        log_line(LOG_LEVEL_INFO, r->ref, r->event, "%s", r->text);
    else
        ended_write(k, slice_of(r->text));
    list->first = r->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count -= r->event != NULL;
    free(r);
}

static struct report *
add(struct keeper *k, const char *event, struct slice text)
{
    struct report_list *list = &k->reports;
    struct report *r = mem_alloc(sizeof *r + text.n + 1);

    r->seq = spool_store_queued(k->store);
    r->event = event;
    memcpy(r->text, text.p, text.n);
    r->text[text.n] = '\0';
    if (list->last != NULL)
        list->last->next = r;
    else
        list->first = r;
    list->last = r;
    list->count += event != NULL;
    return r;
}

void
report_add(struct keeper *k, const struct spool_message *m, const char *event, const char *fmt, ...)
{
    char text[REPORT_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ref_text(m->ref, add(k, event, slice_of(text))->ref);
    report_synced(k);
}

void
report_add_event(struct keeper *k, struct slice json)
{
    add(k, NULL, json);
    report_synced(k);
}

void
report_synced(struct keeper *k)
{
    uint64_t synced = spool_store_synced(k->store);

    while (k->reports.first != NULL && k->reports.first->seq <= synced)
        say(k, &k->reports);
    ended_flush(k); /* before the messages may be forgotten */
}

void
report_end(struct keeper *k)
{
    report_synced(k);
    if (k->reports.count > 0)
        log_line(LOG_LEVEL_ALARM, NULL, "outcomes-not-recorded",
                 "outcomes=%zu effect=\"the next start does not know of them; messages may be "
                 "delivered twice\"",
                 k->reports.count);
    while (k->reports.first != NULL) {
        struct report *r = k->reports.first;

        k->reports.first = r->next;
        free(r);
    }
}
