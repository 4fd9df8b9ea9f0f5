/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Customers are told of trouble with their mail, by mail to their contact (DESIGN section 5): what
 * is due is lib/notice's to say (customer_trouble.h); here are the facts, and what has been told.
 *
 *   messages come and end ──▶ counts and deadlines a customer ─┐
 *   queues, replica, shared table ──▶ its server ──────────────┴▶ due ──▶ own_submit ──▶ told
 *
 * What has been told, and what is to be, is in spool-dir/told.
 */
#ifndef SPOOLMGR_TELL_H
#define SPOOLMGR_TELL_H

#include "notice/customer_trouble.h"
#include "spoolmgr/schedule.h"

struct keeper;
struct tell;

struct tell *
tell_new(struct keeper *k);         /* notify-after 0: sees outages, for usage.c, and is silent */
void tell_free(struct tell **tell); /* remembers what there is */

/* It waits from now on, is not our own, and has not been found before. */
void tell_found(struct keeper *k, const struct spool_message *m);
/* All its recipients have ended. was_found: by tell_found. */
void tell_ended(struct keeper *k, const struct spool_message *m, bool was_found);
void tell_extended(struct keeper *k, const struct spool_message *m, int64_t deadline_before_ms);
/* At the start, of each that had ended before: what the keeper before us had no time to remember.
 * Behind them tell_begin. */
void tell_ended_before(struct keeper *k, const struct spool_message *m);
void tell_begin(struct keeper *k);
/* Every second.  Costs as much as there are customers with mail waiting. */
void tell_look(struct keeper *k);

/* Every outage that is not over. */
void tell_each_outage(struct keeper *k,
                      void (*put)(void *ctx, uint32_t customer_id, int64_t began_at_ms), void *ctx);

/* --- tell_server.c: can the servers of a customer take mail? */
struct tell_server { /* of all its queues */
    bool is_down, is_up, is_unsure, is_moving;
    int64_t since_ms; /* down: since then */
    enum customer_notice_why why;
    char servers[CUSTOMER_TROUBLE_SERVERS_SIZE];
    uint32_t backend; /* the number of one that is down; 0: none */
};
/* Adds what this queue's servers say.  That nothing is known of them counts only if mail waits for
 * them, or if they are among `were_down`, the names of the outage: else nobody asks them. */
void tell_server_add(struct keeper *k, const struct schedule_queue *queue, const char *were_down,
                     struct tell_server *server);
enum customer_server tell_server_state(const struct tell_server *server);

#endif
