/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a table, or one thing, fits a terminal; for the printer alone.  Nothing that one needs to
 * copy is ever cut: sentences end in an ellipsis (PRINTER_PROSE) or
 * have several lines (PRINTER_WRAP), and columns for which
 * there is no room stand below their row, each behind its title.
 */
#ifndef ADMIN_PRINTER_TABLE_H
#define ADMIN_PRINTER_TABLE_H

#include "admin/printer.h"

struct printer_cell {
    char *text; /* that a terminal can only show */
    unsigned width;
    const char *colour; /* an escape sequence, or NULL */
    bool is_none;       /* or what most have */
};

#define PRINTER_RESET "\033[0m"

/* A row is `column_count` cells.  A column in which no row has anything is left out. */
void printer_table_print(const struct printer_settings *settings,
                         const struct printer_column *columns, unsigned column_count,
                         const struct printer_cell *cells, size_t cell_count);
/* A line a cell that has something, behind its title. */
void printer_table_print_one(const struct printer_settings *settings,
                             const struct printer_column *columns, unsigned column_count,
                             const struct printer_cell *cells, size_t cell_count);

#endif
