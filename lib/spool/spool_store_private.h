/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of the store share: spool_store.c (what is there), spool_entry.c (the messages in
 * memory), spool_outcome.c (what became of them), spool_checkpoint.c (all of that), spool_job.c
 * (what blocks).  Nobody else includes it.
 */
#ifndef SPOOL_STORE_PRIVATE_H
#define SPOOL_STORE_PRIVATE_H

#include <assert.h>

#include "base/codec.h"
#include "base/pool.h"
#include "spool/spool_ledger.h"
#include "spool/spool_pending.h"
#include "spool/spool_scan.h"
#include "spool/spool_store.h"
#include "spool/spool_texts.h"

/* Numbers of the store's pool in place of pointers; 0: none. */
struct spool_store_entry {
    struct spool_message message; /* first: a message is its entry */
    uint32_t prev, next;          /* in order of arrival */
    uint32_t segment_next;        /* of the same segment */
    uint32_t ref_next;            /* of the same slot of the table */
};
static_assert(sizeof(struct spool_store_entry) <= 128, "a million of them");

struct spool_store_parked { /* a resolution whose turn has not come: see spool_resolve.c */
    struct spool_resolution resolution;
    struct spool_store_segment *said_in;
    struct spool_store_parked *next; /* of the same slot */
    char reply[];
};

struct spool_store_note;

enum outcome_type { /* in files: numbers never change their meaning */
                    OUTCOME_OFFERED = 1,
                    OUTCOME_ATTEMPT = 2,
                    OUTCOME_ENDED = 3,
                    OUTCOME_EXPIRES = 4,
                    OUTCOME_HOLD = 5,
                    OUTCOME_CONFIRMED = 6,
                    OUTCOME_LISTENS = 7,
                    OUTCOME_DUE = 8,
                    OUTCOME_REDIRECT = 9,
                    OUTCOME_NOTE = 10,
                    OUTCOME_TYPE_COUNT
};

struct spool_store_segment {
    struct spool_segment_id id;
    struct spool_scan *scan; /* while it is read */
    int fd;
    uint32_t writer;       /* the process */
    bool is_known, closed; /* is_known: its header has been read */
    bool sealed, complete; /* complete: sealed and read to its end */
    bool unreadable, vanished, removing;
    unsigned tries;
    uint64_t seen;    /* the pass that saw its name */
    uint64_t read_at; /* the pass that completed it */
    uint64_t damaged, bad_envelopes, bad_bodies;
    uint64_t last_seq;             /* of the newest outcome of its messages */
    uint8_t key[SIPHASH_KEY_SIZE]; /* of its records' headers */
    uint32_t messages;             /* the first entry's number */
    uint64_t message_count, open_count;
    size_t parked_count; /* resolutions that were read here */
};

struct spool_fetched {                         /* the record that was read last */
    const struct spool_store_segment *segment; /* NULL: none */
    uint64_t record_offset;
    struct spool_body body;
    struct buf envelope; /* encoded */
};

struct spool_store {
    const struct spool_io *io;
    enum spool_store_mode mode;
    const char *customer; /* while it is opened: of this one alone; NULL: of all */
    bool running;         /* open has returned */
    int dir_fd;
    struct spool_ledger *ledger;
    struct spool_store_segment **segments; /* sorted by id */
    size_t segment_count;
    struct pool entries;
    struct spool_texts texts;
    uint32_t first, last; /* entries */
    uint32_t *table;      /* by reference */
    size_t table_size, message_count, open_count;
    uint32_t found; /* the entry that spool_entry_find found last */
    struct spool_pending pending;
    bool ledger_is_read; /* until then resolutions are parked */
    struct {
        uint32_t next;           /* the first entry that has not been written */
        unsigned slice_messages; /* looked at in one step */
        bool begins_anew;
    } checkpoint;
    struct spool_store_parked **parked; /* by reference */
    size_t parked_size, parked_count;
    spool_on_resolved on_resolved;
    void *on_resolved_ctx;
    spool_on_ended on_ended;
    void *on_ended_ctx;
    spool_is_writing is_writing;
    void *is_writing_ctx;
    uint64_t pass, free_seen, records;
    uint64_t queued_seq, synced_seq, checkpoint_bytes;
    const char *outcomes_missing; /* why; NULL: they are not */
    bool must_rewrite;            /* the ledger's file has damage in it */
    struct spool_job *job;
    struct buf scratch;
    int read_fd; /* one descriptor is kept: a body is read in pieces */
    struct spool_segment_id read_segment;
    struct spool_fetched fetched;
    void (*on_new)(void *ctx, struct spool_message *message);
    void *on_new_ctx;
};

/* --- spool_store_segment.c */
int spool_segment_compare(struct spool_segment_id a, struct spool_segment_id b);
bool spool_store_has_segment(const struct spool_store *s, struct spool_segment_id id);
struct spool_store_segment *spool_store_segment_find(const struct spool_store *s,
                                                     struct spool_segment_id id);
void spool_store_segment_remove(struct spool_store *s, struct spool_store_segment *segment);
void spool_store_segment_free(struct spool_store *s, struct spool_store_segment *segment);
/* Below 0: errno says. */
int spool_store_segment_open(const struct spool_store *s, struct spool_segment_id id);
/* An alarm of the owner's. */
void spool_store_segment_log(const struct spool_store *s, struct spool_store_segment *segment,
                             const char *event, const char *why);

/* --- spool_store.c */
uint64_t spool_segment_damage(const struct spool_store_segment *segment);
/* A descriptor of the message's segment, the store's own; below 0: errno says. */
int spool_store_read_fd(struct spool_store *s, const struct spool_message *m);
void spool_store_close_read_fd(struct spool_store *s);

/* --- spool_entry.c */
static inline struct spool_store_entry *
spool_entry_at(const struct spool_store *s, uint32_t number)
{
    return pool_at(&s->entries, number);
}
/* NULL: its envelope cannot be decoded. */
struct spool_store_entry *spool_entry_new(struct spool_store *s,
                                          const struct spool_scan_record *record,
                                          struct spool_store_segment *segment);
/* What it did not have until now. */
struct spool_tries *spool_entry_tries(struct spool_message *m);
struct spool_detail *spool_entry_detail(struct spool_message *m);
struct spool_recipient_detail *spool_entry_recipients(struct spool_message *m);
/* Replaces a text that the message has of the store's. */
void spool_entry_set_text(struct spool_store *s, const char **text, struct slice value);
/* The message whose record is at this place, with this reference; NULL: none. */
struct spool_message *spool_entry_find(struct spool_store *s, const struct spool_place *place);
void spool_entry_link(struct spool_store *s, struct spool_store_entry *entry);
/* Out of list and table, and its memory goes; the segment's list of it is the caller's. */
void spool_entry_forget(struct spool_store *s, struct spool_store_entry *entry);
/* The list, once all has been read that was there. */
void spool_entries_sort(struct spool_store *s);
void spool_entries_free(struct spool_store *s);

/* --- spool_outcome.c */

/* One entry of the ledger, at open, when the segments have been read. */
void spool_outcome_read(void *store, uint16_t type, struct slice payload);
/* Applies to a message that has just been read what the ledger and other records say of it. */
void spool_outcome_adopt(struct spool_store *s, struct spool_message *m);
/* Counts for a prepared record, whatever side; changes nothing of the sides. */
void spool_outcome_confirmed(struct spool_store *s, struct spool_message *m);
void spool_outcome_listens(struct spool_store *s, struct spool_message *m, bool unknown,
                           int64_t until_ms);
/* What the envelope says, before any resolution. */
void spool_outcome_begin(struct spool_store *s, struct spool_message *m,
                         const struct spool_facts *facts);

/* Begins an entry on this message in the scratch buffer; its fields follow. */
struct buf *spool_outcome_entry(struct spool_store *s, const struct spool_message *m);
struct spool_place spool_outcome_place(struct decoder *d);
/* Cut to what an entry takes. */
void spool_outcome_put_text(struct buf *b, const char *text);
void spool_outcome_put_attempt(struct buf *b, const struct spool_tries *tries);
void spool_outcome_put_ended(struct buf *b, unsigned recipient, enum spool_end end, int64_t at_ms,
                             const char *reply);

/* --- spool_checkpoint.c */

/* The next step of the checkpoint, of a new one if none runs.  With the last one all is in it that
 * is queued. */
struct spool_ledger_job *spool_checkpoint_step(struct spool_store *s, bool *is_last);
void spool_checkpoint_follow(struct spool_store *s, const struct spool_message *m,
                             enum outcome_type type);
void spool_checkpoint_begin_anew(struct spool_store *s);

/* --- spool_note.c */
void spool_note_put(struct buf *b, const struct spool_note *note);
struct spool_store_note *spool_note_get(struct decoder *d); /* NULL: it cannot be decoded */
const struct spool_note *spool_note_of(const struct spool_store_note *owned);
void spool_note_free(struct spool_store_note *note);
void spool_notes_add(struct spool_message *m, struct spool_store_note *note);
void spool_notes_free(struct spool_detail *detail);

/* --- spool_fetch.c */
void spool_fetch_forget(struct spool_store *s, const struct spool_store_segment *segment);
void spool_fetch_fini(struct spool_store *s);

/* --- spool_resolve.c */
void spool_resolve_read(struct spool_store *s, struct spool_store_segment *segment,
                        const struct spool_resolution *resolution);
/* What was read before its record. */
void spool_resolve_adopt(struct spool_store *s, struct spool_message *m);
/* What was read before the ledger. */
void spool_resolve_adopt_all(struct spool_store *s);
/* No record will come any more to which a resolution of this segment belongs. */
bool spool_resolve_may_forget(const struct spool_store *s,
                              const struct spool_store_segment *segment);
void spool_resolve_forget(struct spool_store *s, struct spool_store_segment *segment);

#endif
