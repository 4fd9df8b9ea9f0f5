/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of tell.c share: a customer that has mail waiting, or something left to be told.
 */
#ifndef SPOOLMGR_TELL_PRIVATE_H
#define SPOOLMGR_TELL_PRIVATE_H

#include "spoolmgr/keeper.h"

#define TELL_SLOTS 1024

struct tell_deadline { /* of what waits */
    int64_t at_ms, first_arrived_at_ms;
    uint64_t messages;
};

struct tell_customer {
    struct tell_customer *next;
    struct keeper *keeper;
    uint32_t id;
    char name[REGISTRY_NAME_SIZE];
    /* What waits. */
    uint64_t messages, bytes, unheard;
    struct tell_deadline *deadlines; /* by moment */
    size_t deadline_count;
    struct customer_trouble trouble;
    struct tell_server server; /* as this round of looks finds it */
    /* Of what the file says, until tell_begin. */
    uint64_t waited, arrived_since, ended_since;
    struct customer_told told; /* whose notice is on its way to the disk; NONE: none is */
    struct ref told_ref;
    int64_t retry_at_ms;  /* of the loop's clock */
    int32_t withheld_day; /* said */
    bool is_untold;       /* which has been said */
};

struct tell {
    struct keeper *keeper;
    struct tell_customer *customers[TELL_SLOTS]; /* hashed by id */
    size_t next_queue;                           /* of the round */
    size_t line_count;
    int64_t written_at_ms; /* the file before us; 0: there was none */
    bool is_dirty, has_failed;
    bool is_silent; /* nobody is told anything */
};

/* tell_customer.c */
struct tell_customer **tell_slot(struct tell *tell,
                                 uint32_t id); /* points to NULL: there is none */
struct tell_customer *tell_customer_of(struct tell *tell, uint32_t id,
                                       const char *name); /* makes it */
void tell_customer_free(struct tell_customer **at);
/* The first that is to come.  Behind its deadline stays what is held, or may have been taken: of
 * that there is nothing to warn of.  NULL: there is none. */
const struct tell_deadline *tell_first_deadline(const struct tell_customer *c, int64_t now_ms);
/* How the message has ended is noted; all its recipients have. */
void tell_note_end(struct keeper *k, struct tell_customer *c, const struct spool_message *m);

/* tell_file.c */
void tell_file_read(struct tell *tell);
void tell_file_write(struct tell *tell);

#endif
