/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Disks that fail, for tests.  In developer builds alone; elsewhere nothing.
 *
 *   POSTERN_TEST_IO=FILE
 *
 * All processes of a start map the file, and a test writes its rows while they run: for such a
 * program (by the beginning of its name in the log), such an operation fails so many times with
 * such an errno.  The rows are those of the struct in io_fault.c.
 */
#ifndef BASE_IO_FAULT_H
#define BASE_IO_FAULT_H

#ifdef POSTERN_DEVELOPER
#include <stdbool.h>

void io_fault_begin(void);            /* in the parent of all, before threads and children */
bool io_fault(const char *operation); /* this one is to fail; errno is set */
#define IO_FAULT(operation) io_fault(operation)
#else
#define io_fault_begin() ((void)0)
#define IO_FAULT(operation) 0
#endif

#endif
