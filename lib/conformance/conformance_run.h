/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The whole test of one address: the first conversation, a few at once, the rest one by one; then
 * what was seen, for conformance_judge.
 */
#ifndef CONFORMANCE_RUN_H
#define CONFORMANCE_RUN_H

#include "conformance/conformance_script.h"
#include "net/loop.h"

struct conformance_run;
/* Calls back once, never from inside; `seen` is borrowed until the callback returns.  `question`
 * and what it points to are borrowed until then. */
void conformance_run_start(struct loop *loop, const struct conformance_question *question,
                           void (*on_done)(void *ctx, const struct conformance_seen *seen),
                           void *ctx);

#endif
