/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The resolution's encoding: format version and reference, as an envelope begins, then the fields
 * in the order of the struct.  The decoder takes any bytes.
 */
#include "config.h"

#include "spool/spool_resolution.h"

#include "base/codec.h"
#include "spool/spool_record.h"

#define RESOLUTION_VERSION 1

const char *
spool_resolution_word(enum spool_resolution_kind kind)
{
    static const char *const words[] = {
        [SPOOL_RESOLUTION_CONFIRM] = "confirm", [SPOOL_RESOLUTION_CONFIRM_ALL] = "confirm-all",
        [SPOOL_RESOLUTION_CANCEL] = "cancel",   [SPOOL_RESOLUTION_DELIVERED] = "delivered",
        [SPOOL_RESOLUTION_REFUSED] = "refused", [SPOOL_RESOLUTION_GIVEN_UP] = "given-up",
    };

    return (unsigned)kind < ARRAY_SIZE(words) && words[kind] ? words[kind] : "?";
}

void
spool_resolution_encode(const struct spool_resolution *resolution, struct buf *out)
{
    struct slice reply = slice_of(resolution->reply ? resolution->reply : "");

    if (reply.n > SPOOL_RESOLUTION_REPLY_MAX)
        reply.n = SPOOL_RESOLUTION_REPLY_MAX;
    put_u16(out, RESOLUTION_VERSION);
    put_u16(out, resolution->ref.node);
    put_u32(out, resolution->ref.minute);
    put_u64(out, resolution->ref.number);
    put_u8(out, (uint8_t)resolution->kind);
    put_u32(out, resolution->flags);
    put_bytes(out, reply);
    put_u64(out, (uint64_t)resolution->at_ms);
}

static bool
is_sound(const struct spool_resolution *resolution, struct slice reply)
{
    uint32_t allowed = 0;

    if (resolution->kind < SPOOL_RESOLUTION_CONFIRM || resolution->kind > SPOOL_RESOLUTION_GIVEN_UP)
        return false;
    if (resolution->kind == SPOOL_RESOLUTION_CONFIRM_ALL)
        allowed = SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING;
    return (resolution->flags & ~allowed) == 0 && reply.n <= SPOOL_RESOLUTION_REPLY_MAX &&
           (reply.n == 0 || memchr(reply.p, 0, reply.n) == NULL);
}

int
spool_resolution_decode(struct slice encoded, struct spool_resolution *resolution,
                        struct slice *reply)
{
    struct decoder d = decoder_of(encoded);
    uint16_t version = get_u16(&d);

    *resolution = (struct spool_resolution){.reply = ""};
    if (!d.failed && version != RESOLUTION_VERSION)
        return ERR_VERSION;
    resolution->ref.node = get_u16(&d);
    resolution->ref.minute = get_u32(&d);
    resolution->ref.number = get_u64(&d);
    resolution->kind = get_u8(&d);
    resolution->flags = get_u32(&d);
    *reply = get_bytes(&d);
    resolution->at_ms = (int64_t)get_u64(&d);
    return decoder_done(&d) && is_sound(resolution, *reply) ? ERR_OK : ERR_CORRUPT;
}
