/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses of recipients as operators write them: as operands, or in a file of one a line.
 */
#ifndef ADMIN_RECIPIENT_FILE_H
#define ADMIN_RECIPIENT_FILE_H

#include "admin/call.h"
#include "admin/field.h"

struct recipient_address {
    char local_part[65]; /* in lower case */
    char domain[FIELD_DOMAIN_SIZE];
};

/* NULL, or what is wrong and what to write ("is ...; use ..."), static or in `why`. */
const char *recipient_address_parse(const char *text, struct recipient_address *address,
                                    char why[FIELD_TEXT_SIZE]);
/* Is the address of this registered domain, which may be ".acme.example"? */
bool recipient_address_is_of(const struct recipient_address *address, const char *domain);

/* The local parts of a file ("-": standard input) as an array of PostgreSQL: a CSV of which the
 * first column counts.  A header line, quotes, a byte order mark, empty lines and comments (#) are
 * tolerated.  All wrong lines are told, up to twenty; then COMMAND_USAGE.  *count with doubles. */
enum command_status recipient_file_read(const char *path, const char *domain, struct buf *array,
                                        unsigned long *count);
/* Adds one to such an array; begin with an empty buffer, and end with recipient_array_end. */
void recipient_array_add(struct buf *array, const char *local_part);
void recipient_array_end(struct buf *array);

#endif
