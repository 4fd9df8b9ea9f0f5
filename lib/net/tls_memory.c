/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Slots in one reserved region, so that an address tells whose it is.  Free ones are on two stacks:
 * `warm` ones have their pages still and go first, so that a process at ordinary work makes no
 * system call for them; `cold` ones have given them back.
 */
#define _GNU_SOURCE 1

#include "net/tls_memory.h"

#include <openssl/crypto.h>
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

#define REGION_BYTES ((size_t)TLS_MEMORY_SLOTS * TLS_MEMORY_SLOT)

struct stack {
    uint32_t count;
    uint16_t slots[TLS_MEMORY_SLOTS];
};

static_assert(TLS_MEMORY_SLOTS <= UINT16_MAX, "a slot's number has sixteen bits");

static char *region; /* NULL: not reserved yet, or it could not be */
static bool is_tried;
static uint32_t made; /* slots that were ever given */
static struct stack warm, cold;

static void
reserve(void)
{
    void *p = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    is_tried = true;
    if (p == MAP_FAILED)
        return;
    region = p;
    (void)madvise(p, REGION_BYTES, MADV_NOHUGEPAGE); /* a huge page holds 85 slots */
}

static bool
is_slot(const void *p)
{
    return region && (const char *)p >= region && (const char *)p < region + REGION_BYTES;
}

static void *
slot_take(void)
{
    uint32_t n;

    if (!is_tried)
        reserve();
    if (region == NULL)
        return NULL;
    if (warm.count > 0)
        n = warm.slots[--warm.count];
    else if (cold.count > 0)
        n = cold.slots[--cold.count];
    else if (made < TLS_MEMORY_SLOTS)
        n = made++;
    else
        return NULL;
    return region + (size_t)n * TLS_MEMORY_SLOT;
}

static void
slot_give(char *p)
{
    uint16_t n = (uint16_t)((size_t)(p - region) / TLS_MEMORY_SLOT);

    CHECK((size_t)(p - region) % TLS_MEMORY_SLOT == 0 && n < made);
    if (warm.count < TLS_MEMORY_KEPT)
        warm.slots[warm.count++] = n;
    else {
        (void)madvise(p, TLS_MEMORY_SLOT, MADV_DONTNEED);
        cold.slots[cold.count++] = n;
    }
}

void *
tls_memory_alloc(size_t size_bytes)
{
    void *p = NULL;

    if (size_bytes >= TLS_MEMORY_LARGE && size_bytes <= TLS_MEMORY_SLOT)
        p = slot_take();
    return p ? p : malloc(size_bytes);
}

void
tls_memory_free(void *p)
{
    if (is_slot(p))
        slot_give(p);
    else
        free(p);
}

void *
tls_memory_realloc(void *p, size_t size_bytes)
{
    void *other;

    if (p == NULL)
        return tls_memory_alloc(size_bytes);
    if (!is_slot(p))
        return realloc(p, size_bytes);
    if (size_bytes == 0) { /* as OpenSSL's own does */
        slot_give(p);
        return NULL;
    }
    if (size_bytes <= TLS_MEMORY_SLOT)
        return p;
    other = malloc(size_bytes);
    if (other) {
        memcpy(other, p, TLS_MEMORY_SLOT);
        slot_give(p);
    }
    return other;
}

/* --- OpenSSL's side. */

static void *
on_alloc(size_t size_bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return tls_memory_alloc(size_bytes);
}

static void *
on_realloc(void *p, size_t size_bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return tls_memory_realloc(p, size_bytes);
}

static void
on_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    tls_memory_free(p);
}

void
tls_memory_init(void)
{
#ifndef __SANITIZE_ADDRESS__
    int rc = CRYPTO_set_mem_functions(on_alloc, on_realloc, on_free);

    CHECK(rc == 1);
#else
    (void)on_alloc;
    (void)on_realloc;
    (void)on_free;
#endif
}
