/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Linked into every Criterion program: before it forks, its other threads come to rest.
 *
 * Criterion forks right after it has started a thread.  If that thread is inside malloc at this
 * moment, AddressSanitizer's allocator stays locked in the child for ever (libasan of GCC 12 has no
 * fork handlers), and the run hangs.  A thread that sleeps in its poll is not inside malloc.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS_MAX 2000
#define PAUSE_US 1000

/* "42 (name) S ...": the name may hold anything, so the last parenthesis counts. */
static bool
is_at_rest(const char *tid)
{
    char path[300], line[512], *state;
    bool at_rest = true;
    FILE *f;

    snprintf(path, sizeof path, "/proc/self/task/%s/stat", tid);
    f = fopen(path, "re");
    if (f == NULL)
        return true; /* it has ended */
    if (fgets(line, sizeof line, f) && (state = strrchr(line, ')')) != NULL)
        at_rest = state[1] == ' ' && strchr("SZTX", state[2]) != NULL;
    fclose(f);
    return at_rest;
}

static bool
others_are_at_rest(void)
{
    char own[32];
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    bool at_rest = true;

    if (tasks == NULL)
        return true;
    snprintf(own, sizeof own, "%ld", (long)syscall(SYS_gettid));
    while (at_rest && (task = readdir(tasks)) != NULL)
        at_rest =
            task->d_name[0] == '.' || strcmp(task->d_name, own) == 0 || is_at_rest(task->d_name);
    closedir(tasks);
    return at_rest;
}

/* Twice in a row: between two sleeps a thread may look asleep by chance. */
static void
settle(void)
{
    unsigned quiet = 0;

    for (unsigned i = 0; i < ROUNDS_MAX && quiet < 2; i++) {
        quiet = others_are_at_rest() ? quiet + 1 : 0;
        if (quiet < 2)
            usleep(PAUSE_US);
    }
}

__attribute__((constructor)) void settle_before_fork(void);

void
settle_before_fork(void)
{
    pthread_atfork(settle, NULL, NULL);
}
