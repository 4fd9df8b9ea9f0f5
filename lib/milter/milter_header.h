/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A message's header as a list of fields, and what filters change in it.  Octets of fields that
 * nobody changed stay as they came.  Fields that a filter adds go on top, inserted or not, in the
 * filter's order (P7: lines are added only on top); changed ones stay where they were.
 *
 * What a filter gives is hostile: a name must be one (RFC 5322 3.6.8), a value becomes one field
 * whatever line ends it holds, without control octets, its lines cut to what a line may be.
 */
#ifndef MILTER_HEADER_H
#define MILTER_HEADER_H

#include <stdint.h>

#include "base/buf.h"

#define MILTER_HEADER_MAX (256 * 1024) /* of a message; what comes behind it is body to filters */
#define MILTER_FIELDS_MAX 2000         /* and of so many fields: each edit looks through them */
#define MILTER_EDITS_MAX 500           /* of one filter in one message, */
#define MILTER_EDITS_BYTES (64 * 1024) /* and so many octets of fields */
#define MILTER_LINE_MAX 990

struct milter_field {
    struct slice name, value; /* value: behind the colon, folded with CR LF, without the last */
    struct slice raw;         /* with its CR LF */
    char *owned;              /* raw, of a field from a filter; NULL: part of the header's text */
    bool is_removed, is_top;
};

struct milter_header {
    struct buf text; /* as it came */
    size_t searched;
    bool is_read;
    struct milter_field *fields; /* the added ones first */
    unsigned count, cap, top_count;
    size_t field_bytes;     /* of the content: its fields */
    size_t separator_bytes; /* the empty line behind them; 0: there is none */
    bool is_changed;        /* other than by fields on top */
};

void milter_header_init(struct milter_header *header);
void milter_header_fini(struct milter_header *header);

/* Content from its beginning on. True: the header is whole, and read; more is not wanted. */
bool milter_header_feed(struct milter_header *header, struct slice piece);
void milter_header_end(struct milter_header *header); /* that was all of the content */

enum milter_edit_kind { MILTER_EDIT_ADD, MILTER_EDIT_INSERT, MILTER_EDIT_CHANGE };
struct milter_edit {
    enum milter_edit_kind kind;
    uint32_t index; /* INSERT: how many added fields stay above it; CHANGE: of those of this name */
    char *name, *value;
};
/* What a filter asks for, kept until it has had its last word. */
struct milter_edits {
    struct milter_edit *items;
    unsigned count;
    size_t bytes; /* as fields, at most */
};
/* False: it is no name, or the bounds are reached. Both are copied. */
bool milter_edits_add(struct milter_edits *edits, enum milter_edit_kind kind, uint32_t index,
                      struct slice name, struct slice value);
void milter_edits_clear(struct milter_edits *edits);

/* `has_space`: values begin with what stands behind the colon (MILTER_LEADING_SPACE). */
void milter_header_apply(struct milter_header *header, const struct milter_edits *edits,
                         bool has_space);

/* The value as a filter is told it: lines end with LF alone. */
void milter_header_told(const struct milter_field *field, bool has_space, struct buf *value);
void milter_header_write_top(const struct milter_header *header, struct buf *out);
void milter_header_write_rest(const struct milter_header *header, struct buf *out);

#endif
