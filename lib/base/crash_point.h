/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named points at which a test has a process end at once, so that a crash comes exactly
 * between two steps.  In developer builds alone; elsewhere nothing.
 *
 *   POSTERN_TEST_CRASH="lane-written:120,state-committed:9"
 *
 * The process that reaches a point for the n-th time, counted over all processes of a start, says
 * so in the log and ends.  A point does it once a start.
 */
#ifndef BASE_CRASH_POINT_H
#define BASE_CRASH_POINT_H

#ifdef POSTERN_DEVELOPER
void crash_point_begin(void); /* in the parent of all, before threads and children */
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define crash_point_begin() ((void)0)
#define CRASH_POINT(name) ((void)0)
#endif

#endif
