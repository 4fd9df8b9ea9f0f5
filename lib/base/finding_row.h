/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A row of a table of findings (survey.def, conformance.def): FINDING(id, check, word, verdict,
 * text, remedy).
 */
#ifndef BASE_FINDING_ROW_H
#define BASE_FINDING_ROW_H

enum finding_verdict { FINDING_PASS, FINDING_WARN, FINDING_FAIL, FINDING_UNKNOWN };
#define FINDING_VERDICT_COUNT 4
const char *finding_verdict_word(enum finding_verdict verdict);

struct finding_row {
    const char *check, *word; /* stable names: of what is looked at, of what was found */
    enum finding_verdict verdict;
    const char *text, *remedy; /* "": nothing to do */
};

#endif
