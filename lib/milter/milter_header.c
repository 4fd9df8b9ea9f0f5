/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fields are slices of the text as it came until a filter has one of its own instead.
 */
#include "config.h"

#include "milter/milter_header.h"

#include <stdlib.h>

#define NAME_MAX_BYTES 200

void
milter_header_init(struct milter_header *h)
{
    *h = (struct milter_header){.count = 0};
    buf_init(&h->text, 0);
}

void
milter_header_fini(struct milter_header *h)
{
    for (unsigned i = 0; i < h->count; i++)
        free(h->fields[i].owned);
    free(h->fields);
    buf_fini(&h->text);
    *h = (struct milter_header){.count = 0};
}

/* --- Reading. */

static struct milter_field *
add_field(struct milter_header *h, unsigned at)
{
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 32;
        h->fields = mem_realloc(h->fields, h->cap * sizeof *h->fields);
    }
    memmove(&h->fields[at + 1], &h->fields[at], (h->count - at) * sizeof *h->fields);
    h->count++;
    h->fields[at] = (struct milter_field){.is_top = false};
    return &h->fields[at];
}

static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 127 || s.p[i] == ':')
            return false;
    return s.n > 0 && s.n <= NAME_MAX_BYTES;
}

/* Name and value of what is a field (RFC 5322 2.2, 4.5: spaces before the colon). */
static bool
split_field(struct milter_field *field)
{
    const char *colon = memchr(field->raw.p, ':', field->raw.n);

    if (colon == NULL)
        return false;
    field->name = slice_trim((struct slice){field->raw.p, (size_t)(colon - field->raw.p)});
    field->value.p = colon + 1;
    field->value.n = (size_t)(field->raw.p + field->raw.n - field->value.p);
    while (field->value.n > 0 && (field->value.p[field->value.n - 1] == '\n' ||
                                  field->value.p[field->value.n - 1] == '\r'))
        field->value.n--;
    return is_name(field->name) && field->name.p == field->raw.p;
}

static bool
is_empty_line(struct slice line)
{
    return (line.n == 2 && line.p[0] == '\r') || line.n == 1;
}

/* The next line with its end; n 0: no whole one is left. */
static struct slice
next_line(struct slice rest)
{
    const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;

    return end ? (struct slice){rest.p, (size_t)(end + 1 - rest.p)} : (struct slice){rest.p, 0};
}

/* False: the header ends before this line. */
static bool
take_line(struct milter_header *h, struct slice line)
{
    bool is_folded = line.p[0] == ' ' || line.p[0] == '\t';
    struct milter_field *field;

    if (is_folded && h->count > 0) {
        h->fields[h->count - 1].raw.n += line.n;
        return split_field(&h->fields[h->count - 1]);
    }
    if (h->count == MILTER_FIELDS_MAX)
        return false;
    field = add_field(h, h->count);
    field->raw = line;
    if (split_field(field))
        return true;
    h->count--;
    return false;
}

/* `is_cut`: the text ends in the midst of the header, so its last field may be a part. */
static void
read_fields(struct milter_header *h, bool is_cut)
{
    struct slice rest = buf_slice(&h->text), line;
    bool is_over = false;

    while (!is_over && (line = next_line(rest)).n > 0) {
        if (is_empty_line(line)) {
            h->separator_bytes = line.n;
            is_over = true;
        } else
            is_over = !take_line(h, line);
        if (!is_over)
            rest = (struct slice){rest.p + line.n, rest.n - line.n};
    }
    if (is_cut && !is_over && h->count > 0) {
        h->count--;
        rest.p = h->fields[h->count].raw.p;
    }
    h->field_bytes = (size_t)(rest.p - buf_slice(&h->text).p);
    h->is_read = true;
}

static bool
has_end(struct milter_header *h)
{
    struct slice s = buf_slice(&h->text);
    size_t from = h->searched > 3 ? h->searched - 3 : 0;

    h->searched = s.n;
    return (s.n >= 2 && memcmp(s.p, "\r\n", 2) == 0) ||
           memmem(s.p + from, s.n - from, "\n\r\n", 3) != NULL;
}

bool
milter_header_feed(struct milter_header *h, struct slice piece)
{
    size_t room = MILTER_HEADER_MAX - buf_size(&h->text);

    if (h->is_read)
        return true;
    buf_add(&h->text, piece.p, piece.n < room ? piece.n : room);
    if (has_end(h))
        read_fields(h, false);
    else if (buf_size(&h->text) == MILTER_HEADER_MAX)
        read_fields(h, true);
    return h->is_read;
}

void
milter_header_end(struct milter_header *h)
{
    if (!h->is_read)
        read_fields(h, false);
}

/* --- What a filter asks for. */

bool
milter_edits_add(struct milter_edits *edits, enum milter_edit_kind kind, uint32_t index,
                 struct slice name, struct slice value)
{
    struct milter_edit *edit;
    size_t bytes = name.n + value.n + 4;

    for (size_t i = 0; i < value.n; i++) /* a line end becomes CR LF TAB */
        bytes += value.p[i] == '\n' ? 2 : 0;
    if (!is_name(name) || edits->count == MILTER_EDITS_MAX ||
        edits->bytes + bytes > MILTER_EDITS_BYTES)
        return false;
    edits->items = mem_realloc(edits->items, (edits->count + 1) * sizeof *edits->items);
    edit = &edits->items[edits->count++];
    *edit = (struct milter_edit){kind, index, mem_alloc(name.n + 1), mem_alloc(value.n + 1)};
    memcpy(edit->name, name.p, name.n);
    if (value.n > 0)
        memcpy(edit->value, value.p, value.n);
    edits->bytes += bytes;
    return true;
}

void
milter_edits_clear(struct milter_edits *edits)
{
    for (unsigned i = 0; i < edits->count; i++) {
        free(edits->items[i].name);
        free(edits->items[i].value);
    }
    free(edits->items);
    *edits = (struct milter_edits){.count = 0};
}

/* --- Fields of a filter's. */

static bool
is_blank(struct slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] > ' ' && line.p[i] != 127)
            return false;
    return true;
}

/* A line of a value, with so much of it written: what is no text in it goes. */
static void
add_value_line(struct buf *raw, struct slice line, size_t written)
{
    if (written == 0 && line.p[0] != ' ' && line.p[0] != '\t')
        buf_add_text(raw, "\t");
    for (size_t i = 0; i < line.n && written < MILTER_LINE_MAX; i++) {
        unsigned char c = (unsigned char)line.p[i];

        if ((c < ' ' && c != '\t') || c == 127)
            continue;
        buf_add(raw, &line.p[i], 1);
        written++;
    }
    buf_add_text(raw, "\r\n");
}

static void
write_field(struct buf *raw, const char *name, const char *value, bool has_space)
{
    struct slice rest = slice_of(value);
    bool is_first = true;

    buf_printf(raw, "%s:%s", name, has_space ? "" : " ");
    while (rest.p != NULL) {
        struct slice line = slice_split(&rest, '\n');

        if (is_first || !is_blank(line))
            add_value_line(raw, line, is_first ? strlen(name) + 2 : 0);
        is_first = false;
    }
}

static void
set_field(struct milter_field *field, const struct milter_edit *edit, bool has_space)
{
    struct buf raw;

    buf_init(&raw, 0);
    write_field(&raw, edit->name, edit->value, has_space);
    free(field->owned);
    field->owned = mem_alloc(buf_size(&raw));
    memcpy(field->owned, buf_slice(&raw).p, buf_size(&raw));
    field->raw = (struct slice){field->owned, buf_size(&raw)};
    buf_fini(&raw);
    CHECK(split_field(field));
}

static void
add_on_top(struct milter_header *h, const struct milter_edit *edit, unsigned at, bool has_space)
{
    struct milter_field *field = add_field(h, at);

    field->is_top = true;
    h->top_count++;
    set_field(field, edit, has_space);
}

/* The one of this name and number, from 1; NULL: there is none. */
static struct milter_field *
find_field(struct milter_header *h, const char *name, uint32_t index)
{
    uint32_t seen = 0;

    for (unsigned i = 0; i < h->count; i++)
        if (!h->fields[i].is_removed && slice_equal_nocase(h->fields[i].name, slice_of(name)) &&
            ++seen == (index ? index : 1))
            return &h->fields[i];
    return NULL;
}

static void
change(struct milter_header *h, const struct milter_edit *edit, bool has_space)
{
    struct milter_field *field = find_field(h, edit->name, edit->index);

    if (field == NULL) { /* as sendmail does */
        if (edit->value[0] != '\0')
            add_on_top(h, edit, h->top_count, has_space);
        return;
    }
    h->is_changed = h->is_changed || !field->is_top;
    if (edit->value[0] == '\0')
        field->is_removed = true;
    else
        set_field(field, edit, has_space);
}

void
milter_header_apply(struct milter_header *h, const struct milter_edits *edits, bool has_space)
{
    for (unsigned i = 0; i < edits->count; i++) {
        const struct milter_edit *edit = &edits->items[i];

        if (edit->kind == MILTER_EDIT_CHANGE)
            change(h, edit, has_space);
        else if (edit->kind == MILTER_EDIT_INSERT && edit->index < h->top_count)
            add_on_top(h, edit, edit->index, has_space);
        else
            add_on_top(h, edit, h->top_count, has_space);
    }
}

/* --- Writing. */

void
milter_header_told(const struct milter_field *field, bool has_space, struct buf *value)
{
    struct slice s = field->value;

    if (!has_space && s.n > 0 && s.p[0] == ' ')
        s = (struct slice){s.p + 1, s.n - 1};
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\r')
            buf_add(value, &s.p[i], 1);
}

static void
write_fields(const struct milter_header *h, bool is_top, struct buf *out)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->fields[i].is_top == is_top && !h->fields[i].is_removed)
            buf_add_slice(out, h->fields[i].raw);
}

void
milter_header_write_top(const struct milter_header *h, struct buf *out)
{
    write_fields(h, true, out);
}

void
milter_header_write_rest(const struct milter_header *h, struct buf *out)
{
    write_fields(h, false, out);
    buf_add(out, buf_slice(&h->text).p + h->field_bytes, h->separator_bytes);
}
