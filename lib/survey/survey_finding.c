/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Words of capitals that have a value are replaced by it, all others stand for themselves (MX, SPF,
 * CNAME).  A value may hold what strangers have published: it comes out printable and bounded.
 */
#include "survey/survey_finding.h"

#include <stdlib.h>

#define FINDINGS_MAX 256
#define VALUE_MAX 400

const struct finding_row survey_rows[SURVEY_FINDING_COUNT] = {
#define FINDING(id, check, word, verdict, text, remedy) \
    [SURVEY_##id] = {check, word, FINDING_##verdict, text, remedy},
#include "survey/survey.def"
#undef FINDING
};

static const char *
value_of(const struct survey_words *words, struct slice word)
{
    const struct {
        const char *word, *value;
    } values[] = {
        {"DOMAIN", words->domain},
        {"HOST", words->host},
        {"OURS", words->ours},
        {"DETAIL", words->detail},
    };

    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (slice_equal(word, slice_of(values[i].word)))
            return values[i].value;
    return NULL;
}

static void
add_value(struct buf *dst, const char *value)
{
    for (size_t i = 0; value[i] && i < VALUE_MAX; i++)
        buf_add(dst, value[i] >= 0x20 && value[i] < 0x7f ? value + i : "?", 1);
    if (strlen(value) > VALUE_MAX)
        buf_add_text(dst, "...");
}

void
survey_fill(struct buf *dst, const char *text, const struct survey_words *words)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    while (*text) {
        struct slice word = {text, strspn(text, capitals)};
        const char *value = value_of(words, word);

        if (word.n == 0)
            word.n = strcspn(text, capitals);
        if (value)
            add_value(dst, value);
        else
            buf_add(dst, word.p, word.n);
        text += word.n;
    }
}

static char *
filled(const char *text, const struct survey_words *words)
{
    struct buf b;
    char *copy;

    buf_init(&b, 0);
    survey_fill(&b, text, words);
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

void
survey_findings_add(struct survey_findings *list, enum survey_finding_id id,
                    const struct survey_words *words)
{
    const struct finding_row *row = &survey_rows[id];

    if (list->count == FINDINGS_MAX)
        return;
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 16;
        list->items = mem_realloc(list->items, list->room * sizeof *list->items);
    }
    list->items[list->count++] =
        (struct survey_finding){id, filled(row->text, words), filled(row->remedy, words)};
}

void
survey_findings_clear(struct survey_findings *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        free(list->items[i].text);
        free(list->items[i].remedy);
    }
    free(list->items);
    *list = (struct survey_findings){NULL, 0, 0};
}
