/* SPDX-License-Identifier: BSD-2-Clause
 *
 * state.mdb as a file: its format, and the examination before it is opened.  LMDB trusts the pages
 * it maps; one torn page can kill the process that reads it.  So a child process reads the whole of
 * it first, and what kills or puzzles the child is set aside.
 */
#ifndef STATE_FILE_H
#define STATE_FILE_H

#include <lmdb.h>

#include "base/err.h"

/* ERR_NOT_FOUND: there is no file. ERR_CORRUPT: set it aside. ERR_IO: nothing is known about it.
 * Reads the whole file; call before any thread is started. */
MUST_USE int state_file_examine(const char *path);
/* Renames it to path.bad-TIME. */
MUST_USE int state_file_set_aside(const char *path);

/* Puts and tests the record that says whose file and which format this is. */
MUST_USE int state_file_put_magic(MDB_txn *txn, MDB_dbi dbi);

#endif
