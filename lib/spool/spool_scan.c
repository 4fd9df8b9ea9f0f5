/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The scan of one segment: two ways to the same records.  A sealed segment is read by its footer;
 * an unsealed one through a window of 4 MB that is moved on, never back, and never over the limit:
 * what the window holds below the committed offset does not change any more.
 *
 * Invariants: the cursor stands behind the last record given; it passes what the writer committed
 * only over records that verify whole.  A damaged footer makes the segment an unsealed one that is
 * committed up to there; but what the writer had not committed is still held against its body's
 * check, since the sealing had found torn records among it.
 */
#include "config.h"

#include "spool/spool_scan.h"

#include <assert.h>
#include <stdlib.h>

#include <xxhash.h>

#include "spool/spool_index.h"

#define INDEX_WINDOW_BYTES (256u * 1024)
static_assert(INDEX_WINDOW_BYTES >= 2 * SPOOL_INDEX_ENTRY_MAX, "it holds whole entries");

struct spool_scan {
    const struct spool_io *io;
    int fd;
    struct spool_scan_info info;
    uint64_t cursor;
    uint64_t file_bytes;
    uint64_t closed_at; /* see SPOOL_SEGMENT_CLOSED_AT */
    uint64_t synced;    /* the writer's committed offset: bodies before it need no check */

    char *window; /* octets [window_at, window_at + window_bytes) of the file */
    uint64_t window_at;
    size_t window_bytes, window_size; /* filled, allocated */

    struct spool_trailer trailer;
    char *index;               /* a window of the footer's entries */
    struct decoder index_left; /* what of it has not been given */
    uint64_t index_next;       /* of the index: what is behind the window */
    bool index_exhausted;
    char *envelope; /* of a record whose envelope is not in the index */
};

/* --- The state of the segment. */

static void
rewind_index(struct spool_scan *scan)
{
    scan->index_left = decoder_of((struct slice){scan->index, 0});
    scan->index_next = 0;
    scan->index_exhausted = false;
}

/* The window holds one whole entry more, or all that is left.  It is small and read over and over:
 * a footer may have 50 MB, and fresh memory costs more than the reading. */
static int
fill_index(struct spool_scan *scan)
{
    size_t have = (size_t)(scan->index_left.end - scan->index_left.p),
           n = INDEX_WINDOW_BYTES - have;
    uint64_t more = scan->trailer.index_bytes - scan->index_next;

    if (have >= SPOOL_INDEX_ENTRY_MAX || more == 0)
        return ERR_OK;
    memmove(scan->index, scan->index_left.p, have);
    if (n > more)
        n = (size_t)more;
    scan->index_left = decoder_of((struct slice){scan->index, have});
    if (spool_read_exactly(scan->io, scan->fd, scan->index + have, n,
                           scan->trailer.index_offset + scan->index_next) < 0)
        return ERR_IO; /* too short as well: the file shrank under us */
    scan->index_next += n;
    scan->index_left.end += n;
    return ERR_OK;
}

/* The whole index against its check, before an entry of it counts. */
static int
check_index(struct spool_scan *scan)
{
    XXH3_state_t *state = XXH3_createState();
    int rc = ERR_OK;

    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    rewind_index(scan);
    while (rc == ERR_OK && scan->index_next < scan->trailer.index_bytes) {
        rc = fill_index(scan);
        XXH3_64bits_update(state, scan->index_left.p,
                           (size_t)(scan->index_left.end - scan->index_left.p));
        scan->index_left.p = scan->index_left.end;
    }
    if (rc == ERR_OK && XXH3_64bits_digest(state) != scan->trailer.index_check)
        rc = ERR_CORRUPT;
    XXH3_freeState(state);
    return rc;
}

static int
load_index(struct spool_scan *scan)
{
    int rc;

    if (scan->index == NULL)
        scan->index = mem_alloc(INDEX_WINDOW_BYTES);
    rc = check_index(scan);
    rewind_index(scan);
    if (rc < 0) {
        free(scan->index);
        scan->index = NULL;
    }
    return rc;
}

/* The footer is of no use: scan the records themselves; the sealing kept all before it. Not all
 * of that is whole: `synced` stays what the writer said. */
static void
fall_back_to_records(struct spool_scan *scan)
{
    scan->info.sealed = false;
    scan->info.damaged++;
    scan->info.committed_offset = scan->trailer.index_offset;
    scan->closed_at = scan->trailer.index_offset;
}

static int
read_trailer(struct spool_scan *scan)
{
    uint8_t block[SPOOL_TRAILER_BYTES];
    int rc;

    if (scan->file_bytes < SPOOL_SEGMENT_HEADER_BYTES + SPOOL_TRAILER_BYTES)
        return ERR_OK;
    rc = spool_read_exactly(scan->io, scan->fd, block, sizeof block,
                            scan->file_bytes - sizeof block);
    if (rc < 0)
        return rc == ERR_CORRUPT ? ERR_OK : rc;
    if (!spool_trailer_decode(block, scan->file_bytes, scan->info.key, &scan->trailer))
        return ERR_OK;
    rc = load_index(scan);
    if (rc == ERR_IO)
        return rc;
    scan->info.sealed = true;
    scan->info.records = scan->trailer.records;
    scan->info.damaged = scan->trailer.damaged;
    if (rc < 0)
        fall_back_to_records(scan);
    return ERR_OK;
}

static int
read_offsets(struct spool_scan *scan)
{
    uint8_t block[16];
    uint64_t committed, closed;
    int rc =
        spool_read_exactly(scan->io, scan->fd, block, sizeof block, SPOOL_SEGMENT_COMMITTED_AT);

    if (rc < 0)
        return rc;
    committed = load_u64(block);
    closed = load_u64(block + 8);
    if (committed < SPOOL_SEGMENT_HEADER_BYTES || committed > scan->file_bytes)
        committed = SPOOL_SEGMENT_HEADER_BYTES;
    if (closed != 0 && closed < committed)
        closed = committed;
    scan->info.committed_offset = scan->synced = committed;
    scan->closed_at = closed;
    scan->info.closed = closed != 0;
    return ERR_OK;
}

int
spool_scan_refresh(struct spool_scan *scan)
{
    struct stat st;
    int rc;

    if (scan->info.sealed || scan->trailer.index_offset != 0)
        return ERR_OK;
    if (fstat(scan->fd, &st) < 0)
        return ERR_IO;
    scan->file_bytes = (uint64_t)st.st_size;
    rc = read_offsets(scan);
    return rc < 0 ? rc : read_trailer(scan);
}

int
spool_scan_open(const struct spool_io *io, int fd, struct spool_scan **scan)
{
    struct spool_segment_header header;
    uint8_t block[SPOOL_WRITER_AT + SPOOL_WRITER_BYTES];
    struct spool_scan *s;
    int rc;

    *scan = NULL;
    rc = spool_read_exactly(io, fd, block, sizeof block, 0);
    if (rc == ERR_OK)
        rc = spool_header_decode(block, &header);
    if (rc < 0)
        return rc;
    s = mem_alloc(sizeof *s);
    s->io = io;
    s->fd = fd;
    s->cursor = SPOOL_SEGMENT_HEADER_BYTES;
    s->info.id = header.id;
    memcpy(s->info.key, header.key, sizeof header.key);
    s->info.size_bytes = header.size_bytes;
    s->info.created_at_ms = header.created_at_ms;
    s->info.writer = spool_format_get_writer(block + SPOOL_WRITER_AT, header.key);
    rc = spool_scan_refresh(s);
    if (rc < 0)
        spool_scan_close(&s);
    *scan = s;
    return rc;
}

static void
give_memory_back(struct spool_scan *scan)
{
    free(scan->window);
    scan->window = NULL;
    scan->window_bytes = scan->window_size = 0;
    free(scan->index);
    scan->index = NULL;
}

void
spool_scan_close(struct spool_scan **scan)
{
    if (*scan == NULL)
        return;
    give_memory_back(*scan);
    free((*scan)->envelope);
    free(*scan);
    *scan = NULL;
}

const struct spool_scan_info *
spool_scan_info(const struct spool_scan *scan)
{
    return &scan->info;
}

uint64_t
spool_scan_offset(const struct spool_scan *scan)
{
    return scan->cursor;
}

void
spool_scan_seek(struct spool_scan *scan, uint64_t offset)
{
    if (offset < SPOOL_SEGMENT_HEADER_BYTES)
        offset = SPOOL_SEGMENT_HEADER_BYTES;
    scan->cursor = spool_align(offset);
    if (scan->index != NULL)
        rewind_index(scan);
    scan->index_exhausted = false;
}

/* --- By the footer. */

static int
read_envelope(struct spool_scan *scan, const struct spool_index_entry *entry, struct slice *out)
{
    size_t n = entry->header.envelope_bytes;
    int rc;

    scan->envelope = mem_realloc(scan->envelope, n);
    rc = spool_read_exactly(scan->io, scan->fd, scan->envelope, n,
                            entry->offset + entry->header.envelope_at);
    if (rc == ERR_OK && XXH3_64bits(scan->envelope, n) != entry->header.envelope_check)
        rc = ERR_CORRUPT;
    *out = (struct slice){scan->envelope, n};
    return rc;
}

static void
fill_record(const struct spool_record_header *header, uint64_t offset, struct ref ref,
            struct slice envelope, struct spool_scan_record *record)
{
    *record = (struct spool_scan_record){
        .type = header->type,
        .ref = ref,
        .offset = offset,
        .end = offset + spool_record_extent(header),
        .envelope = envelope,
        .envelope_offset = offset + header->envelope_at,
        .body_offset = offset + header->body_at,
        .body_bytes = header->body_bytes,
        .body_check = header->body_check,
    };
}

static int
next_of_index(struct spool_scan *scan, struct spool_scan_record *record)
{
    struct spool_index_entry entry;
    int rc = ERR_OK;

    if (scan->index_exhausted)
        return ERR_AGAIN;
    if (scan->index == NULL)
        rc = load_index(scan);
    while (rc == ERR_OK && (rc = fill_index(scan)) == ERR_OK &&
           (rc = spool_index_get(&scan->index_left, &entry)) == ERR_OK) {
        if (entry.offset < scan->cursor)
            continue;
        if (!entry.is_inline)
            rc = read_envelope(scan, &entry, &entry.envelope);
        if (rc == ERR_IO)
            return rc;
        scan->cursor = entry.offset + spool_record_extent(&entry.header);
        if (rc == ERR_OK) {
            fill_record(&entry.header, entry.offset, entry.ref, entry.envelope, record);
            return ERR_OK;
        }
        scan->info.damaged++;
        rc = ERR_OK;
    }
    if (rc == ERR_AGAIN) {
        scan->index_exhausted = true;
        give_memory_back(scan);
    }
    return rc;
}

/* --- By the records. */

static uint64_t
scan_limit(const struct spool_scan *scan, enum spool_scan_reach reach)
{
    if (reach == SPOOL_SCAN_COMMITTED)
        return scan->info.committed_offset;
    if (scan->closed_at != 0 && scan->closed_at < scan->file_bytes)
        return scan->closed_at;
    return scan->file_bytes;
}

/* `n` octets at `offset` through the window; the caller has held them against the limit. */
static int
view(struct spool_scan *scan, uint64_t offset, size_t n, uint64_t limit, const char **p)
{
    uint64_t left = limit - offset;
    int rc;

    CHECK(n <= SPOOL_SCAN_BLOCK_BYTES && n <= left);
    if (offset < scan->window_at || offset + n > scan->window_at + scan->window_bytes) {
        size_t bytes =
            left < SPOOL_SCAN_BLOCK_BYTES ? (size_t)left : (size_t)SPOOL_SCAN_BLOCK_BYTES;

        if (bytes > scan->window_size) {
            scan->window = mem_realloc(scan->window, bytes);
            scan->window_size = bytes;
        }
        scan->window_at = offset;
        scan->window_bytes = bytes;
        rc = spool_read_exactly(scan->io, scan->fd, scan->window, scan->window_bytes, offset);
        if (rc < 0) {
            scan->window_bytes = 0;
            return ERR_IO; /* too short as well: the file shrank under us */
        }
    }
    *p = scan->window + (offset - scan->window_at);
    return ERR_OK;
}

/* From `*at` to the next place that begins like a record header. ERR_AGAIN: none. */
static int
search(struct spool_scan *scan, uint64_t *at, uint64_t limit)
{
    uint32_t magic;
    const char *p;
    int rc;

    memcpy(&magic, spool_record_magic, sizeof magic);
    while (*at + SPOOL_RECORD_HEADER_BYTES <= limit) {
        size_t n = SPOOL_ALIGN;

        if (*at >= scan->window_at && *at + n <= scan->window_at + scan->window_bytes)
            n = (size_t)(scan->window_at + scan->window_bytes - *at) & ~(size_t)(SPOOL_ALIGN - 1);
        if (*at + n > limit)
            n = (size_t)(limit - *at);
        rc = view(scan, *at, n, limit, &p);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i + SPOOL_ALIGN <= n; i += SPOOL_ALIGN, *at += SPOOL_ALIGN) {
            uint32_t word;

            memcpy(&word, p + i, sizeof word);
            if (word == magic)
                return ERR_OK;
        }
    }
    return ERR_AGAIN;
}

/* The record at `offset`, whose header is good. ERR_CORRUPT: not whole. */
static int
check_record(struct spool_scan *scan, const struct spool_record_header *header, uint64_t offset,
             uint64_t limit, struct spool_scan_record *record)
{
    uint64_t end = offset + spool_record_extent(header);
    struct ref ref = {.node = 0};
    struct slice envelope;
    int rc;

    if (end > limit)
        return ERR_CORRUPT;
    envelope.n = header->envelope_bytes;
    /* The body first: reading the envelope is what leaves the window where it is borrowed from. */
    if (end > scan->synced) {
        rc = spool_scan_verify_body(scan->io, scan->fd, offset + header->body_at,
                                    header->body_bytes, header->body_check);
        if (rc < 0)
            return rc;
    }
    rc = view(scan, offset + header->envelope_at, envelope.n, limit, &envelope.p);
    if (rc < 0)
        return rc;
    if (XXH3_64bits(envelope.p, envelope.n) != header->envelope_check ||
        spool_envelope_peek_ref(envelope, &ref) == ERR_CORRUPT)
        return ERR_CORRUPT;
    fill_record(header, offset, ref, envelope, record);
    return ERR_OK;
}

/* Looks at one place. ERR_OK: a record; ERR_CORRUPT: none, *next is where to go on; ERR_IO. */
static int
look_at(struct spool_scan *scan, uint64_t at, uint64_t limit, struct spool_scan_record *record,
        uint64_t *next)
{
    struct spool_record_header header;
    const char *p;
    int rc;

    *next = at + SPOOL_ALIGN;
    rc = view(scan, at, SPOOL_RECORD_HEADER_BYTES, limit, &p);
    if (rc < 0)
        return rc;
    if (!spool_record_decode((const uint8_t *)p, at, scan->info.key, &header))
        return ERR_CORRUPT;
    rc = check_record(scan, &header, at, limit, record);
    if (rc != ERR_IO && at + spool_record_extent(&header) <= limit)
        *next = at + spool_record_extent(&header);
    return rc;
}

/* Nothing more to be found: behind the committed offset the cursor stays where the next record may
 * come; damage before it is passed for good. */
static int
end_of_records(struct spool_scan *scan, uint64_t limit)
{
    uint64_t passed = limit < scan->info.committed_offset ? limit : scan->info.committed_offset;

    if (scan->cursor < passed) {
        scan->info.damaged++;
        scan->cursor = spool_align(passed);
    }
    give_memory_back(scan);
    return ERR_AGAIN;
}

static int
next_of_records(struct spool_scan *scan, uint64_t limit, struct spool_scan_record *record)
{
    uint64_t at = scan->cursor, next;
    int rc;

    while (at + SPOOL_RECORD_HEADER_BYTES <= limit) {
        rc = look_at(scan, at, limit, record, &next);
        if (rc == ERR_IO)
            return rc;
        if (rc == ERR_OK) {
            if (at != scan->cursor && scan->cursor < scan->info.committed_offset)
                scan->info.damaged++;
            scan->cursor = next;
            return ERR_OK;
        }
        at = next;
        rc = search(scan, &at, limit);
        if (rc == ERR_IO)
            return rc;
        if (rc == ERR_AGAIN)
            break;
    }
    return end_of_records(scan, limit);
}

int
spool_scan_next(struct spool_scan *scan, enum spool_scan_reach reach,
                struct spool_scan_record *record)
{
    if (scan->info.sealed)
        return next_of_index(scan, record);
    return next_of_records(scan, scan_limit(scan, reach), record);
}

/* --- The body. */

int
spool_scan_verify_body(const struct spool_io *io, int fd, uint64_t body_offset, uint64_t body_bytes,
                       uint64_t body_check)
{
    size_t block_bytes =
        body_bytes < SPOOL_SCAN_BLOCK_BYTES ? (size_t)body_bytes : (size_t)SPOOL_SCAN_BLOCK_BYTES;
    char *block = mem_alloc(block_bytes);
    XXH3_state_t *state = XXH3_createState();
    int rc = ERR_OK;

    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    while (body_bytes > 0 && rc == ERR_OK) {
        size_t n = body_bytes < block_bytes ? (size_t)body_bytes : block_bytes;

        rc = spool_read_exactly(io, fd, block, n, body_offset);
        if (rc == ERR_OK)
            XXH3_64bits_update(state, block, n);
        body_offset += n;
        body_bytes -= n;
    }
    if (rc == ERR_OK && XXH3_64bits_digest(state) != body_check)
        rc = ERR_CORRUPT;
    XXH3_freeState(state);
    free(block);
    return rc;
}
