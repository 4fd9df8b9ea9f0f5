/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one way results leave relayctl: columns are declared once, cells are added in their order,
 * and the same cells become an aligned table for people or JSON for programs.  JSON: a line an
 * object for lists (JSON Lines), one object for one thing; times in RFC 3339, UTC.  Text: local
 * time, with the distance from now; colour on a terminal only (NO_COLOR), where a table fits as
 * well (admin/printer_table.h).  What nobody has anything in is left out for people.
 */
#ifndef ADMIN_PRINTER_H
#define ADMIN_PRINTER_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/slice.h"

struct printer;

enum printer_shape {
    PRINTER_LIST, /* a table with a header */
    PRINTER_ONE,  /* one thing: a line a column */
};

/* Of a column, together. */
enum printer_layout {
    PRINTER_LEFT = 0,
    PRINTER_RIGHT = 1,
    /* Where the terminal is too narrow: */
    PRINTER_PROSE = 2, /* it is cut, and the cut is shown */
    PRINTER_WRAP = 4,  /* it has several lines, as the last column or below its row */
    PRINTER_BELOW = 8, /* it stands below its row */
};

struct printer_column {
    const char *name;  /* the JSON name, stable */
    const char *title; /* for people */
    unsigned layout;   /* enum printer_layout */
};

struct printer_settings {
    bool json;
    bool csv; /* lists alone: RFC 4180, with a header; values as in JSON */
    bool colour;
    unsigned width; /* of the terminal; 0: it is none, and lines are as long as they are */
    int64_t now_ms; /* for relative times */
    FILE *out;
};

/* `columns` is borrowed until printer_finish. */
struct printer *printer_new(const struct printer_settings *settings, enum printer_shape shape,
                            const struct printer_column *columns, unsigned column_count);

/* The next cell of the row; the row is complete when every column has its cell. Texts are copied.
 */
void printer_text(struct printer *printer, const char *text); /* NULL, or "" for people: none */
/* As printer_text, coloured by what the word means: good (up, active), bad (down, held), else
 * plain.
 */
void printer_word(struct printer *printer, const char *word);
/* Outside of a table: the word in its colour, and blanks up to `width`. */
void printer_put_word(const struct printer_settings *settings, const char *word, unsigned width);
void printer_number(struct printer *printer, int64_t number);
/* Of the cell before, for people: it is what most have, and says nothing by itself.  A column of
 * such cells is left out, and a line of one thing as well. */
void printer_usual(struct printer *printer, bool is_usual);
void printer_size(struct printer *printer, uint64_t bytes);  /* JSON: octets */
void printer_time(struct printer *printer, int64_t wall_ms); /* 0: none */
/* As printer_time, shorter for people: the local time alone, or the distance from now alone. */
void printer_date(struct printer *printer, int64_t wall_ms);
void printer_since(struct printer *printer, int64_t wall_ms);
void printer_bool(struct printer *printer, bool value);                  /* yes, no */
void printer_none(struct printer *printer, const char *text_for_people); /* JSON null; "-": none */
/* In a list people see the first word and how many more there are. */
void printer_words(struct printer *printer, const char *const *words, size_t count);

/* Else for programs, who see no text: whoever makes a long one need not. */
bool printer_is_for_people(const struct printer *printer);
/* Any JSON value, taken over, with its own text. */
struct json_t;
/* Text as JSON; octets that are no UTF-8 are escaped. */
struct json_t *printer_json_text(const char *text);
struct json_t *printer_json_text_or_null(const char *text); /* NULL or "": null */
struct json_t *printer_json_time(int64_t wall_ms);          /* 0: null */
void printer_value(struct printer *printer, struct json_t *value, const char *text_for_people);

unsigned printer_row_count(const struct printer *printer);
/* Prints what is left and frees. */
void printer_finish(struct printer **printer);

/* "3 min ago", "in 2 days". */
#define PRINTER_RELATIVE_SIZE 32
const char *printer_relative(int64_t at_ms, int64_t now_ms, char dst[PRINTER_RELATIVE_SIZE]);
/* "1.5 KiB". */
#define PRINTER_SIZE_SIZE 32
const char *printer_size_text(uint64_t bytes, char dst[PRINTER_SIZE_SIZE]);

#endif
