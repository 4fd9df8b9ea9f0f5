/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rows of the index of the spool: what of a message goes into which column, and the statement that
 * takes them.  Each column travels as one array, so that a batch is one statement.
 *
 * Invariants: the columns are in the order of the statement's parameters; nothing that a peer has
 * written can make the database refuse a batch.
 */
#include "spoolmgr/mirror_rows.h"

#include "base/clock.h"

enum column {
    COLUMN_REF,
    COLUMN_CUSTOMER_ID,
    COLUMN_CUSTOMER,
    COLUMN_REVERSE_PATH,
    COLUMN_RECIPIENTS,
    COLUMN_OPEN,
    COLUMN_SIZE,
    COLUMN_RECEIVED,
    COLUMN_EXPIRES,
    COLUMN_NEXT,
    COLUMN_ATTEMPTS,
    COLUMN_REPLY,
    COLUMN_STATE,
    COLUMN_SEGMENT,
    COLUMN_COUNT
};

_Static_assert(COLUMN_COUNT == MIRROR_COLUMNS, "an array for each column");

static const char upsert_sql[] =
    "INSERT INTO postern.spool_index AS i (ref, node, customer_id, customer, reverse_path, "
    "recipients, open_recipients, size_bytes, received_at, expires_at, next_attempt_at, attempts, "
    "last_reply, state, segment, updated_at) "
    "SELECT u.ref, $15::int, u.customer_id, u.customer, u.reverse_path, u.recipients::text[], "
    "u.open_recipients, u.size_bytes, u.received_at, u.expires_at, u.next_attempt_at, u.attempts, "
    "u.last_reply, u.state, u.segment, $16::timestamptz "
    "FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::int[], "
    "$7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::int[], "
    "$12::text[], $13::text[], $14::text[]) AS u(ref, customer_id, customer, reverse_path, "
    "recipients, open_recipients, size_bytes, received_at, expires_at, next_attempt_at, attempts, "
    "last_reply, state, segment) "
    "ON CONFLICT (ref) DO UPDATE SET node = EXCLUDED.node, customer_id = EXCLUDED.customer_id, "
    "customer = EXCLUDED.customer, reverse_path = EXCLUDED.reverse_path, "
    "recipients = EXCLUDED.recipients, open_recipients = EXCLUDED.open_recipients, "
    "size_bytes = EXCLUDED.size_bytes, received_at = EXCLUDED.received_at, "
    "expires_at = EXCLUDED.expires_at, next_attempt_at = EXCLUDED.next_attempt_at, "
    "attempts = EXCLUDED.attempts, last_reply = EXCLUDED.last_reply, state = EXCLUDED.state, "
    "segment = EXCLUDED.segment, updated_at = EXCLUDED.updated_at";

void
mirror_rows_init(struct mirror_rows *rows)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        buf_init(&rows->columns[i], 0);
    rows->count = 0;
}

void
mirror_rows_fini(struct mirror_rows *rows)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        buf_fini(&rows->columns[i]);
}

/* An element in quotes; octets that are not ASCII could make the database refuse the batch. */
static void
put_element(struct buf *b, const char *text)
{
    buf_add_text(b, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            buf_add_text(b, "\\");
        buf_add(b, c < 0x20 || c > 0x7e ? "?" : p, 1);
    }
    buf_add_text(b, "\"");
}

static struct buf *
column(struct mirror_rows *rows, enum column which)
{
    struct buf *b = &rows->columns[which];

    buf_add_text(b, rows->count > 0 ? "," : "{");
    return b;
}

static void
put_time(struct mirror_rows *rows, enum column which, int64_t wall_ms)
{
    char text[CLOCK_RFC3339_SIZE];

    buf_add_text(column(rows, which), wall_ms > 0 ? clock_rfc3339(wall_ms, text) : "NULL");
}

static void
put_recipients(struct mirror_rows *rows, const struct spool_envelope *e)
{
    struct buf list;

    buf_init(&list, 0);
    buf_add_text(&list, "{");
    for (unsigned i = 0; i < e->recipient_count; i++) {
        if (i > 0)
            buf_add_text(&list, ",");
        put_element(&list, e->recipients[i].address);
    }
    buf_add_text(&list, "}");
    put_element(column(rows, COLUMN_RECIPIENTS), buf_text(&list));
    buf_fini(&list);
}

static void
put_envelope(struct keeper *k, struct mirror_rows *rows, const struct spool_message *m)
{
    struct spool_envelope e;
    struct arena arena;

    if (keeper_envelope(k, m, &arena, &e) != 0)
        e = (struct spool_envelope){.reverse_path = "", .reason = ""};
    put_element(column(rows, COLUMN_REVERSE_PATH), e.reverse_path);
    put_recipients(rows, &e);
    put_element(column(rows, COLUMN_REPLY),
                spool_message_attempts(m) > 0 ? spool_message_last_reply(m) : e.reason);
    arena_clear(&arena);
}

void
mirror_rows_add(struct mirror_rows *rows, struct keeper *k, const struct mail *mail)
{
    const struct spool_message *m = mail->message;
    char ref[REF_SIZE], segment[SPOOL_SEGMENT_NAME_SIZE];

    put_element(column(rows, COLUMN_REF), ref_text(m->ref, ref));
    buf_printf(column(rows, COLUMN_CUSTOMER_ID), "%u", m->customer_id);
    put_element(column(rows, COLUMN_CUSTOMER), m->customer);
    put_envelope(k, rows, m);
    buf_printf(column(rows, COLUMN_OPEN), "%u", m->open_count);
    buf_printf(column(rows, COLUMN_SIZE), "%llu", (unsigned long long)m->body_bytes);
    put_time(rows, COLUMN_RECEIVED, m->received_at_ms);
    put_time(rows, COLUMN_EXPIRES, m->expires_at_ms);
    put_time(rows, COLUMN_NEXT, spool_message_next_attempt_at_ms(m));
    buf_printf(column(rows, COLUMN_ATTEMPTS), "%u", spool_message_attempts(m));
    put_element(column(rows, COLUMN_STATE), plan_state(mail));
    put_element(column(rows, COLUMN_SEGMENT),
                spool_segment_name(spool_message_segment(m), segment));
    rows->count++;
}

void
mirror_rows_send(struct mirror_rows *rows, struct db *db, const char *node, const char *when,
                 db_on_result on_result, void *ctx)
{
    const char *params[COLUMN_COUNT + 2];

    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        buf_add_text(&rows->columns[i], "}");
        params[i] = buf_text(&rows->columns[i]);
    }
    params[COLUMN_COUNT] = node;
    params[COLUMN_COUNT + 1] = when;
    db_query(db, upsert_sql, ARRAY_SIZE(params), params, on_result, ctx);
}
