/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where OpenSSL's large allocations lie.  A handshake needs 44 KB for a moment, and 14 KB stay. Out
 * of the heap, a thousand handshakes at once would leave it full of holes, and each idle connection
 * would cost its process 44 KB for good.  So what is large has pages of its own, which go back to
 * the system when many of them are free.
 */
#ifndef NET_TLS_MEMORY_H
#define NET_TLS_MEMORY_H

#include <stddef.h>

#define TLS_MEMORY_SLOT (24 * 1024)  /* octets, whole pages; the largest buffer has 21,848 */
#define TLS_MEMORY_LARGE 4096        /* octets from which an allocation gets a slot */
#define TLS_MEMORY_SLOTS (48 * 1024) /* in address space; what comes beyond them is the heap's */
#define TLS_MEMORY_KEPT 32           /* free slots that keep their pages, at most 768 KB */

/* To be called first of all in a program, before anything uses OpenSSL; processes inherit it by
 * fork.  One thread of a process may use OpenSSL.  Changes nothing in a build with sanitizers,
 * which watch the heap alone. */
void tls_memory_init(void);

/* For OpenSSL, and tests. */
void *tls_memory_alloc(size_t size_bytes);
void *tls_memory_realloc(void *p, size_t size_bytes);
void tls_memory_free(void *p);

#endif
