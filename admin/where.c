/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Conditions are joined by "and"; what is selected is a parameter, never a part of the text.
 */
#include "admin/where.h"

void
where_init(struct where *w)
{
    w->count = 0;
    buf_init(&w->sql, 0);
    buf_init(&w->refs, 0);
}

void
where_fini(struct where *w)
{
    buf_fini(&w->sql);
    buf_fini(&w->refs);
}

void
where_add(struct where *w, const char *condition, const char *param)
{
    CHECK(w->count < WHERE_PARAMS);
    w->params[w->count++] = param;
    buf_add_text(&w->sql, w->count > 1 ? " AND " : " WHERE ");
    for (const char *p = condition; *p; p++)
        if (p[0] == '#')
            buf_printf(&w->sql, "$%d", w->count);
        else
            buf_add(&w->sql, p, 1);
}

void
where_add_refs(struct where *w, const struct ref *refs, size_t count)
{
    char text[REF_SIZE];

    buf_add_text(&w->refs, "{");
    for (size_t i = 0; i < count; i++)
        buf_printf(&w->refs, "%s%s", i ? "," : "", ref_text(refs[i], text));
    buf_add_text(&w->refs, "}");
    where_add(w, "ref = ANY (#::text[])", buf_text(&w->refs));
}
