/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The layers of sandbox.c.  A build with sanitizers needs more than the product: its leak check at
 * exit looks into /proc and traces itself, and its reports go to a file.  Everything that is open
 * for that purpose alone says SANDBOX_SANITIZER.
 */
#ifndef SANDBOX_PRIVATE_H
#define SANDBOX_PRIVATE_H

#include "net/sandbox.h"

#ifdef __SANITIZE_ADDRESS__
#define SANDBOX_SANITIZER 1
#else
#define SANDBOX_SANITIZER 0
#endif

bool sandbox_calls_available(void);
MUST_USE int sandbox_limit_calls(const struct sandbox *sandbox);

int sandbox_landlock_version(void);
MUST_USE int sandbox_limit_paths(const struct sandbox *sandbox, int version);

#endif
