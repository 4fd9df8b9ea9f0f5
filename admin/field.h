/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A field of a registry row that an option sets: its column, and how its text is checked.  One
 * table a noun makes both `add` and `set`, so the two cannot differ.
 */
#ifndef ADMIN_FIELD_H
#define ADMIN_FIELD_H

#include "admin/call.h"
#include "base/inet.h"

#define FIELD_TEXT_SIZE 512
#define FIELDS_MAX 16

struct field;

/* Puts the value for PostgreSQL into dst, or sets *is_null; on a wrong text returns a sentence part
 * that says what is wrong and what to write ("is ...; use ..."), static or in `why`. */
typedef const char *(*field_check)(const struct field *field, const char *text,
                                   char dst[FIELD_TEXT_SIZE], bool *is_null,
                                   char why[FIELD_TEXT_SIZE]);

struct field {
    const char *option;
    const char *column;
    const char *type; /* PostgreSQL's */
    field_check check;
    uint64_t min, max;
    const char *const *words; /* ends with NULL */
};

const char *field_check_number(const struct field *field, const char *text,
                               char dst[FIELD_TEXT_SIZE], bool *is_null, char why[FIELD_TEXT_SIZE]);
/* A number or "none". */
const char *field_check_limit(const struct field *field, const char *text,
                              char dst[FIELD_TEXT_SIZE], bool *is_null, char why[FIELD_TEXT_SIZE]);
/* A size with a unit, or "none". */
const char *field_check_size(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE],
                             bool *is_null, char why[FIELD_TEXT_SIZE]);
extern const char *const field_yes_words[]; /* of a boolean */
const char *field_check_word(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE],
                             bool *is_null, char why[FIELD_TEXT_SIZE]);
/* A mail address, its domain normalised. */
const char *field_check_mailbox(const struct field *field, const char *text,
                                char dst[FIELD_TEXT_SIZE], bool *is_null,
                                char why[FIELD_TEXT_SIZE]);

/* An address without a port, or "none". */
const char *field_check_address(const struct field *field, const char *text,
                                char dst[FIELD_TEXT_SIZE], bool *is_null,
                                char why[FIELD_TEXT_SIZE]);
/* A host's name, normalised, or "none". */
const char *field_check_host(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE],
                             bool *is_null, char why[FIELD_TEXT_SIZE]);

/* The fields that were given, as PostgreSQL wants them. */
struct field_values {
    const struct field *fields[FIELDS_MAX];
    char texts[FIELDS_MAX][FIELD_TEXT_SIZE];
    const char *params[FIELDS_MAX]; /* NULL for NULL */
    unsigned count;
};

/* Checks every option of `fields` (ends with option NULL) that was given; all mistakes are printed,
 * not the first alone. COMMAND_DONE or COMMAND_USAGE. */
enum command_status field_read(const struct call *call, const struct field *fields,
                               struct field_values *values);

/* Names of things, as operands. Wrong ones are explained and COMMAND_USAGE is returned. */
#define FIELD_NAME_SIZE 64
enum command_status field_customer_name(const char *text, char dst[FIELD_NAME_SIZE]);
#define FIELD_DOMAIN_SIZE (INET_DOMAIN_SIZE + 1)
enum command_status field_domain_name(const char *text, char dst[FIELD_DOMAIN_SIZE]);
/* The same from the selector --domain; "" where it is not given. */
/* The address with its domain in A-labels, as most mail has it; NULL: it has no others.  free(). */
char *field_address_ascii(const char *address);
/* Both as an array of PostgreSQL's, in `text`; `ascii` may be NULL. */
const char *field_address_array(struct buf *text, const char *address, const char *ascii);
enum command_status field_domain_option(const struct call *call, char dst[FIELD_DOMAIN_SIZE]);
/* "192.0.2.10:25", "[2001:db8::1]:25", "mail.acme.example:25", port 25 if none is given.  A name is
 * in `host`, and the endpoint has its port alone; else `host` is "". */
enum command_status field_endpoint(const char *text, struct inet_endpoint *endpoint,
                                   char host[INET_DOMAIN_SIZE]);
/* "203.0.113.0/24", "2001:db8::/32", or one address; no shorter than /8 or /16, since half the
 * Internet is never meant.  `what` begins the complaint. */
enum command_status field_network(const char *what, const char *text, struct inet_network *network);
/* "acme/2" */
enum command_status field_backend_name(const char *text, char customer[FIELD_NAME_SIZE],
                                       char number[16]);

#endif
