/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012): the hash for tables
 * whose keys an attacker chooses, and the check of spool record headers under a key that no sender
 * can know.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_SIZE 16

uint64_t siphash(const void *data, size_t size_bytes, const uint8_t key[SIPHASH_KEY_SIZE]);

/* Fills `dst` from the kernel's random source; stops the process if there is none. */
void random_bytes(void *dst, size_t size_bytes);

#endif
