/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fields of a registry row: columns are found by name, numbers have ranges, words have tables.
 */
#include "relayd/control_row.h"

#include "base/log.h"
#include "base/parse.h"

#define SKIPPED_LINES_MAX 20

bool
control_row_is_null(const struct control_row *row, const char *column)
{
    return PQgetisnull(row->rows, row->number, PQfnumber(row->rows, column)) != 0;
}

struct slice
control_row_text(const struct control_row *row, const char *column)
{
    int field = PQfnumber(row->rows, column);

    return (struct slice){PQgetvalue(row->rows, row->number, field),
                          (size_t)PQgetlength(row->rows, row->number, field)};
}

void
control_row_set_bad(struct control_row *row, const char *column)
{
    if (row->bad == NULL)
        row->bad = column;
}

uint64_t
control_row_number(struct control_row *row, const char *column, uint64_t most)
{
    uint64_t v = 0;

    if (control_row_is_null(row, column) ||
        parse_u64(control_row_text(row, column), &v) != ERR_OK || v > most)
        control_row_set_bad(row, column);
    return v;
}

unsigned
control_row_word(struct control_row *row, const char *column, const char *const *words,
                 unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (slice_equal(control_row_text(row, column), slice_of(words[i])))
            return i;
    control_row_set_bad(row, column);
    return 0;
}

bool
control_row_flag(struct control_row *row, const char *column)
{
    static const char *const words[] = {"f", "t"};

    return control_row_word(row, column, words, ARRAY_SIZE(words)) == 1;
}

void
control_row_skip(struct control_load *load, const struct control_row *row, const char *table,
                 struct slice name)
{
    char who[300], value[300];

    if (load->skipped_count++ >= SKIPPED_LINES_MAX)
        return;
    buf_printf(&load->skipped, "table=%s row=%s column=%s value=%s\n", table,
               log_quote(name, who, sizeof who), row->bad,
               log_quote(control_row_text(row, row->bad), value, sizeof value));
}

bool
control_row_is_domain(const char *name)
{
    char normal[INET_DOMAIN_SIZE];
    const char *why;

    name += name[0] == '.';
    return inet_domain_normalize(slice_of(name), normal, &why) == ERR_OK &&
           strcmp(name, normal) == 0;
}

void
control_row_domain(struct control_row *row, const char *column, char dst[INET_DOMAIN_SIZE])
{
    if (control_row_is_null(row, column))
        return;
    if (!slice_to_text(control_row_text(row, column), dst, INET_DOMAIN_SIZE) ||
        !control_row_is_domain(dst))
        control_row_set_bad(row, column);
}

int
control_row_take(struct control_load *load, const PGresult *rows, const char *const *columns,
                 size_t column_count,
                 void (*take)(struct control_load *load, struct control_row *row))
{
    for (size_t i = 0; i < column_count; i++)
        if (PQfnumber(rows, columns[i]) < 0)
            return ERR_SYNTAX;
    for (int i = 0; i < PQntuples(rows); i++) {
        struct control_row row = {rows, i, NULL};

        take(load, &row);
    }
    return ERR_OK;
}
