/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For tests of TLS: certificates made on the spot, in a folder of their own.
 */
#ifndef TLS_FIXTURE_H
#define TLS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include "tests/unit/scratch.h"

struct tls_files {
    char folder[SCRATCH_PATH];
    size_t count;
};

void tls_files_init(struct tls_files *files);
void tls_files_fini(struct tls_files *files); /* removes the folder */

struct tls_wish {
    const char *kind;  /* "EC" (when NULL) or "RSA" */
    const char *names; /* "mx1.example,*.mx.example"; the first is the subject as well */
    int begins_in_days, ends_in_days; /* both 0: valid for a year */
    const char *issuer;     /* certificate path of an earlier one; NULL: signed by itself */
    const char *passphrase; /* NULL: the key is in the clear */
};
/* Writes FOLDER/NAME.pem and FOLDER/NAME.key; the texts live as long as the fixture's process. */
struct tls_pair {
    char *certificate, *key;
};
struct tls_pair tls_make(struct tls_files *files, const char *name, const struct tls_wish *wish);
/* FOLDER/NAME with the content of `paths`, ended by NULL, one behind the other. */
char *tls_join(struct tls_files *files, const char *name, const char *const *paths);
char *tls_write(struct tls_files *files, const char *name, const char *text);

#endif
