/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Findings: the table's own rules, and how its sentences are filled in.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "survey/survey_finding.h"

Test(survey_finding, every_row_is_a_sentence_with_a_remedy_where_one_is_needed)
{
    for (unsigned i = 0; i < SURVEY_FINDING_COUNT; i++) {
        const struct finding_row *row = &survey_rows[i];
        size_t n = strlen(row->text);

        cr_expect(n > 0 && row->text[n - 1] == '.', "%s", row->word);
        cr_expect_eq(row->verdict == FINDING_PASS, row->remedy[0] == '\0', "%s", row->word);
        cr_expect(row->remedy[0] == '\0' || row->remedy[strlen(row->remedy) - 1] == '.', "%s",
                  row->word);
        cr_expect(strlen(row->check) < 12, "%s: room on the screen", row->check);
        for (unsigned j = 0; j < i; j++)
            cr_expect_str_neq(row->word, survey_rows[j].word);
    }
}

/* The screen and the manual have each check's findings together. */
Test(survey_finding, rows_of_a_check_stand_together)
{
    for (unsigned i = 1; i < SURVEY_FINDING_COUNT; i++) {
        const char *check = survey_rows[i].check;

        if (strcmp(check, survey_rows[i - 1].check) == 0)
            continue;
        for (unsigned j = 0; j < i; j++)
            cr_expect_str_neq(check, survey_rows[j].check);
    }
}

Test(survey_finding, words_are_filled_in_and_strangers_text_is_made_harmless)
{
    static const struct survey_words words = {"acme.example", "mx\x1b[31m\n.test",
                                              "mx1.isp.example", "DOMAIN HOST"};
    struct buf b;

    buf_init(&b, 0);
    survey_fill(&b, "MX of DOMAIN: HOST, OURS (DETAIL), DOMAINS.", &words);
    cr_expect_str_eq(buf_text(&b),
                     "MX of acme.example: mx?[31m?.test, mx1.isp.example (DOMAIN HOST), DOMAINS.");
    buf_fini(&b);
}

Test(survey_finding, a_list_is_bounded)
{
    struct survey_findings list = {NULL, 0, 0};

    for (int i = 0; i < 1000; i++)
        survey_findings_add(&list, SURVEY_MX_FIRST,
                            &(struct survey_words){"acme.example", "", "", ""});
    cr_expect_eq(list.count, 256);
    survey_findings_clear(&list);
    cr_expect_eq(list.count, 0);
}
