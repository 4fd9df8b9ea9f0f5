/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One row of a result and its fields.  A row is bad from its first bad field on, and stays so; the
 * column is kept for the alarm.
 */
#ifndef RELAYD_CONTROL_ROW_H
#define RELAYD_CONTROL_ROW_H

#include "relayd/control_load.h"

struct control_row {
    const PGresult *rows;
    int number;
    const char *bad; /* the column, NULL: none */
};

bool control_row_is_null(const struct control_row *row, const char *column);
/* Borrowed from the result. */
struct slice control_row_text(const struct control_row *row, const char *column);
void control_row_set_bad(struct control_row *row, const char *column);
/* NULL is bad. */
uint64_t control_row_number(struct control_row *row, const char *column, uint64_t most);
/* The word's index. */
unsigned control_row_word(struct control_row *row, const char *column, const char *const *words,
                          unsigned count);
bool control_row_flag(struct control_row *row, const char *column);

/* Normalised? A name that is not would never be found by a look-up. With or without a leading dot.
 */
bool control_row_is_domain(const char *name);
/* "" where there is none. */
void control_row_domain(struct control_row *row, const char *column, char dst[INET_DOMAIN_SIZE]);

/* A line for the alarm. */
void control_row_skip(struct control_load *load, const struct control_row *row, const char *table,
                      struct slice name);

/* Every row of a result. ERR_SYNTAX: a column is missing. */
MUST_USE int control_row_take(struct control_load *load, const PGresult *rows,
                              const char *const *columns, size_t column_count,
                              void (*take)(struct control_load *load, struct control_row *row));

#endif
