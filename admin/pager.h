/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Long output on a terminal goes through $PAGER (less where it is not set), so that its beginning
 * is read first.  A pager that can not be started is none.
 */
#ifndef ADMIN_PAGER_H
#define ADMIN_PAGER_H

#include "admin/command.h"

/* Before anything is printed.  Nothing happens where standard output is no terminal, or the command
 * is one that changes or asks something. */
void pager_start(const struct command_line *line);
/* Waits until its reader has seen enough.  False: there is none. */
bool pager_end(void);

#endif
