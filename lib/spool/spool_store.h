/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool as a whole: segments plus ledger are the whole truth about mail that is kept.  The
 * keeper opens it as owner and writes outcomes to the ledger; relayctl opens it read-only, also
 * beside a running keeper and with every daemon down.
 *
 * The order is law: outcome synced, segment unlinked or recycled, folder synced, only then may a
 * checkpoint forget.
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include "spool/spool_record.h"
#include "spool/spool_segment.h"

struct spool_store;

enum spool_end { /* the recorded end of a recipient (P2) */
                 SPOOL_END_NONE,
                 SPOOL_END_DELIVERED,
                 SPOOL_END_REFUSED, /* a late 5xx, not returned (P4) */
                 SPOOL_END_EXPIRED,
                 SPOOL_END_RETURNED,
                 SPOOL_END_REMOVED,   /* by a named operator with a reason */
                 SPOOL_END_CANCELLED, /* a live recipient whose sender got the backend's own answer
                                       */
};
const char *spool_end_word(enum spool_end end);

struct spool_recipient_state {
    enum spool_end end;
    int64_t ended_at_ms;
    const char *reply; /* the backend's last answer, or why it could not be asked; "" */
};

struct spool_message { /* borrowed from the store; gone after spool_store_forget_ended */
    struct spool_envelope envelope;
    struct spool_segment_id segment;
    uint64_t record_offset, body_offset, body_bytes;
    struct spool_recipient_state *states; /* one a recipient */
    unsigned open_count;                  /* recipients without an end */
    unsigned attempts;
    int64_t last_attempt_at_ms, next_attempt_at_ms; /* next: 0 as soon as its route permits */
    int64_t expires_at_ms;                          /* the envelope's, or as extended */
    bool held, offered; /* offered: a dot was sent in an attempt whose outcome is not recorded */
    const char *hold_reason;
    bool damaged; /* the body does not match its checksum */
    void *user;   /* the keeper's own */
};

enum spool_store_mode { SPOOL_STORE_READ, SPOOL_STORE_OWNER };

/* Reads all; `dir` must exist. Damaged records are skipped, counted and logged; a scan goes on
 * behind them. ERR_BUSY: as owner, another owns it. */
MUST_USE int spool_store_open(const struct spool_io *io, const char *dir,
                              enum spool_store_mode mode, struct spool_store **store);
void spool_store_close(struct spool_store **store);

/* New records up to the committed offsets, new segments, newly sealed ones. Cheap when nothing is
 * new. on_new may be NULL. */
MUST_USE int spool_store_refresh(struct spool_store *store,
                                 void (*on_new)(void *ctx, struct spool_message *message),
                                 void *ctx);

/* In order of arrival; cursor starts NULL. Ended messages that are still in memory are included
 * (open_count 0). */
struct spool_message *spool_store_next(struct spool_store *store, struct spool_message *cursor);
struct spool_message *spool_store_find(struct spool_store *store, struct ref ref);
size_t
spool_store_open_count(const struct spool_store *store); /* messages with an open recipient */

/* The body, through the store's own descriptor; verifies nothing. Returns octets read, 0 at the
 * end, or an err. */
MUST_USE int64_t spool_store_read_body(struct spool_store *store,
                                       const struct spool_message *message, uint64_t offset,
                                       void *dst, size_t n);
/* A read-only descriptor of the message's segment, for a deliverer; the caller closes it. */
MUST_USE int spool_store_dup_segment(struct spool_store *store, const struct spool_message *message,
                                     int *fd);
MUST_USE int spool_store_verify_body(struct spool_store *store,
                                     struct spool_message *message); /* ERR_CORRUPT */

/* --- Outcomes (owner). They change memory at once and are queued for the ledger; spool_store_sync
 * makes all queued ones durable. */
void spool_store_offered(struct spool_store *store, struct spool_message *message);
void spool_store_attempt(struct spool_store *store, struct spool_message *message, int64_t at_ms,
                         int64_t next_at_ms, const char *reply);
void spool_store_ended(struct spool_store *store, struct spool_message *message, unsigned recipient,
                       enum spool_end end, int64_t at_ms, const char *reply);
void spool_store_extend(struct spool_store *store, struct spool_message *message,
                        int64_t expires_at_ms);
void spool_store_hold(struct spool_store *store, struct spool_message *message,
                      const char *reason);                /* NULL releases */
MUST_USE int spool_store_sync(struct spool_store *store); /* blocks: one write, one fdatasync; for a
                                                             thread, or between turns */
/* Segments whose messages have all ended go; checkpoint when the ledger has grown. Call now and
 * then; on_forget before each message's memory goes. */
MUST_USE int spool_store_clean(struct spool_store *store,
                               void (*on_forget)(void *ctx, struct spool_message *message),
                               void *ctx);

struct spool_store_stats {
    uint64_t segments, free_segments, records, damaged_records, ledger_bytes;
};
void spool_store_get_stats(const struct spool_store *store, struct spool_store_stats *stats);

#endif
