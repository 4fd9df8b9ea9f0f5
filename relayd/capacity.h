/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How many connections a process can hold: descriptors (RLIMIT_NOFILE) against what the settings
 * ask for.
 */
#ifndef RELAYD_CAPACITY_H
#define RELAYD_CAPACITY_H

#include "base/config.h"

#define CAPACITY_LINGERING 256 /* refused clients that have not read their 421 yet */

/* Raises this process's limit of descriptors to what `config` asks for, as far as the system lets
 * it: the parent before it gives up root. */
void capacity_raise(const struct config *config);
/* How many clients a worker can hold within its limit: max-connections, or less. */
unsigned capacity_of_worker(const struct config *config);
/* And how many files of large messages in passage. */
unsigned capacity_of_spill(const struct config *config);
/* If the limit is too low for `config`: a sentence for a person with the remedy; else an empty
 * text.
 */
#define CAPACITY_TEXT_SIZE 400
const char *capacity_problem(const struct config *config, char dst[CAPACITY_TEXT_SIZE]);

#endif
