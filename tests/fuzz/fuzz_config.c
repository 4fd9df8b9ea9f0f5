/* SPDX-License-Identifier: BSD-2-Clause
 *
 * postern.conf: whatever stands in the file, the reader ends, and says nothing exactly when it
 * gives a configuration.
 */
#define _GNU_SOURCE 1

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    struct config *config;
    struct buf problems;
    int rc;

    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    buf_init(&problems, 0);
    rc = config_load(path, &problems, &config);
    CHECK((rc == ERR_OK) == (buf_size(&problems) == 0));
    CHECK((rc == ERR_OK) == (config != NULL));
    config_free(&config);
    buf_fini(&problems);
    return 0;
}
