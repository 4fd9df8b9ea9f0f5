/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The words of verdicts.
 */
#include "base/finding_row.h"

#include "base/err.h"

const char *
finding_verdict_word(enum finding_verdict verdict)
{
    static const char *const words[FINDING_VERDICT_COUNT] = {
        [FINDING_PASS] = "pass",
        [FINDING_WARN] = "warn",
        [FINDING_FAIL] = "fail",
        [FINDING_UNKNOWN] = "unknown",
    };

    CHECK((unsigned)verdict < FINDING_VERDICT_COUNT);
    return words[verdict];
}
