/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is not in memory of a message, read from its segment when somebody needs it.  By the record,
 * whose keyed check covers the place: header and envelope in one read of nearly all.  What does not
 * verify there is looked for in the footer of a sealed segment, which holds the same octets again.
 *
 * The record that was read last is kept: its envelope is asked for, and then where its body lies,
 * piece after piece.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <errno.h>
#include <stdlib.h>

#include <xxhash.h>

#include "spool/spool_format.h"

#define BLOCK_BYTES 4096 /* header and envelope of nearly every small record */

/* --- By the record. */

static int
read_rest(struct spool_store *s, int fd, const struct spool_record_header *header, uint64_t offset,
          struct slice have)
{
    struct buf *b = &s->fetched.envelope;
    char *p;

    buf_clear(b);
    if (header->envelope_at + header->envelope_bytes <= have.n) {
        buf_add(b, have.p + header->envelope_at, header->envelope_bytes);
        return ERR_OK;
    }
    CHECK(buf_room(b, header->envelope_bytes, &p) == ERR_OK);
    buf_added(b, header->envelope_bytes);
    return spool_read_exactly(s->io, fd, p, header->envelope_bytes, offset + header->envelope_at);
}

static int
fetch_record(struct spool_store *s, int fd, const struct spool_message *m)
{
    struct spool_record_header header;
    char block[BLOCK_BYTES];
    ssize_t n = s->io->pread(fd, block, sizeof block, (off_t)m->record_offset);
    int rc;

    if (n < 0)
        return ERR_IO;
    if (n < SPOOL_RECORD_HEADER_BYTES ||
        !spool_record_decode((const uint8_t *)block, m->record_offset, m->segment->key, &header))
        return ERR_CORRUPT;
    rc = read_rest(s, fd, &header, m->record_offset, (struct slice){block, (size_t)n});
    if (rc == ERR_OK && XXH3_64bits(buf_slice(&s->fetched.envelope).p, header.envelope_bytes) !=
                            header.envelope_check)
        rc = ERR_CORRUPT;
    s->fetched.body = (struct spool_body){.offset = m->record_offset + header.body_at,
                                          .bytes = header.body_bytes,
                                          .check = header.body_check};
    return rc;
}

/* --- By the footer. */

static int
take_from_scan(struct spool_store *s, struct spool_scan *scan, const struct spool_message *m)
{
    struct spool_scan_record record;
    int rc;

    if (!spool_scan_info(scan)->sealed)
        return ERR_CORRUPT;
    spool_scan_seek(scan, m->record_offset);
    rc = spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record);
    if (rc == ERR_AGAIN || (rc == ERR_OK && record.offset != m->record_offset))
        return ERR_CORRUPT;
    if (rc != ERR_OK)
        return rc;
    buf_clear(&s->fetched.envelope);
    buf_add_slice(&s->fetched.envelope, record.envelope);
    s->fetched.body = (struct spool_body){record.body_offset, record.body_bytes, record.body_check};
    return ERR_OK;
}

static int
fetch_indexed(struct spool_store *s, int fd, const struct spool_message *m)
{
    struct spool_scan *scan;
    int rc = spool_scan_open(s->io, fd, &scan);

    if (rc == ERR_OK)
        rc = take_from_scan(s, scan, m);
    spool_scan_close(&scan);
    return rc;
}

/* --- Either. */

static bool
is_fetched(const struct spool_store *s, const struct spool_message *m)
{
    return s->fetched.segment == m->segment && s->fetched.record_offset == m->record_offset;
}

/* A reader beside a keeper may hold a segment that has gone since, and is another one by now. */
static int
corrupt_or_gone(struct spool_store *s, const struct spool_message *m)
{
    spool_store_close_read_fd(s);
    return spool_store_read_fd(s, m) < 0 && errno == ENOENT ? ERR_NOT_FOUND : ERR_CORRUPT;
}

static int
fetch(struct spool_store *s, const struct spool_message *m)
{
    int fd, rc;

    if (is_fetched(s, m))
        return ERR_OK;
    fd = spool_store_read_fd(s, m);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    s->fetched.segment = NULL;
    rc = fetch_record(s, fd, m);
    if (rc == ERR_CORRUPT)
        rc = fetch_indexed(s, fd, m);
    if (rc == ERR_CORRUPT)
        rc = corrupt_or_gone(s, m);
    if (rc != ERR_OK)
        return rc;
    s->fetched.segment = m->segment;
    s->fetched.record_offset = m->record_offset;
    return ERR_OK;
}

int
spool_store_envelope(struct spool_store *s, const struct spool_message *m, struct arena *arena,
                     struct spool_envelope *envelope)
{
    int rc = fetch(s, m);

    *envelope = (struct spool_envelope){.body = 0};
    if (rc == ERR_OK)
        rc = spool_envelope_decode(buf_slice(&s->fetched.envelope), arena, envelope);
    if (rc == ERR_OK &&
        (!ref_equal(envelope->ref, m->ref) || envelope->recipient_count != m->recipient_count))
        rc = ERR_CORRUPT;
    return rc == ERR_VERSION ? ERR_CORRUPT : rc;
}

int
spool_store_body(struct spool_store *s, const struct spool_message *m, struct spool_body *body)
{
    int rc = fetch(s, m);

    if (rc == ERR_OK)
        *body = s->fetched.body;
    return rc;
}

void
spool_fetch_forget(struct spool_store *s, const struct spool_store_segment *segment)
{
    if (s->fetched.segment == segment)
        s->fetched.segment = NULL;
}

void
spool_fetch_fini(struct spool_store *s)
{
    buf_fini(&s->fetched.envelope);
}
