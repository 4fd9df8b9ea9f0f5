/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool log as relayctl reads it: opening with clear words, and totals.
 */
#ifndef ADMIN_SPOOL_READER_H
#define ADMIN_SPOOL_READER_H

#include "admin/call.h"
#include "admin/routing.h"
#include "base/clock.h"
#include "spool/spool_store.h"

/* As spool_reader_open_customer; the sentence goes into `why` instead of standard error. */
enum command_status spool_reader_try_open(const struct call *call, const char *customer,
                                          struct spool_store **store, struct buf *why);
/* Read-only, beside a running keeper or without one. A failure has been explained. */
enum command_status spool_reader_open(const struct call *call, struct spool_store **store);
/* Of this customer's messages alone, which is quicker; NULL: of all. */
enum command_status spool_reader_open_customer(const struct call *call, const char *customer,
                                               struct spool_store **store);

/* --- What lists and single messages have in common. */
/* An envelope, with what it lies in. */
struct spool_reader_envelope {
    struct spool_envelope envelope;
    struct arena arena;
};
/* Reads it.  False: its segment has gone since, so that it has ended.  What cannot be read
 * otherwise is explained, and empty.  Either way spool_reader_close_envelope. */
bool spool_reader_open_envelope(struct spool_store *store, const struct spool_message *message,
                                struct spool_reader_envelope *opened);
void spool_reader_close_envelope(struct spool_reader_envelope *opened);
/* Each open or ended recipient's address; free() the array. */
const char **spool_reader_recipients(const struct spool_envelope *envelope);
/* "open", "delivered", ... */
const char *spool_reader_recipient_word(const struct spool_message *message, unsigned recipient);
/* A list of objects, of each recipient what has become of it. */
struct json_t *spool_reader_recipients_json(const struct spool_message *message,
                                            const struct spool_envelope *envelope);
const char *
spool_reader_sender(const struct spool_envelope *envelope); /* "<>" is the null sender */
/* A try that ended the last recipient counts as well, though the log has no attempt of it. */
unsigned spool_reader_tries(const struct spool_message *message);
int64_t spool_reader_last_try(const struct spool_message *message);       /* 0: none */
const char *spool_reader_last_reply(const struct spool_message *message); /* NULL: none */
/* What the next try waits for. */
enum spool_wait {
    SPOOL_WAIT_NOTHING, /* there is none, or it is held */
    SPOOL_WAIT_OUTCOME,
    SPOOL_WAIT_ROUTE,
    SPOOL_WAIT_RELEASE, /* of its server */
    SPOOL_WAIT_SERVER,
    SPOOL_WAIT_TIME,
};
/* A cell; `next_at_ms` is that of SPOOL_WAIT_TIME. */
void spool_reader_print_wait(struct printer *printer, enum spool_wait wait, int64_t next_at_ms);
void spool_reader_print_next(struct printer *printer, const struct spool_message *message,
                             const struct registry *registry, int64_t now_ms);

#define SPOOL_AGES 5
extern const struct spool_age {
    const char *name; /* "1h": younger than that; "more" */
    int64_t below_ms;
} spool_ages[SPOOL_AGES];

struct spool_totals { /* of messages with an open recipient */
    uint64_t messages, recipients, size_bytes, held, damaged;
    uint64_t no_route; /* will not be tried: no domain, or no backend */
    uint64_t due;      /* to be tried as soon as the server is up, or released */
    uint64_t ages[SPOOL_AGES];
    int64_t oldest_at_ms;  /* 0: none */
    int64_t next_at_ms;    /* of those that are not due */
    int64_t expires_at_ms; /* the first to end */
};
/* `recipients`: how many of the open ones are counted here; 0: all. */
void spool_reader_count(struct spool_totals *totals, const struct spool_message *message,
                        unsigned recipients, const struct registry *registry, int64_t now_ms);

#endif
