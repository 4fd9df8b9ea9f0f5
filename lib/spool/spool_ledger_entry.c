/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The octets of a ledger's file: header and entries, as spool_ledger.h draws them.
 */
#include "spool/spool_ledger_private.h"

#include <stdio.h>

#include "base/codec.h"

#define MAGIC "PSTNLDGR"
#define ENTRY_HEAD 16
#define ENTRY_TAIL 8

/* --- Entries. */

static size_t
padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

size_t
spool_ledger_entry_bytes(size_t payload_bytes)
{
    return ENTRY_HEAD + padded(payload_bytes) + ENTRY_TAIL;
}

void
spool_ledger_entry_add(struct buf *b, uint16_t type, struct slice payload)
{
    static const char zeros[16];

    CHECK(payload.n <= SPOOL_LEDGER_PAYLOAD_MAX);
    put_u32(b, (uint32_t)payload.n);
    put_u16(b, type);
    put_u16(b, 0);
    put_u64(b, 0);
    buf_add_slice(b, payload);
    buf_add(b, zeros, padded(payload.n) - payload.n + ENTRY_TAIL);
}

void
spool_ledger_entry_add_own(struct buf *b, enum spool_ledger_own type, uint64_t synced_to)
{
    char payload[8];

    store_u64(payload, synced_to);
    spool_ledger_entry_add(b, (uint16_t)type, (struct slice){payload, sizeof payload});
}

void
spool_ledger_entries_finish(char *p, size_t n, uint64_t offset, const uint8_t *key)
{
    while (n > 0) {
        size_t size = spool_ledger_entry_bytes(load_u32(p));

        CHECK(size <= n);
        store_u64(p + 8, offset);
        store_u64(p + size - ENTRY_TAIL, siphash(p, size - ENTRY_TAIL, key));
        p += size;
        n -= size;
        offset += size;
    }
}

size_t
spool_ledger_entry_check(struct slice view, uint64_t offset, const uint8_t *key, uint16_t *type,
                         struct slice *payload)
{
    const char *p = view.p;
    size_t size;

    if (view.n < spool_ledger_entry_bytes(0) || load_u64(p + 8) != offset)
        return 0;
    if (load_u32(p) > SPOOL_LEDGER_PAYLOAD_MAX)
        return 0;
    size = spool_ledger_entry_bytes(load_u32(p));
    if (size > view.n || load_u64(p + size - ENTRY_TAIL) != siphash(p, size - ENTRY_TAIL, key))
        return 0;
    *type = (uint16_t)(load_u32(p + 4) & 0xffff);
    *payload = (struct slice){p + ENTRY_HEAD, load_u32(p)};
    return size;
}

/* --- The header. */

void
spool_ledger_header_add(struct buf *b, uint32_t number, const uint8_t *key)
{
    char h[SPOOL_LEDGER_HEADER_BYTES] = MAGIC;

    store_u32(h + 8, SPOOL_LEDGER_VERSION);
    store_u32(h + 12, number);
    memcpy(h + 16, key, SIPHASH_KEY_SIZE);
    store_u64(h + SPOOL_LEDGER_HEADER_BYTES - 8, siphash(h, SPOOL_LEDGER_HEADER_BYTES - 8, key));
    buf_add(b, h, sizeof h);
}

bool
spool_ledger_header_check(struct slice file, uint32_t number, uint8_t *key)
{
    const char *h = file.p;

    if (file.n < SPOOL_LEDGER_HEADER_BYTES || memcmp(h, MAGIC, 8) != 0)
        return false;
    memcpy(key, h + 16, SIPHASH_KEY_SIZE);
    return load_u32(h + 8) == SPOOL_LEDGER_VERSION && load_u32(h + 12) == number &&
           load_u64(h + SPOOL_LEDGER_HEADER_BYTES - 8) ==
               siphash(h, SPOOL_LEDGER_HEADER_BYTES - 8, key);
}

const char *
spool_ledger_file_name(uint32_t number, const char *suffix, char dst[SPOOL_LEDGER_NAME_SIZE])
{
    snprintf(dst, SPOOL_LEDGER_NAME_SIZE, "ledger-%08u%s", number, suffix);
    return dst;
}
