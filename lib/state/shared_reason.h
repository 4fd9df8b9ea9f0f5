/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a failure in a phase of the dialogue says about a backend: the one place where words of the
 * protocol become words of health.
 */
#ifndef STATE_SHARED_REASON_H
#define STATE_SHARED_REASON_H

#include "smtp/smtp_client.h"
#include "state/shared_table.h"

enum shared_health_reason shared_reason_of(enum smtp_phase phase, bool timed_out);

#endif
