/* SPDX-License-Identifier: BSD-2-Clause
 *
 * `relayctl status --nagios`: a line and an exit status, as the Monitoring Plugins' guidelines have
 * them.
 */
#ifndef ADMIN_STATUS_NAGIOS_H
#define ADMIN_STATUS_NAGIOS_H

#include "admin/status_part.h"

/* Prints the line.  The value is the exit status of a plugin: 0 OK, 1 warning, 2 critical, 3
 * unknown. */
int status_nagios(const struct status *status);

#endif
