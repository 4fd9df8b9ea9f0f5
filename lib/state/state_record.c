/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The check of a record need not resist anybody, so its key is fixed.
 */
#include "state/state_record.h"

#include "base/codec.h"
#include "base/siphash.h"

#define HEAD_SIZE 9
#define CHECK_SIZE 4

static uint32_t
record_check(struct slice key, struct slice record)
{
    static const uint8_t fixed[SIPHASH_KEY_SIZE] = "postern state 1";
    char all[HEAD_SIZE + STATE_RECORD_MORE_MAX + STATE_RECORD_KEY_MAX];

    memcpy(all, record.p, record.n);
    memcpy(all + record.n, key.p, key.n);
    return (uint32_t)siphash(all, record.n + key.n, fixed);
}

size_t
state_record_encode(struct slice key, const struct state_record *record,
                    char dst[STATE_RECORD_SIZE_MAX])
{
    size_t n = HEAD_SIZE + record->more_size;

    CHECK(key.n <= STATE_RECORD_KEY_MAX && record->more_size <= STATE_RECORD_MORE_MAX);
    dst[0] = (char)record->kind;
    store_u64(dst + 1, (uint64_t)record->at_ms);
    memcpy(dst + HEAD_SIZE, record->more, record->more_size);
    store_u32(dst + n, record_check(key, (struct slice){dst, n}));
    return n + CHECK_SIZE;
}

int
state_record_decode(struct slice key, struct slice value, struct state_record *record)
{
    size_t n = value.n - CHECK_SIZE;

    if (key.n > STATE_RECORD_KEY_MAX || value.n < HEAD_SIZE + CHECK_SIZE ||
        value.n > STATE_RECORD_SIZE_MAX ||
        load_u32(value.p + n) != record_check(key, (struct slice){value.p, n}))
        return ERR_CORRUPT;
    record->kind = (uint8_t)value.p[0];
    record->at_ms = (int64_t)load_u64(value.p + 1);
    record->more_size = n - HEAD_SIZE;
    memcpy(record->more, value.p + HEAD_SIZE, record->more_size);
    return ERR_OK;
}
