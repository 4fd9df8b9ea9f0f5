/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: a thousand handshakes at once cost a process nothing once they are over.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "net/tls_memory.h"

#define MANY 500
#define SLOT_PAGES 16 /* at most: TLS_MEMORY_SLOT in pages of 4 KB is 6 */

static unsigned
resident_pages(void *p)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *from = (char *)p - (uintptr_t)p % page;
    unsigned char pages[SLOT_PAGES];
    unsigned found = 0;

    cr_assert_eq(mincore(from, TLS_MEMORY_SLOT, pages), 0);
    for (size_t i = 0; i < (TLS_MEMORY_SLOT + page - 1) / page; i++)
        found += pages[i] & 1;
    return found;
}

/* Each is filled with its number. */
static void
take_all(char *p[MANY], size_t size)
{
    for (int i = 0; i < MANY; i++) {
        p[i] = tls_memory_alloc(size);
        cr_assert_not_null(p[i]);
        memset(p[i], i % 251, size);
    }
}

static void
give_all(char *p[MANY])
{
    for (int i = 0; i < MANY; i++)
        tls_memory_free(p[i]);
}

Test(tls_memory, large_ones_do_not_overlap_and_give_their_pages_back)
{
    char *p[MANY];
    unsigned kept = 0;

    for (int round = 0; round < 3; round++) {
        take_all(p, TLS_MEMORY_SLOT);
        for (int i = 0; i < MANY; i++) {
            cr_assert_eq((unsigned char)p[i][0], i % 251);
            cr_assert_eq((unsigned char)p[i][TLS_MEMORY_SLOT - 1], i % 251);
        }
        give_all(p);
    }
    for (int i = 0; i < MANY; i++)
        kept += resident_pages(p[i]) > 0;
    cr_expect_eq(kept, TLS_MEMORY_KEPT);
}

Test(tls_memory, a_few_make_no_system_call)
{
    char *first[TLS_MEMORY_KEPT], *again[TLS_MEMORY_KEPT];

    for (int i = 0; i < TLS_MEMORY_KEPT; i++) {
        first[i] = tls_memory_alloc(TLS_MEMORY_LARGE);
        memset(first[i], 1, TLS_MEMORY_LARGE);
    }
    for (int i = 0; i < TLS_MEMORY_KEPT; i++)
        tls_memory_free(first[i]);
    for (int i = 0; i < TLS_MEMORY_KEPT; i++) {
        again[i] = tls_memory_alloc(TLS_MEMORY_LARGE);
        cr_expect(resident_pages(again[i]) > 0);
    }
    for (int i = 0; i < TLS_MEMORY_KEPT; i++)
        tls_memory_free(again[i]);
}

Test(tls_memory, what_is_not_there_becomes_what_its_size_says)
{
    char *large = tls_memory_realloc(NULL, TLS_MEMORY_LARGE), *small = tls_memory_realloc(NULL, 8);

    memset(large, 1, TLS_MEMORY_LARGE);
    tls_memory_free(large);
    cr_expect_eq(tls_memory_alloc(TLS_MEMORY_LARGE), large, "it was a slot, and is the next one");
    tls_memory_free(large);
    cr_expect_null(tls_memory_realloc(tls_memory_alloc(TLS_MEMORY_LARGE), 0));
    cr_expect_eq(tls_memory_alloc(TLS_MEMORY_LARGE), large, "to nothing is to give it back");
    tls_memory_free(large);
    tls_memory_free(small);
    tls_memory_free(NULL);
}

Test(tls_memory, a_larger_one_keeps_its_octets)
{
    static const size_t sizes[] = {5000, TLS_MEMORY_SLOT, TLS_MEMORY_SLOT + 1, 100000};
    char *p = tls_memory_alloc(TLS_MEMORY_LARGE), *heap = tls_memory_alloc(100);

    memset(p, 'x', TLS_MEMORY_LARGE);
    memset(heap, 'y', 100);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        p = tls_memory_realloc(p, sizes[i]);
        heap = tls_memory_realloc(heap, sizes[i]);
        cr_assert(p && heap);
        cr_expect_eq(p[TLS_MEMORY_LARGE - 1], 'x', "size %zu", sizes[i]);
        cr_expect_eq(heap[99], 'y', "size %zu", sizes[i]);
    }
    tls_memory_free(p);
    tls_memory_free(heap);
}

Test(tls_memory, beyond_all_slots_there_is_the_heap)
{
    static char *p[TLS_MEMORY_SLOTS + 10];

    for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = tls_memory_alloc(TLS_MEMORY_LARGE);
        cr_assert_not_null(p[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(p); i++)
        tls_memory_free(p[i]);
}
