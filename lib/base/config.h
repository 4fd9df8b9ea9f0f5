/* SPDX-License-Identifier: BSD-2-Clause
 *
 * postern.conf: one file for the three programs, read through libconfuse, one typed table
 * (config.def).  Every problem is reported with its line, not the first alone.  A process's
 * configuration never changes: a reload starts new processes.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/inet.h"

#define CONFIG_DEFAULT_FILE SYSCONFDIR "/postern/postern.conf"

typedef char *config_TEXT; /* never NULL */
struct config_words {
    char **items;
    size_t count;
};
struct config_endpoints {
    struct inet_endpoint *items;
    size_t count;
};
struct config_networks {
    struct inet_network *items;
    size_t count;
};
typedef struct config_words config_WORDS;
typedef struct config_networks config_NETWORKS;
typedef struct inet_endpoint config_ENDPOINT;
typedef struct config_endpoints config_ENDPOINTS;
typedef int64_t config_DURATION;
typedef uint64_t config_SIZE;
typedef uint32_t config_NUMBER;

struct config {
    char *path; /* the file that was read */
#define OPTION(kind, name, field, fallback, text) config_##kind field;
#include "base/config.def"
#undef OPTION
};

/* Reads `path`. On problems each is one line "FILE:LINE: SETTING: what is wrong; what to write
 * instead" in `problems`, *config is NULL and the result is ERR_SYNTAX; a file that cannot be
 * opened is ERR_IO with a line as well. */
MUST_USE int config_load(const char *path, struct buf *problems, struct config **config);
void config_free(struct config **config);

/* The defaults as a commented sample file; and the settings as mdoc(7) items for postern.conf(5).
 */
void config_write_sample(struct buf *out);
void config_write_manual(struct buf *out);

#endif
