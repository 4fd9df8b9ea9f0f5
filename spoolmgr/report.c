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
    const char *event; /* a literal */
    char text[];
};

static void
say(struct report_list *list)
{
    struct report *r = list->first;

    log_line(LOG_LEVEL_INFO, r->ref, r->event, "%s", r->text);
    list->first = r->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count--;
    free(r);
}

void
report_add(struct keeper *k, const struct spool_message *m, const char *event, const char *fmt, ...)
{
    struct report_list *list = &k->reports;
    char text[REPORT_BYTES];
    struct report *r;
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r = mem_alloc(sizeof *r + strlen(text) + 1);
    r->seq = spool_store_queued(k->store);
    r->event = event;
    ref_text(m->ref, r->ref);
    memcpy(r->text, text, strlen(text) + 1);
    if (list->last != NULL)
        list->last->next = r;
    else
        list->first = r;
    list->last = r;
    list->count++;
    report_synced(k);
}

void
report_synced(struct keeper *k)
{
    uint64_t synced = spool_store_synced(k->store);

    while (k->reports.first != NULL && k->reports.first->seq <= synced)
        say(&k->reports);
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
