/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Disks that fail, for tests.
 */
#include "base/io_fault.h"

#ifdef POSTERN_DEVELOPER
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define FAULTS 16

static struct fault {
    char program[24], operation[16]; /* texts with a final NUL */
    int32_t error;
    _Atomic int32_t left; /* 0: no row */
    _Atomic uint32_t failed;
} * faults; /* NULL: none were asked for */

void
io_fault_begin(void)
{
    const char *path = getenv("POSTERN_TEST_IO");
    int fd;

    if (path == NULL || *path == '\0')
        return;
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    faults = mmap(NULL, FAULTS * sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(faults != MAP_FAILED);
    close(fd);
}

static bool
applies(struct fault *fault, const char *operation)
{
    return atomic_load(&fault->left) > 0 && strcmp(fault->operation, operation) == 0 &&
           strncmp(fault->program, log_program_name(), strlen(fault->program)) == 0 &&
           atomic_fetch_sub(&fault->left, 1) > 0;
}

bool
io_fault(const char *operation)
{
    for (size_t i = 0; faults != NULL && i < FAULTS; i++) {
        if (!applies(&faults[i], operation))
            continue;
        atomic_fetch_add(&faults[i].failed, 1);
        errno = faults[i].error;
        return true;
    }
    return false;
}
#endif
