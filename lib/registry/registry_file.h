/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the two writers of files here share.
 */
#ifndef REGISTRY_FILE_H
#define REGISTRY_FILE_H

#include "base/err.h"

/* So that a rename outlives a crash. ERR_IO with errno. */
MUST_USE int registry_sync_folder_of(const char *path);

#endif
