/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The check of a body (spool_message.body_check) over its pieces, for whoever streams one and must
 * know before its end is sent whether it was whole.
 */
#ifndef SPOOL_CHECK_H
#define SPOOL_CHECK_H

#include <stdint.h>

#include "base/slice.h"

struct spool_check;

struct spool_check *spool_check_new(void);
void spool_check_free(struct spool_check **check);
void spool_check_reset(struct spool_check *check);
void spool_check_add(struct spool_check *check, struct slice piece);
uint64_t spool_check_result(const struct spool_check *check);

#endif
